"""Migrations: run once whoever starts first, with brakes on."""

from __future__ import annotations

import asyncio
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import asyncpg

from app.db.errors import translated

if TYPE_CHECKING:
    from alembic.config import Config

ROOT = Path(__file__).parents[2]
# Any number will do, as long as every version of the code takes the same.
LOCK = 0x6C6973746F


class WrongMigration(Exception):
    """The database is not at this code's migration."""


class DatabaseBehind(WrongMigration):
    """The database has to be migrated first."""


class DatabaseNewer(WrongMigration):
    """The database was migrated by a newer version of this code."""


@cache
def head() -> str:
    """The newest revision that this code knows."""
    return max(path.name.split("_")[0] for path in (ROOT / "migrations/versions").glob("*.py"))


async def current(session: Any) -> str | None:
    """The revision that the database is at; None where it was never migrated."""
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


def upgrade(url: str) -> bool:
    """Bring the database at `url` to this code's revision; False where it already was there.

    Raises DatabaseNewer, and DatabaseUnavailable where it cannot be reached.
    """
    return asyncio.run(_upgrade(url))


async def _upgrade(url: str) -> bool:
    with translated:
        connection = await asyncpg.connect(url, timeout=10)
        try:
            await connection.execute("SELECT pg_advisory_lock($1)", LOCK)
            before = await current(connection)
            if before == head():
                return False
            if before is not None:
                _refuse_newer(before)
            await connection.execute("CREATE SCHEMA IF NOT EXISTS listo")
            await _run_alembic(url)
            return True
        finally:
            await connection.close()


def _refuse_newer(revision: str) -> None:
    if revision > head():
        raise DatabaseNewer(
            f"The database is at migration {revision}, this code knows {head()}: "
            "deploy the newer code, or restore an older backup."
        )


async def _run_alembic(url: str) -> None:
    # Imported here: a start that has nothing to migrate does without them.
    from alembic import command  # noqa: PLC0415
    from alembic.config import Config  # noqa: PLC0415
    from sqlalchemy.ext.asyncio import create_async_engine  # noqa: PLC0415

    async def connect(*_: object, **__: object) -> Any:
        return await asyncpg.connect(
            url, server_settings={"lock_timeout": "4000", "statement_timeout": "600000"}
        )

    engine = create_async_engine("postgresql+asyncpg://", async_creator=connect)
    config: Config = Config(ROOT / "alembic.ini")

    def migrate(connection: Any) -> None:
        config.attributes["connection"] = connection
        command.upgrade(config, "head")

    async with engine.connect() as connection:
        await connection.run_sync(migrate)
        await connection.commit()
    await engine.dispose()
