"""A cache in the memory of each process, as coherent as that of `coherent`: a value is served only
while its groups have the generations that they had before the value was made."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from app.caching.coherent import MAX_BYTES, Served
from app.observability.metrics import CACHE_LOOKUPS

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from app.caching.generations import Generations
    from app.caching.memory import MemoryCache
    from app.db.database import Database

_LOOKUPS = {
    outcome: CACHE_LOOKUPS.labels("records", outcome) for outcome in ("hit", "miss", "bypass")
}


class LocalCache:
    """Unlike `CoherentCache` for values that cost little to make: each process makes its own, and
    several requests may do so at the same time."""

    def __init__(self, generations: Generations, database: Database, memory: MemoryCache) -> None:
        self._generations = generations
        self._database = database
        self._memory = memory

    async def fetch(
        self, groups: tuple[str, ...], key: str, ttl: float, make: Callable[[], Awaitable[bytes]]
    ) -> Served:
        """A value of `make`, made now or since the last change of the groups, and kept for `ttl`
        seconds at most."""
        served = await self._fetch(groups, key, ttl, make)
        _LOOKUPS[served.outcome].inc()
        return served

    async def _fetch(
        self, groups: tuple[str, ...], key: str, ttl: float, make: Callable[[], Awaitable[bytes]]
    ) -> Served:
        name = await self._name(groups)
        if name is None:
            return Served(await make(), "bypass")
        kept = await self._memory.get(key)
        if kept is not None and kept.startswith(name):
            left = self._memory.left(key)
            return Served(kept[len(name) :], "hit", age=ttl - left, left=left)
        began = time.monotonic()
        value = await make()
        left = ttl - (time.monotonic() - began)
        stored = len(value) <= MAX_BYTES and left > 0
        if stored:
            await self._memory.set(key, name + value, ttl=left)
        return Served(value, "miss", stored=stored)

    async def _name(self, groups: tuple[str, ...]) -> bytes | None:
        notifications = self._database.notifications
        if not notifications.trusted or notifications.quiet:
            return None
        epoch = notifications.epoch
        generation = await self._generations.current(groups)
        return None if generation is None else f"{epoch}:{generation}\n".encode()

    async def close(self) -> None:
        await self._memory.close()
