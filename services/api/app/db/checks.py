"""Whether the database answers, is at this code's migration, and reports changes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from app.core.errors import Problem
from app.db import migrations
from app.observability.checks import Check

if TYPE_CHECKING:
    from app.db.database import Database


def checks(database: Database) -> list[Check]:
    async def check_connection() -> None:
        await database.fetchval("SELECT 1")

    async def check_migration() -> None:
        # A newer migration is no error: migrations expand, so that older code continues to serve.
        revision = await migrations.current(database)
        if revision is None or revision < migrations.head():
            raise Problem("The database is behind this code; run: listo migrate")

    async def check_notifications() -> None:
        if not database.notifications.trusted:
            raise Problem("Change notifications may be missing; nothing is remembered.")

    return [
        Check("database", check_connection, required=True),
        Check("migrations", check_migration, required=True),
        Check("notifications", check_notifications, required=False),
    ]
