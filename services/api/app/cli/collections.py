"""`listo collections …`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.syntax import Syntax

from app.cli.shared import AsJson, Failed, console, say, with_auth
from app.collections import indexes, service
from app.collections.errors import RecordsDoNotFit
from app.collections.files import reading as files
from app.collections.files.plan import Change, difference, hold, plan
from app.core.actor import SYSTEM
from app.core.errors import PreconditionFailed
from app.db.database import Database

if TYPE_CHECKING:
    from app.auth.sessions.service import Auth
    from app.collections.models import Definition
    from app.db.session import Session

group = typer.Typer(help="Collections.", no_args_is_help=True)


@group.command("apply")
def apply_collections(
    paths: Annotated[
        list[Path],
        typer.Argument(
            metavar="FILE...",
            help="YAML or JSON file with the body of PUT and a name; without name, the file's "
            "name counts. - reads standard input.",
        ),
    ],
    name: Annotated[
        str | None,
        typer.Option(
            help="The collection's name, if the file holds a single collection without one."
        ),
    ] = None,
    *,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    dry_run: Annotated[bool, typer.Option(help="Show the difference only.")] = False,
    as_json: AsJson = False,
) -> None:
    """Create or change collections as the files say; shows the difference first."""
    wanted = _read(paths, name)

    async def work(auth: Auth) -> list[dict[str, Any]]:
        async with auth.database.transaction() as session:
            changes = await plan(session, wanted)
        pending = [change for change in changes if change.changed]
        if not as_json:
            for change in changes:
                _show(change.name, difference(change) if change.changed else "")
        if pending and not dry_run:
            if not (yes or as_json):
                _ask(paths)
            async with auth.database.transaction() as session:
                await hold(session, pending)
                for change in pending:
                    await _apply(session, change)
        if not dry_run:
            assert isinstance(auth.database, Database)
            for change in changes:
                await indexes.reconcile(auth.database, change.after, again=True)
        return [{"name": change.name, "changed": change.changed} for change in changes]

    report = with_auth(work)
    say({"collections": report, "applied": not dry_run}, "", as_json)


@group.command("get")
def get_collection(
    name: Annotated[str, typer.Argument(help="The collection's name.")], *, as_json: AsJson = False
) -> None:
    """Print a collection as JSON, as `apply` takes it."""

    async def work(auth: Auth) -> Definition:
        return (await service.get(auth.database, name)).definition

    found = files.to_document(name, with_auth(work))
    typer.echo(json.dumps(found, ensure_ascii=False, indent=None if as_json else 2))


def _read(paths: list[Path], name: str | None) -> list[tuple[str, Definition]]:
    if name is not None and len(paths) > 1:
        raise Failed("--name is for one file.")
    wanted = [found for path in paths for found in files.read(path, name)]
    names = [each for each, _ in wanted]
    for each in names:
        if names.count(each) > 1:
            raise Failed(f"{each} is defined twice.")
    return wanted


def _ask(paths: list[Path]) -> None:
    if files.STANDARD_INPUT in paths:
        raise Failed("Nothing was changed: standard input cannot answer, so say --yes.")
    if not typer.confirm("Apply?"):
        raise Failed("Nothing was changed.")


async def _apply(session: Session, change: Change) -> None:
    try:
        await change.apply(session, SYSTEM)
    except RecordsDoNotFit as problem:
        raise Failed(f"{change.name}: {problem.in_one_line}") from None
    except PreconditionFailed:
        raise Failed(f"{change.name} was changed meanwhile. Nothing was applied.") from None


def _show(name: str, text: str) -> None:
    if not text:
        console.print(f"{name}: unchanged")
    else:
        console.print(f"[bold]{name}[/]")
        console.print(Syntax(text, "diff", background_color="default"))
