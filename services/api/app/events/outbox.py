"""The outbox: the transaction that makes a change also writes the change's event, as a row."""

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
    """Write `event`, which exists if, and only if, the transaction of `session` commits."""
    data = None if event.data is None else orjson.dumps(event.data).decode()
    await repository.insert(session, event, actor.id, data)
    session.after_commit(EVENTS_PUBLISHED.labels(event.type).inc)
