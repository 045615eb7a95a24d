"""The outbox: an event is a row of the transaction whose work it tells of, or it is not."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import orjson

from app.core.metrics import EVENTS_PUBLISHED
from app.events import repository

if TYPE_CHECKING:
    from uuid import UUID

    from app.core.actor import Actor
    from app.db.session import Session


@dataclass(frozen=True, slots=True)
class Event:
    """What happened: `type` like `order.paid`, the subject's id and version, and JSON data."""

    type: str
    subject: UUID | None = None
    collection: str | None = None
    version: int | None = None
    data: dict[str, Any] | None = None


async def publish(session: Session, actor: Actor, event: Event) -> None:
    """Write `event` in the caller's transaction: it is there if, and only if, that commits."""
    data = None if event.data is None else orjson.dumps(event.data).decode()
    await repository.insert(session, event, actor.id, data)
    session.after_commit(EVENTS_PUBLISHED.labels(event.type).inc)
