"""The outbox: an event is a row of the transaction whose work it tells of."""

from __future__ import annotations

from typing import TYPE_CHECKING

import orjson

from app.events import repository
from app.observability.metrics import EVENTS_PUBLISHED

if TYPE_CHECKING:
    from app.core.actor import Actor
    from app.db.session import Session
    from app.events.models import Event


async def publish(session: Session, actor: Actor, event: Event) -> None:
    """Write `event` in the caller's transaction: the event exists if, and only if, that commits."""
    data = None if event.data is None else orjson.dumps(event.data).decode()
    await repository.insert(session, event, actor.id, data)
    session.after_commit(EVENTS_PUBLISHED.labels(event.type).inc)
