"""`listo …`: an operator's commands. The operator owns the database, so no rights are checked."""

from __future__ import annotations

import json
import sys
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated

import asyncpg
import typer

from app import __version__
from app.auth.api_keys import service as api_keys
from app.auth.schemas import ApiKeyIn, RegisterIn, UserIn
from app.auth.users import repository
from app.auth.users import service as users
from app.cli import collections, importing, moving, servers
from app.cli.rehearsal import rehearse
from app.cli.shared import AsJson, Failed, checked, say, with_auth
from app.collections.files import reading as files
from app.core import emails
from app.core.actor import ADMIN_ROLE, SYSTEM, Scope
from app.core.clock import utcnow
from app.core.env_file import SettingsError
from app.core.errors import DatabaseUnavailable, Problem
from app.core.settings import Settings
from app.db import migrations
from app.moving.errors import CannotMove

if TYPE_CHECKING:
    from app.auth.sessions.service import Auth

app = typer.Typer(
    help="Listo from the shell.", no_args_is_help=True, add_completion=False,
    pretty_exceptions_enable=False, context_settings={"help_option_names": ["-h", "--help"]},
)  # fmt: skip
admin = typer.Typer(help="Admins.", no_args_is_help=True)
keys = typer.Typer(help="API keys.", no_args_is_help=True)
settings = typer.Typer(help="Settings.", no_args_is_help=True)
for name, group in (("admin", admin), ("keys", keys), ("collections", collections.group)):
    app.add_typer(group, name=name)
app.add_typer(settings, name="settings")
app.command("serve")(servers.serve)
app.command("worker")(servers.work)
app.command("dump")(moving.dump_project)
app.command("restore")(moving.restore_project)
app.command("import")(importing.import_data)

Email = Annotated[str, typer.Argument(help="The e-mail address.")]
Password = Annotated[
    str,
    typer.Option(prompt=True, hide_input=True, confirmation_prompt=True, envvar="LISTO_PASSWORD",
                 help="Asked for if it is not given; LISTO_PASSWORD is read as well."),
]  # fmt: skip


@app.callback(invoke_without_command=True)
def root(
    *,
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
    as_json: AsJson = False,
) -> None:
    if version:
        say({"version": __version__}, __version__, as_json)
        raise typer.Exit


@app.command()
def migrate(*, as_json: AsJson = False) -> None:
    """Bring the database to this version's schema."""
    configured = Settings.load()
    changed = migrations.upgrade(
        configured.database_url.get_secret_value(), configured.database_app_role
    )
    text = "Migrated to" if changed else "Already at"
    say(
        {"changed": changed, "migration": migrations.head()},
        f"{text} {migrations.head()}.",
        as_json,
    )


@app.command()
def check(
    *,
    database: Annotated[bool, typer.Option(help="Look at the database, too.")] = True,
    as_json: AsJson = False,
) -> None:
    """Try settings, extensions and the database as a server would, without serving.

    The database may be at an older migration: `listo migrate` comes next."""
    migration = rehearse(Settings.load(), database=database)
    report = {"ok": True, "migration": migration, "wanted": migrations.head()}
    text = "It can start."
    if database and migration != migrations.head():
        text = f"It can start after `listo migrate`, to {migrations.head()}."
    say(report, text, as_json)


@settings.command("check")
def check_settings(*, as_json: AsJson = False) -> None:
    """Check all settings, without starting anything."""
    Settings.load()
    say({"ok": True}, "The settings are right.", as_json)


@admin.command("create")
def create_admin(email: Email, password: Password, *, as_json: AsJson = False) -> None:
    """Make an admin."""
    given = checked(UserIn, email=email, password=password, roles=[ADMIN_ROLE, "member"])

    async def work(auth: Auth) -> str:
        return str((await users.create(auth, SYSTEM, given)).id)

    id_ = with_auth(work)
    say({"id": id_, "email": given.email}, f"Made the admin {given.email}.", as_json)


@admin.command("reset-password")
def reset_password(email: Email, password: Password, *, as_json: AsJson = False) -> None:
    """Give a user a new password, and end all of the user's sessions."""
    given = checked(RegisterIn, email=email, password=password)

    async def work(auth: Auth) -> None:
        await users.reset_password(auth, email=given.email, password=given.password)

    with_auth(work)
    say({"email": given.email}, f"{given.email} has a new password.", as_json)


@keys.command("create")
def create_key(  # noqa: PLR0913 - the parts of a key
    email: Email,
    scope: Annotated[list[Scope], typer.Option(help="What the key may do; may be repeated.")],
    name: Annotated[str, typer.Option(help="What the key is for.")] = "command line",
    collection: Annotated[
        list[str] | None, typer.Option(help="Only these collections; may be repeated.")
    ] = None,
    days: Annotated[
        int | None, typer.Option(min=1, max=36_500, help="Valid for so many days.")
    ] = None,
    rate_limit: Annotated[
        str | None, typer.Option(help='Its own limit, like "10/second, 600/minute".')
    ] = None,
    *,
    as_json: AsJson = False,
) -> None:
    """Make an API key that acts as the user. The key is printed this once."""

    expires = utcnow() + timedelta(days=days) if days else None
    given = checked(
        ApiKeyIn, name=name, scopes=scope, collections=collection or None, expires_at=expires,
        rate_limit=rate_limit,
    )  # fmt: skip

    async def work(auth: Auth) -> str:
        found = await repository.user_by_email(auth.database, emails.lookup_form(email))
        if found is None:
            raise Failed(f"There is no user {email}.")
        user, _ = found
        if user.disabled_at is not None:
            raise Failed(f"The user {email} is disabled.")
        actor = SYSTEM if ADMIN_ROLE in user.roles else users.as_actor(user)
        async with auth.database.transaction() as session:
            _, key = await api_keys.create(
                session, actor, auth.settings, user_id=user.id, name=given.name,
                scopes=given.scopes, collections=given.collections,
                expires_at=given.expires_at, rate_limit=given.rate_limit,
            )  # fmt: skip
        return key

    key = with_auth(work)
    say({"key": key}, key, as_json)


def main() -> None:
    """Exit with 0: done, 1: refused, 2: wrong usage, 3: database away or at another migration, or a
    server that cannot start, 4: wrong settings."""
    as_json = "--json" in sys.argv
    try:
        # typer itself prints usage errors, unless JSON is wanted.
        raise SystemExit(app(standalone_mode=not as_json))
    except typer.TyperException as error:
        _fail(" ".join(error.format_message().split()), error.exit_code, as_json)
    except typer.Abort:
        _fail("Aborted.", 1, as_json)
    except SettingsError as error:
        _fail(str(error), 4, as_json)
    except Problem as problem:
        away = isinstance(problem, DatabaseUnavailable)
        _fail(problem.in_one_line, 3 if away else 1, as_json)
    except migrations.WrongMigration as error:
        _fail(str(error), 3, as_json)
    except (Failed, CannotMove, files.UnusableFile, migrations.CannotMigrate) as error:
        _fail(str(error), 1, as_json)
    except asyncpg.PostgresError as error:
        _fail(f"PostgreSQL refused: {' '.join(str(error).split())}", 1, as_json)


def _fail(message: str, status: int, as_json: bool) -> None:  # noqa: FBT001
    if as_json:
        typer.echo(json.dumps({"error": message}))
    else:
        typer.echo(message, err=True)
    raise SystemExit(status)
