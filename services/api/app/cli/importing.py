"""`listo import`: what other programs keep."""

from __future__ import annotations

import tempfile
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from app.cli.moving import OnConflict, report_of, show
from app.cli.progress import shown
from app.cli.shared import AsJson, console, say, with_auth
from app.db.database import Database
from app.moving.pocketbase.source import opened
from app.moving.pocketbase.takeover import take_over
from app.moving.restoring.conflicts import Rule
from app.moving.restoring.restore import restore

if TYPE_CHECKING:
    from app.auth.sessions.service import Auth
    from app.moving.pocketbase.report import Report
    from app.moving.restoring.restore import Restored


class Kind(StrEnum):
    """The programs whose data can be taken over."""

    POCKETBASE = "pocketbase"


def import_data(
    path: Annotated[
        Path, typer.Argument(metavar="DIR", help="The folder pb_data, or its data.db.")
    ],
    kind: Annotated[Kind, typer.Option("--from", help="The program that the data is of.")],
    *,
    on_conflict: OnConflict = Rule.FAIL,
    superusers: Annotated[
        bool, typer.Option("--superusers", help="Superusers become admins.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the report only.")] = False,
    as_json: AsJson = False,
) -> None:
    """Take over collections, records and users, with a report of what came and what did not."""
    assert kind is Kind.POCKETBASE

    async def work(auth: Auth) -> tuple[Report, Restored | None]:
        assert isinstance(auth.database, Database)
        with tempfile.TemporaryDirectory(prefix="listo-import-") as folder:
            target = Path(folder) / "dump"
            with shown(as_json=as_json) as progress:
                with opened(path) as source:
                    report = await take_over(
                        auth.database, source, target, auth.settings, progress,
                        with_superusers=superusers,
                    )  # fmt: skip
                if dry_run:
                    return report, None
                return report, await restore(
                    auth.database, auth.settings, target, on_conflict, progress
                )

    report, restored = with_auth(work)
    found = report.as_dict() | {"restored": None if restored is None else report_of(restored)}
    say(found, "", as_json)
    if not as_json:
        _show(report)
        if restored is None:
            console.print("Nothing was done, as --dry-run says.")
        else:
            show(restored)


def _show(report: Report) -> None:
    table = Table("collection", "operation", "rule there", "rule here", title="Rules")
    for each in report.collections:
        for rule in each.rules:
            here = "admins only" if rule.here is None else rule.here or "everybody"
            why = f" ({rule.why})" if rule.why else ""
            former = "superusers only" if rule.former is None else rule.former or "everybody"
            table.add_row(each.name, rule.operation, former, here + why)
        table.add_section()
    console.print(table, markup=False)
    for each in report.collections:
        left_out = f", {each.left_out:,} left out" if each.left_out else ""
        console.print(f"{each.name}: {each.records:,} records{left_out}", markup=False)
        for note in (*each.notes, *each.left_out_shown):
            console.print(f"  {note}", markup=False)
    people = report.people
    console.print(f"users: {people.users:,}; admins: {people.superusers:,}", markup=False)
    for note in report.notes:
        console.print(f"  {note}", markup=False)
