"""A cache in the memory of each process, as coherent as that of `coherent`: a value is served only
while its groups have the generations that they had before the value was made."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Generic, TypeVar

from app.caching.coherent import MAX_BYTES, Served
from app.caching.entries import Entries
from app.observability.metrics import CACHE_LOOKUPS

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from app.caching.generations import Generations
    from app.db.database import Database

Value = TypeVar("Value")

# The bytes that an entry takes beside its key and value: names, objects, numbers.
_OVERHEAD = 800
# Two such caches fit into the memory that a process is taken to have beside bodies.
_MOST_BYTES = 16 * 1024 * 1024


class LocalCache(Generic[Value]):
    """Values of one kind; `size` gives the bytes that a value takes."""

    def __init__(
        self, kind: str, generations: Generations, database: Database, size: Callable[[Value], int]
    ) -> None:
        self._kind = kind
        self._generations = generations
        self._database = database
        self._size = size
        # Each with its name and its whole time.
        self._entries: Entries[tuple[str, float, Value]] = Entries(max_bytes=_MOST_BYTES)
        self._hits = CACHE_LOOKUPS.labels(kind, "hit")

    async def fetch(
        self, groups: tuple[str, ...], key: str, make: Callable[[], Awaitable[Served[Value]]]
    ) -> Served[Value]:
        """A value of `make`, made now or since the last change of the groups. A value is kept while
        it has time left; it is made by each process, and perhaps by several requests at once."""
        name = await self._name(groups)
        known = self._entries.get(key)
        if known is not None and known[0][0] == name:
            (_, whole, value), left = known
            self._hits.inc()
            return Served(value, "hit", age=whole - left, left=left)
        served = await make()
        if name is None:
            if served.outcome == "miss" and served.left > 0:
                served = replace(served, outcome="bypass")
        elif served.left > 0 and (size := self._size(served.value)) <= MAX_BYTES:
            whole = served.age + served.left
            entry = (name, whole, served.value)
            self._entries.set(key, entry, size=size + _OVERHEAD, ttl=served.left)
            served = replace(served, stored=True)
        outcome = "miss" if served.outcome == "collapsed" else served.outcome
        CACHE_LOOKUPS.labels(self._kind, outcome).inc()
        return served

    async def _name(self, groups: tuple[str, ...]) -> str | None:
        notifications = self._database.notifications
        if not notifications.trusted or notifications.quiet:
            return None
        epoch = notifications.epoch
        generation = await self._generations.current(groups)
        return None if generation is None else f"{epoch}:{generation}"
