"""Telling of an import: one event for all records, and all that is cached of them is dropped."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from app.collections.models import CACHE_KINDS
from app.events import outbox
from app.events.models import Event

if TYPE_CHECKING:
    from app.db.session import Atomic
    from app.records.access import Access


async def announce(access: Access, session: Atomic, event: str, told: dict[str, Any]) -> None:
    """Within the transaction that wrote the records."""
    collection = access.collection
    for kind in CACHE_KINDS:
        if collection.definition.caches(kind):
            session.invalidate(collection.cache_group(kind))
    occurrence = Event(event, collection.id, collection.name, data=told)
    await outbox.publish(session, access.actor, occurrence)
