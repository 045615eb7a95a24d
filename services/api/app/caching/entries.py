"""Entries of a single process, bounded in bytes: the least recently used entry goes first."""

from __future__ import annotations

import time
from collections import OrderedDict
from typing import TYPE_CHECKING, Generic, NamedTuple, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

Value = TypeVar("Value")

MAX_BYTES = 32 * 1024 * 1024
# Roughly the bytes that an entry takes beside its key and value.
_OVERHEAD = 200


class _Entry(NamedTuple, Generic[Value]):
    value: Value
    size: int
    expires: float


class Entries(Generic[Value]):
    """`now` gives seconds."""

    def __init__(
        self, now: Callable[[], float] = time.monotonic, max_bytes: int = MAX_BYTES
    ) -> None:
        self._now = now
        self._max_bytes = max_bytes
        self._bytes = 0
        self._entries: OrderedDict[str, _Entry[Value]] = OrderedDict()

    def get(self, key: str) -> tuple[Value, float] | None:
        """The value, and the seconds that it has left."""
        entry = self._entries.get(key)
        if entry is None:
            return None
        left = entry.expires - self._now()
        if left <= 0:
            self.remove(key)
            return None
        self._entries.move_to_end(key)
        return entry.value, left

    def set(self, key: str, value: Value, *, size: int, ttl: float) -> None:
        """Remember `value`, which takes `size` bytes, for `ttl` seconds at most."""
        self.remove(key)
        size += len(key) + _OVERHEAD
        if size > self._max_bytes or ttl <= 0:
            return
        while self._bytes + size > self._max_bytes:
            self.remove(next(iter(self._entries)))
        self._entries[key] = _Entry(value, size, self._now() + ttl)
        self._bytes += size

    def remove(self, key: str) -> None:
        entry = self._entries.pop(key, None)
        if entry is not None:
            self._bytes -= entry.size

    def clear(self) -> None:
        self._entries.clear()
        self._bytes = 0
