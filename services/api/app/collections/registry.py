"""The collections that this process remembers, dropped by notification when they change."""

from __future__ import annotations

from typing import TYPE_CHECKING

from app.collections import repository
from app.collections.errors import CollectionNotFound
from app.collections.models import NAME, TOPIC
from app.observability.metrics import CACHE_LOOKUPS, COLLECTIONS

if TYPE_CHECKING:
    from app.collections.models import Collection
    from app.core.actor import Actor
    from app.db.database import Database
    from app.db.session import Session

# Maximum number of remembered names without a collection; clients can ask for any number.
_MAX_UNKNOWN = 1000

_HIT = CACHE_LOOKUPS.labels("collections", "hit")
_MISS = CACHE_LOOKUPS.labels("collections", "miss")


class Registry:
    """Collections by name, and names without one. Unused while notifications may be missing."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._known: dict[str, Collection] = {}
        self._unknown: set[str] = set()
        self._everything: list[Collection] | None = None
        # Counts the drops, so that a collection read before a drop is not remembered after it.
        self._generation = 0
        database.notifications.subscribe(TOPIC, self.drop, self.clear)

    def drop(self, name: str) -> None:
        self._generation += 1
        self._everything = None
        self._known.pop(name, None)
        self._unknown.discard(name)
        COLLECTIONS.set(len(self._known))

    def clear(self) -> None:
        self._generation += 1
        self._everything = None
        self._known.clear()
        self._unknown.clear()
        COLLECTIONS.set(0)

    async def get(self, name: str, session: Session | None = None) -> Collection:
        """The collection of that name, read by the session if one is given. Raises
        CollectionNotFound."""
        trusted = self._database.notifications.trusted
        known = self._known.get(name)
        if known is not None and trusted:
            _HIT.inc()
            return known
        # PostgreSQL is asked for well-formed names only: it refuses some text that a URL can hold.
        if (name in self._unknown and trusted) or not NAME.fullmatch(name):
            raise CollectionNotFound
        _MISS.inc()
        generation = self._generation
        collection = await repository.get(session or self._database, name)
        if generation == self._generation and self._database.notifications.trusted:
            self._remember(name, collection)
        if collection is None:
            raise CollectionNotFound
        return collection

    def _remember(self, name: str, collection: Collection | None) -> None:
        if collection is not None:
            self._known[name] = collection
            COLLECTIONS.set(len(self._known))
        elif len(self._unknown) < _MAX_UNKNOWN:
            self._unknown.add(name)
        else:
            self._unknown = {name}

    async def visible_to(self, actor: Actor) -> list[Collection]:
        """All collections that the caller may know of, by name."""
        return [collection for collection in await self._all() if collection.is_visible_to(actor)]

    async def _all(self) -> list[Collection]:
        if self._everything is not None and self._database.notifications.trusted:
            return self._everything
        generation = self._generation
        everything = await repository.get_all(self._database)
        if generation == self._generation and self._database.notifications.trusted:
            self._everything = everything
        return everything
