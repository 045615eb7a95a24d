"""Migrations: the process that starts first runs them, within time limits."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import asyncpg

from app.core.errors import DatabaseUnavailable
from app.db import grants
from app.db.ends import ENDS
from app.db.errors import UNAVAILABLE, translated
from app.db.locks import Patience

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from alembic.config import Config

ROOT = Path(__file__).parents[2]
# Any number will do, as long as every version of the code uses the same number.
LOCK = 0x6C6973746F
# How long to wait for another process that migrates, and how often to look.
WAIT_SECONDS = 900.0
LOOK_SECONDS = 0.25

# The first version that takes STORAGE in CREATE TABLE.
OLDEST_POSTGRES = 17

_CONNECT_SECONDS = 10
_STATEMENT_SECONDS = 600
# Requests queue behind a migration that waits for a lock, so each wait is short and is repeated.
# After a second of waiting, PostgreSQL's own vacuum gives way.
LOCK_SECONDS = 1.5
LOCK_PATIENCE_SECONDS = 30.0


class WrongMigration(Exception):
    """The database is not at this code's migration."""


class DatabaseBehind(WrongMigration):
    """The database has to be migrated first."""


class DatabaseNewer(WrongMigration):
    """The database was migrated by a newer version of this code."""


class CannotMigrate(Exception):
    """A migration failed, and nothing of it was kept; the message is one line."""


@cache
def head() -> str:
    """The newest revision that this code knows."""
    return max(path.name.split("_")[0] for path in (ROOT / "migrations/versions").glob("*.py"))


async def current(session: Any) -> str | None:
    """The revision that the database is at; None if it was never migrated."""
    if await session.fetchval("SELECT to_regclass('listo.migrations')") is None:
        return None
    revision: str | None = await session.fetchval("SELECT version_num FROM listo.migrations")
    return revision


async def require_head(session: Any) -> None:
    """Raises DatabaseBehind or DatabaseNewer."""
    revision = await current(session)
    if revision is None:
        raise DatabaseBehind("The database was never migrated; run: listo migrate")
    if revision < head():
        raise DatabaseBehind(
            f"The database is at migration {revision}, not {head()}; run: listo migrate"
        )
    _refuse_newer(revision)


async def require_not_newer(session: Any) -> str | None:
    """The revision that the database is at, which may be an older one. Raises DatabaseNewer."""
    revision = await current(session)
    if revision is not None:
        _refuse_newer(revision)
    return revision


def upgrade(url: str, app_role: str | None = None) -> bool:
    """Bring the database at `url` to this code's revision; returns False if it already was there.

    `app_role` then gets the rights that the API and the worker need. Raises DatabaseNewer,
    CannotMigrate, and DatabaseUnavailable if PostgreSQL cannot be reached.
    """
    try:
        return asyncio.run(_upgrade(url, app_role))
    except grants.NoSuchRole as error:
        raise CannotMigrate(str(error)) from None
    except asyncpg.LockNotAvailableError:
        raise CannotMigrate(
            f"A migration got no lock within {LOCK_PATIENCE_SECONDS:g} s; it asked for "
            f"{LOCK_SECONDS:g} s at a time, so that requests do not wait behind it. End what holds "
            "it, or try again."
        ) from None
    except asyncpg.QueryCanceledError:
        raise CannotMigrate(
            f"A statement of a migration took more than {_STATEMENT_SECONDS} s."
        ) from None
    except asyncpg.PostgresError as error:
        raise CannotMigrate(f"PostgreSQL refused: {error}") from None


async def _upgrade(url: str, app_role: str | None) -> bool:
    with translated:
        await _require_version(url)
        connection = await _connect(url)
    try:
        await _lock(connection)
        before = await current(connection)
        if before is not None:
            _refuse_newer(before)
        if before != head():
            await connection.execute("CREATE SCHEMA IF NOT EXISTS listo")
            await _patiently(lambda: _run_alembic(url))
        if app_role is not None:
            await _patiently(lambda: grants.grant(connection, app_role))
        return before != head()
    except UNAVAILABLE as error:
        raise DatabaseUnavailable from error
    finally:
        # An error of closing does not matter: the migration has succeeded or failed already.
        with suppress(OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
            await connection.close(timeout=5)


async def _require_version(url: str) -> None:
    # On a separate connection, without settings that an old server does not know.
    connection = await asyncpg.connect(url, timeout=_CONNECT_SECONDS)
    try:
        version = connection.get_server_version()
        # Debian's version names its package as well.
        shown = connection.get_settings().server_version.partition(" ")[0]
    finally:
        await connection.close(timeout=_CONNECT_SECONDS)
    if version.major < OLDEST_POSTGRES:
        raise CannotMigrate(f"PostgreSQL {OLDEST_POSTGRES} or newer is needed; this is {shown}.")


async def _connect(url: str) -> Any:
    # These limits replace those of the role, which are meant for requests.
    limits = ENDS | {
        "application_name": "listo-migrate",
        "lock_timeout": f"{LOCK_SECONDS * 1000:.0f}",
        "statement_timeout": str(_STATEMENT_SECONDS * 1000),
        "idle_in_transaction_session_timeout": "60000",
    }
    return await asyncpg.connect(url, timeout=_CONNECT_SECONDS, server_settings=limits)


async def _lock(connection: Any) -> None:
    """Have one process at a time migrate; the others look again, and find nothing left to do.

    The lock is polled: an index that is built concurrently waits for every earlier statement, so
    also for a statement that waits for the lock.
    """
    deadline = time.monotonic() + WAIT_SECONDS
    while not await connection.fetchval("SELECT pg_try_advisory_lock($1)", LOCK):
        if time.monotonic() > deadline:
            raise CannotMigrate("Another process has been migrating this database for too long.")
        await asyncio.sleep(LOOK_SECONDS)


async def _patiently(work: Callable[[], Awaitable[None]]) -> None:
    """Repeat `work`, which continues from where it stopped, until it gets its locks."""
    patience = Patience(LOCK_PATIENCE_SECONDS)
    while True:
        try:
            await work()
        except asyncpg.LockNotAvailableError:
            if not await patience.pause():
                raise
        else:
            return


def _refuse_newer(revision: str) -> None:
    if revision > head():
        raise DatabaseNewer(
            f"The database is at migration {revision}, this code knows {head()}: "
            "deploy the newer code, or restore an older backup."
        )


async def _run_alembic(url: str) -> None:
    # Imported here: a start that has nothing to migrate needs none of them.
    from alembic import command  # noqa: PLC0415
    from alembic.config import Config  # noqa: PLC0415
    from sqlalchemy.exc import DBAPIError  # noqa: PLC0415
    from sqlalchemy.ext.asyncio import create_async_engine  # noqa: PLC0415

    async def connect(*_: object, **__: object) -> Any:
        return await _connect(url)

    engine = create_async_engine("postgresql+asyncpg://", async_creator=connect)
    config: Config = Config(ROOT / "alembic.ini")

    def migrate(connection: Any) -> None:
        config.attributes["connection"] = connection
        command.upgrade(config, "head")

    try:
        async with engine.connect() as connection:
            await connection.run_sync(migrate)
            await connection.commit()
    except DBAPIError as error:
        # PostgreSQL's own error, without SQLAlchemy's words around it.
        fault = error.orig.__cause__ if error.orig is not None else None
        raise fault or error from None
    finally:
        await engine.dispose()
