"""`Generations` for a single process: entries and marks in its memory."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING
from uuid import uuid4

from app.caching.generations import MAKING_SECONDS, MARK_SECONDS, Look

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from app.caching.memory import MemoryCache


_MOST_GROUPS = 100_000


class MemoryGenerations:
    """The methods are described in `Generations`. `now` gives seconds, and must be the clock that
    `cache` uses."""

    def __init__(self, cache: MemoryCache, now: Callable[[], float] = time.monotonic) -> None:
        self._cache = cache
        self._now = now
        self._generations: dict[str, str] = {}
        # By group and writer: the time at which the mark ends.
        self._marks: dict[str, dict[str, float]] = {}
        # By name: the time at which the entry's maker starts to count as dead.
        self._making: dict[str, float] = {}

    async def look(self, group: str, key: str, *, stale: float) -> Look | None:
        now = self._now()
        generation = await self.current((group,))
        if generation is None:
            return None
        name = f"list:{generation}:{key}"
        value = await self._cache.get(name)
        left = self._cache.left(name)
        is_maker = value != b"" and left <= stale and self._making.get(name, 0.0) <= now
        if is_maker:
            self._making[name] = now + MAKING_SECONDS
        return Look(name, value, left, is_maker)

    async def current(self, groups: tuple[str, ...]) -> str | None:
        now = self._now()
        for group in groups:
            if any(end > now for end in self._marks.get(group, {}).values()):
                return None
        if len(self._generations) > _MOST_GROUPS:
            # New names do no harm.
            self._generations.clear()
        return ".".join(self._generations.setdefault(group, uuid4().hex) for group in groups)

    async def still_making(self, name: str) -> None:
        if name in self._making:
            self._making[name] = self._now() + MAKING_SECONDS

    async def store(self, name: str, value: bytes, *, ttl: float) -> bool:
        await self._cache.set(name, value, ttl=ttl)
        await self.release(name)
        return True

    async def release(self, name: str) -> None:
        self._making.pop(name, None)

    async def mark(self, groups: Collection[str], writer: str) -> bool:
        for group in groups:
            self._generations.pop(group, None)
            now = self._now()
            alive = {other: end for other, end in self._marks.get(group, {}).items() if end > now}
            self._marks[group] = {**alive, writer: now + MARK_SECONDS}
        return True

    async def unmark(self, groups: Collection[str], writer: str) -> bool:
        for group in groups:
            self._generations.pop(group, None)
            marks = self._marks.get(group, {})
            marks.pop(writer, None)
            if not marks:
                self._marks.pop(group, None)
        return True

    async def close(self) -> None:
        await self._cache.close()
