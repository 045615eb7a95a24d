"""Tries all that a process needs to serve, without serving."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from app.db import migrations
from app.db.database import Database

if TYPE_CHECKING:
    from app.core.settings import Settings


def rehearse(settings: Settings, *, database: bool) -> str | None:
    """Make the application, extensions included, and look at the database; returns the database's
    migration, None if it was never migrated.

    Raises SettingsError, DatabaseNewer, DatabaseUnavailable.
    """
    # Imported here, since no other command needs it.
    from app.application import create_app  # noqa: PLC0415

    create_app(settings)
    return asyncio.run(_look(settings)) if database else None


async def _look(settings: Settings) -> str | None:
    database = Database(settings.database_url.get_secret_value(), pool_size=1, name="listo-check")
    await database.open()
    try:
        return await migrations.require_not_newer(database)
    finally:
        await database.close()
