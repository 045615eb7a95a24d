"""The SQL of events."""

from __future__ import annotations

from typing import TYPE_CHECKING

from app.db.session import affected

if TYPE_CHECKING:
    from datetime import timedelta
    from uuid import UUID

    from app.db.session import Session
    from app.events.models import Event


async def insert(session: Session, event: Event, actor: UUID | None, data: str | None) -> None:
    await session.execute(
        "INSERT INTO listo.events (type, collection, subject, version, actor, data)"
        " VALUES ($1, $2, $3, $4, $5, $6)",
        event.type,
        event.collection,
        event.subject,
        event.version,
        actor,
        data,
    )


async def purge(session: Session, older_than: timedelta, limit: int) -> int:
    """Delete up to `limit` events older than `older_than`; returns the number deleted."""
    status = await session.execute(
        "DELETE FROM listo.events WHERE id IN (SELECT id FROM listo.events"
        " WHERE occurred_at < now() - $1::interval ORDER BY id LIMIT $2)",
        older_than,
        limit,
    )
    return affected(status)
