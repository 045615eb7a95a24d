"""The cache of a single process."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from app.caching.entries import MAX_BYTES, Entries

if TYPE_CHECKING:
    from collections.abc import Callable


class MemoryCache:
    """`now` gives seconds; `max_bytes` bounds what is remembered."""

    def __init__(
        self, now: Callable[[], float] = time.monotonic, max_bytes: int = MAX_BYTES
    ) -> None:
        self._entries: Entries[bytes] = Entries(now, max_bytes)

    async def get(self, key: str) -> bytes | None:
        found = self._entries.get(key)
        return None if found is None else found[0]

    def left(self, key: str) -> float:
        """Seconds until the entry expires; 0 if it is missing."""
        found = self._entries.get(key)
        return 0.0 if found is None else found[1]

    async def set(self, key: str, value: bytes, *, ttl: float) -> None:
        self._entries.set(key, value, size=len(value), ttl=ttl)

    async def delete(self, key: str) -> None:
        self._entries.remove(key)

    async def close(self) -> None:
        self._entries.clear()
