"""The limiter of many processes: one script call on Redis for all requests of an event loop's turn.

Redis away: each process limits by itself until it is back, which a metric and one line tell.
"""

from __future__ import annotations

import asyncio
import logging
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from redis.exceptions import RedisError

from app.core.metrics import REDIS_FALLBACKS
from app.ratelimit.memory import MemoryLimiter
from app.ratelimit.policy import Decision, Standing

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from redis.asyncio import Redis

    from app.ratelimit.policy import Check

logger = logging.getLogger("listo.ratelimit")

_SCRIPT = (Path(__file__).parent / "gcra.lua").read_text()
# How long Redis is left alone after a fault, so that an outage costs no request its time-out.
_RETRY_SECONDS = 1.0

_Pending = tuple["Sequence[Check]", "asyncio.Future[Decision]"]


class RedisLimiter:
    """Shares its counts with every process on the same Redis."""

    def __init__(self, client: Redis) -> None:
        self._client = client
        self._script = client.register_script(_SCRIPT)
        self._fallback = MemoryLimiter()
        self._pending: list[_Pending] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._away_until = 0.0
        self._away = False

    async def admit(self, checks: Sequence[Check]) -> Decision:
        if self._away_until > time.monotonic():
            REDIS_FALLBACKS.labels("limiter").inc()
            return await self._fallback.admit(checks)
        loop = asyncio.get_running_loop()
        if not self._pending:
            loop.call_soon(self._flush)
        future: asyncio.Future[Decision] = loop.create_future()
        self._pending.append((checks, future))
        return await future

    async def close(self) -> None:
        await self._client.aclose()

    def _flush(self) -> None:
        batch, self._pending = self._pending, []
        task = asyncio.get_running_loop().create_task(self._admit_all(batch))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _admit_all(self, batch: list[_Pending]) -> None:
        try:
            arguments = [argument for checks, _ in batch for argument in _arguments(checks)]
            answer: list[int] = await self._script(args=arguments)
        except (RedisError, OSError, TimeoutError) as error:
            self._note_away(error)
            for checks, future in batch:
                REDIS_FALLBACKS.labels("limiter").inc()
                if not future.done():
                    future.set_result(await self._fallback.admit(checks))
            return
        self._note_back()
        values = iter(answer)
        for checks, future in batch:
            decision = _decision(checks, values)
            if not future.done():
                future.set_result(decision)

    def _note_away(self, error: Exception) -> None:
        self._away_until = time.monotonic() + _RETRY_SECONDS
        if not self._away:
            self._away = True
            logger.warning("Redis is away, each process limits by itself: %s", error)

    def _note_back(self) -> None:
        if self._away:
            self._away = False
            logger.info("Redis is back, limits are shared again")


def _arguments(checks: Sequence[Check]) -> Iterator[Any]:
    yield len(checks)
    for check in checks:
        yield f"{check.policy.name}:{check.key}"
        yield check.cost
        yield len(check.policy.emissions)
        for window in check.policy.emissions:
            yield from window


def _decision(checks: Sequence[Check], values: Iterator[int]) -> Decision:
    allowed, wait = next(values), next(values)
    standings, violated = [], []
    for check in checks:
        standings.append(Standing(check.policy, next(values), next(values)))
        if next(values):
            violated.append(check.policy.name)
    return Decision(bool(allowed), standings, tuple(violated), wait / 1_000_000)
