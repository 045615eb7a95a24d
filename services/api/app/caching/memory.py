"""The cache of a single process, bounded in bytes: the least recently used entry goes first."""

from __future__ import annotations

import time
from collections import OrderedDict
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

MAX_BYTES = 32 * 1024 * 1024
# Roughly the bytes that an entry takes beside its key and value.
_OVERHEAD = 200


class MemoryCache:
    """`now` gives seconds."""

    def __init__(
        self, now: Callable[[], float] = time.monotonic, max_bytes: int = MAX_BYTES
    ) -> None:
        self._now = now
        self._max_bytes = max_bytes
        self._bytes = 0
        self._entries: OrderedDict[str, tuple[float, bytes]] = OrderedDict()

    async def get(self, key: str) -> bytes | None:
        entry = self._entries.get(key)
        if entry is None:
            return None
        expires, value = entry
        if expires <= self._now():
            self._remove(key)
            return None
        self._entries.move_to_end(key)
        return value

    def left(self, key: str) -> float:
        """Seconds until the entry expires; 0 if it is missing."""
        entry = self._entries.get(key)
        return 0.0 if entry is None else max(0.0, entry[0] - self._now())

    async def set(self, key: str, value: bytes, *, ttl: float) -> None:
        self._remove(key)
        size = len(key) + len(value) + _OVERHEAD
        if size > self._max_bytes or ttl <= 0:
            return
        while self._bytes + size > self._max_bytes:
            self._remove(next(iter(self._entries)))
        self._entries[key] = (self._now() + ttl, value)
        self._bytes += size

    async def delete(self, key: str) -> None:
        self._remove(key)

    async def close(self) -> None:
        self._entries.clear()
        self._bytes = 0

    def _remove(self, key: str) -> None:
        entry = self._entries.pop(key, None)
        if entry is not None:
            self._bytes -= len(key) + len(entry[1]) + _OVERHEAD
