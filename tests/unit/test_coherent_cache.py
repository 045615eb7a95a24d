"""Several processes on one cache, some of which die or are slow."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from app.caching.coherent import MAX_BYTES, CachePolicy, CoherentCache
from app.caching.generations import MAKING_SECONDS
from app.caching.memory import MemoryCache
from app.caching.memory_generations import MemoryGenerations
from app.core.background import Background

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

GROUP, KEY, EPOCH = "group", "key", "1"
PATIENCE = 10


class Processes:
    """`count` caches on one store, with a clock that tests put forward."""

    def __init__(self, count: int) -> None:
        self._now = 0.0
        self.generations = MemoryGenerations(MemoryCache(self._time), self._time)
        notifications = SimpleNamespace(trusted=True, quiet=False, epoch=EPOCH)
        database: Any = SimpleNamespace(notifications=notifications, invalidating=None)
        self.each = [CoherentCache(self.generations, database, Background()) for _ in range(count)]

    def later(self, seconds: float) -> None:
        self._now += seconds

    def _time(self) -> float:
        return self._now


async def fetch(
    cache: CoherentCache, make: Callable[[], Awaitable[bytes]], life: CachePolicy
) -> tuple[bytes, str]:
    async with asyncio.timeout(PATIENCE):
        served = await cache.fetch(GROUP, KEY, life, make)
    return served.value, served.outcome


def test_the_turn_of_a_dead_process_is_taken() -> None:
    """The next request takes it, though others of its process wait for the dead process."""

    async def made() -> bytes:
        return b"made"

    async def work() -> None:
        processes, life = Processes(2), CachePolicy(fresh=60, stale=0)
        dead = await processes.generations.look(GROUP, f"{EPOCH}:{KEY}", stale=0)
        assert dead is not None
        assert dead.is_maker
        waiting = [asyncio.create_task(fetch(cache, made, life)) for cache in processes.each * 2]
        # All of them have found that the turn belongs to another process.
        await asyncio.sleep(0)
        processes.later(MAKING_SECONDS + 1)
        assert await fetch(processes.each[0], made, life) == (b"made", "miss")
        assert await asyncio.gather(*waiting) == [(b"made", "collapsed")] * 4

    asyncio.run(work())


def test_a_value_too_old_to_share_is_made_by_the_others_at_once() -> None:
    """Otherwise the processes would make it one after the other, while the rest wait."""

    async def work() -> None:
        processes, life = Processes(3), CachePolicy(fresh=0.01, stale=0)
        at_work = most = 0

        async def make() -> bytes:
            nonlocal at_work, most
            at_work += 1
            most = max(most, at_work)
            await asyncio.sleep(0.2)
            at_work -= 1
            return b"made"

        answers = await asyncio.gather(*(fetch(cache, make, life) for cache in processes.each))
        assert sorted(answers) == [(b"made", "bypass")] * 2 + [(b"made", "miss")]
        assert most == 2

    asyncio.run(work())


def test_no_process_waits_for_a_value_that_was_not_kept() -> None:
    """An empty entry stands for a value too large to keep, and each process makes its own value.
    Once the entry expires, one process has the turn again."""

    async def work() -> None:
        processes, life = Processes(2), CachePolicy(fresh=10, stale=60)

        async def make() -> bytes:
            return b"x" * (MAX_BYTES + 1)

        async def outcomes() -> list[str]:
            return [(await fetch(cache, make, life))[1] for cache in processes.each]

        assert await outcomes() == ["miss", "bypass"]
        processes.later(8.5)
        assert await outcomes() == ["bypass", "bypass"]
        processes.later(2.7)
        assert await outcomes() == ["miss", "bypass"]

    asyncio.run(work())
