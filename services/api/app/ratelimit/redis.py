"""The limiter of many processes: one script call on Redis for all requests of an event loop's turn.

Redis away: each process admits its share of every limit by itself until it is back.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING

from app.core.outage import RedisAway, RedisOutage
from app.ratelimit.gcra import decide
from app.ratelimit.memory import MemoryLimiter
from app.ratelimit.policy import share

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from redis.asyncio import Redis

    from app.ratelimit.policy import Check, Decision

_SCRIPT = (Path(__file__).parent / "gcra.lua").read_text()

_Pending = tuple["Sequence[Check]", "asyncio.Future[Decision]"]


class RedisLimiter:
    """Shares its counts with every process on the same Redis.

    `processes` tells how many of them there are: what is to be known already when Redis is away.
    """

    def __init__(self, client: Redis, processes: Callable[[], int]) -> None:
        self._redis = RedisOutage(client, "limiter", "each process admits its share by itself")
        self._script = client.register_script(_SCRIPT)
        self._processes = processes
        self._fallback = MemoryLimiter()
        self._pending: list[_Pending] = []
        self._tasks: set[asyncio.Task[None]] = set()

    async def admit(self, checks: Sequence[Check]) -> Decision:
        loop = asyncio.get_running_loop()
        if not self._pending:
            loop.call_soon(self._flush)
        future: asyncio.Future[Decision] = loop.create_future()
        self._pending.append((checks, future))
        return await future

    async def close(self) -> None:
        await self._redis.close()

    async def _admit_alone(self, checks: Sequence[Check]) -> Decision:
        processes = self._processes()
        return await self._fallback.admit(
            [check._replace(policy=share(check.policy, processes)) for check in checks]
        )

    def _flush(self) -> None:
        batch, self._pending = self._pending, []
        task = asyncio.get_running_loop().create_task(self._admit_all(batch))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _admit_all(self, batch: list[_Pending]) -> None:
        async def shared() -> list[Decision]:
            owed = await self._script(
                args=[argument for checks, _ in batch for argument in _arguments(checks)]
            )
            return list(_decisions([checks for checks, _ in batch], owed))

        try:
            decisions = await self._redis.ask(shared, calls=len(batch))
        except RedisAway:
            decisions = [await self._admit_alone(checks) for checks, _ in batch]
        for (_, future), decision in zip(batch, decisions, strict=True):
            if not future.done():
                future.set_result(decision)


def _arguments(checks: Sequence[Check]) -> Iterator[int | bytes]:
    yield sum(len(check.policy.windows) for check in checks)
    for policy, caller, cost, counted, _ in checks:
        for emission, burst in policy.windows:
            # A window that was changed by a setting counts anew.
            key = f"listo:limit:{policy.name}:{emission}:{burst}:{caller}"
            yield key.encode("utf-8", "surrogatepass")
            yield min(cost * emission, burst) - min(counted * emission, burst)
            yield burst


def _decisions(batch: list[Sequence[Check]], owed: Sequence[int]) -> Iterator[Decision]:
    """The script counted those requests that `decide` admits: both compare the same integers."""
    at = 0
    for checks in batch:
        windows = sum(len(check.policy.windows) for check in checks)
        decision, _ = decide(checks, owed[at : at + windows])
        at += windows
        yield decision
