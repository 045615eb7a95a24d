"""Parts that the commands of `listo` have in common."""

from __future__ import annotations

import asyncio
import json
import signal
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer
from pydantic import ValidationError
from rich.console import Console

from app.auth.identity.tokens import Tokens
from app.auth.passwords.pool import Passwords
from app.auth.sessions.service import Auth
from app.core.settings import Settings
from app.db import migrations
from app.db.database import Database
from app.http.members import validation_problem

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

Result = TypeVar("Result")

console = Console(highlight=False, soft_wrap=True)


def _also_before(context: typer.Context, value: bool) -> bool:  # noqa: FBT001
    """Whether --json was given to the command, or to `listo` itself."""
    return value or context.find_root().params.get("as_json", False)


AsJson = Annotated[
    bool, typer.Option("--json", callback=_also_before, help="Print one JSON object.")
]


class Failed(Exception):
    """The command failed; the message is one line for the user."""


def checked(model: Callable[..., Result], **values: Any) -> Result:
    try:
        return model(**values)
    except ValidationError as error:
        raise Failed(validation_problem(error).faults) from None


def with_auth(work: Callable[[Auth], Awaitable[Result]]) -> Result:
    configured = Settings.load()

    async def run() -> Result:
        # SIGTERM ends a command as Ctrl-C does, so that it tidies up.
        signal.signal(signal.SIGTERM, signal.getsignal(signal.SIGINT))
        url = configured.database_url.get_secret_value()
        database = Database(url, pool_size=2, statement_timeout=600, name="listo-cli")
        passwords = Passwords(1)
        await database.open()
        try:
            await migrations.require_head(database)
            return await work(Auth(configured, database, passwords, Tokens(configured)))
        finally:
            await database.close()
            passwords.close()

    return asyncio.run(run())


def say(report: dict[str, Any], text: str, as_json: bool) -> None:  # noqa: FBT001
    if as_json:
        typer.echo(json.dumps(report))
    elif text:
        console.print(text, markup=False)
