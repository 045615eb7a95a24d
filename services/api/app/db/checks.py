"""Whether the database answers, is at this code's migration, and tells of changes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from app.core.errors import Problem
from app.db import migrations
from app.observability.checks import Check

if TYPE_CHECKING:
    from app.db.database import Database


def checks(database: Database) -> list[Check]:
    async def answers() -> None:
        await database.fetchval("SELECT 1")

    async def migrated() -> None:
        # A newer one is no fault: migrations expand, so that the code before them goes on serving.
        revision = await migrations.current(database)
        if revision is None or revision < migrations.head():
            raise Problem("The database is behind this code; run: listo migrate")

    async def notified() -> None:
        if not database.notifications.trusted:
            raise Problem("Change notifications may be missing; nothing is remembered.")

    return [
        Check("database", answers, required=True),
        Check("migrations", migrated, required=True),
        Check("notifications", notified, required=False),
    ]
