"""`listo dump`, `listo restore`: a whole project as files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from app.cli.progress import shown
from app.cli.shared import AsJson, console, say, with_auth
from app.db.database import Database
from app.moving.dump import dump
from app.moving.restoring.conflicts import Rule
from app.moving.restoring.restore import restore

if TYPE_CHECKING:
    from app.auth.sessions.service import Auth
    from app.moving.manifest import Manifest
    from app.moving.restoring.people import Counts
    from app.moving.restoring.restore import Restored

OnConflict = Annotated[
    Rule,
    typer.Option(
        help="What is here already: refuse it all, keep what is here, or take the dump's."
    ),
]


def dump_project(
    target: Annotated[
        Path, typer.Argument(metavar="DIR|FILE.tar.zst", help="Where to; must not be there yet.")
    ],
    *,
    as_json: AsJson = False,
) -> None:
    """Write all collections, records, users and API keys, as they are at one moment.

    The files hold the hashes of passwords and keys; only their owner may read them."""

    async def work(auth: Auth) -> Manifest:
        assert isinstance(auth.database, Database)
        with shown(as_json=as_json) as progress:
            return await dump(auth.database, target, progress)

    made = with_auth(work)
    report = {
        "path": str(target),
        "moment": made.moment.isoformat(),
        "collections": {each.name: each.records.lines for each in made.collections},
        "users": made.users.lines,
        "api_keys": made.api_keys.lines,
    }
    records = sum(each.records.lines for each in made.collections)
    say(
        report,
        f"{target}, of {made.moment:%Y-%m-%d %H:%M:%S} UTC: {records:,} records, "
        f"{len(made.collections):,} collections, {made.users.lines:,} users, "
        f"{made.api_keys.lines:,} API keys",
        as_json,
    )


def restore_project(
    path: Annotated[Path, typer.Argument(metavar="DIR|FILE.tar.zst", help="The dump.")],
    *,
    on_conflict: OnConflict = Rule.FAIL,
    as_json: AsJson = False,
) -> None:
    """Bring a dump back, into an empty instance or beside what is here. All of it or nothing."""
    restored = restored_from(path, on_conflict, as_json=as_json)
    say(report_of(restored), "", as_json)
    if not as_json:
        show(restored)


def restored_from(path: Path, rule: Rule, *, as_json: bool) -> Restored:
    """Restore a dump. Raises CannotMove and Problem."""

    async def work(auth: Auth) -> Restored:
        assert isinstance(auth.database, Database)
        with shown(as_json=as_json) as progress:
            return await restore(auth.database, auth.settings, path, rule, progress)

    return with_auth(work)


def report_of(restored: Restored) -> dict[str, Any]:
    return {
        "collections": {
            name: {"definition": _definition(restored, name), "records": counts._asdict()}
            for name, counts in restored.records.items()
        },
        "users": restored.users._asdict(),
        "users_with_another_id": restored.moved,
        "api_keys": restored.api_keys._asdict(),
    }


def show(restored: Restored) -> None:
    console.print(_table(restored))
    if restored.moved:
        console.print(
            f"{restored.moved:,} users have another id here. They own their records; ids in other "
            "fields are the former ones."
        )


def _table(restored: Restored) -> Table:
    table = Table("collection", "definition", *(f"{part}" for part in ("new", "replaced", "kept")))
    for column in table.columns[2:]:
        column.justify = "right"
    for name, counts in restored.records.items():
        table.add_row(name, _definition(restored, name), *_numbers(counts))
    table.add_section()
    table.add_row("— users", "", *_numbers(restored.users))
    table.add_row("— API keys", "", *_numbers(restored.api_keys))
    return table


def _definition(restored: Restored, name: str) -> str:
    if name in restored.new:
        return "new"
    return "replaced" if name in restored.changed else "kept"


def _numbers(counts: Counts) -> list[str]:
    return [f"{number:,}" for number in counts]
