"""A circuit breaker for Redis: an outage is logged in one line and counted per call, and only the
first request waits for Redis meanwhile."""

from __future__ import annotations

import asyncio
import logging
from contextvars import Context
from typing import TYPE_CHECKING, Any

from app.observability.metrics import REDIS_FALLBACKS

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from redis.asyncio import Redis

logger = logging.getLogger("listo.redis")

# Redis answers in a millisecond. With less patience a busy machine would look like an absent Redis,
# and each process would admit its share once more.
ANSWER_SECONDS = 1.0
# How long Redis is left alone after a fault, and after each check whether Redis is back.
RETRY_SECONDS = 1.0


class RedisAway(Exception):
    """Redis did not carry out the command. The fault is logged and counted already."""


class CircuitBreaker:
    """A closed breaker calls `client`. A fault opens it; it closes when Redis takes writes again.

    A separate task checks that: with a request as the trial, all other requests before its answer
    would run without Redis. `user` is a word for the metric and the log,
    `consequence` tells how requests go on without Redis.
    """

    def __init__(self, client: Redis, user: str, consequence: str) -> None:
        self._client = client
        self._user = user
        self._consequence = consequence
        self._fallbacks = REDIS_FALLBACKS.labels(user)
        self._return: asyncio.Task[None] | None = None

    async def call(
        self, command: Callable[[], Awaitable[Any]], *, calls: int = 1, even_if_open: bool = False
    ) -> Any:
        """The result of `command`, which counts as `calls` calls. Raises RedisAway."""
        if self._is_open and not even_if_open:
            self._fallbacks.inc(calls)
            raise RedisAway
        try:
            # The client's own limits hold for each step, and a new connection has several steps.
            async with asyncio.timeout(ANSWER_SECONDS):
                return await command()
        # Any exception counts: requests wait for Redis, and must not fail because of it.
        except Exception as error:
            self._fallbacks.inc(calls)
            if not self._is_open:
                # In a new context: the request's id must not be in the log.
                self._return = asyncio.create_task(self._until_back(), context=Context())
                reason = str(error) or type(error).__name__
                logger.warning(
                    "Redis is away from the %s, %s: %s", self._user, self._consequence, reason
                )
            raise RedisAway from error

    @property
    def _is_open(self) -> bool:
        return self._return is not None and not self._return.done()

    async def close(self) -> None:
        if self._return is not None:
            self._return.cancel()
            await asyncio.gather(self._return, return_exceptions=True)
        await self._client.aclose()

    async def _until_back(self) -> None:
        while True:
            await asyncio.sleep(RETRY_SECONDS)
            try:
                # A full Redis, or a replica of Redis, answers but takes no writes.
                async with asyncio.timeout(ANSWER_SECONDS):
                    await self._client.set(f"listo:back:{self._user}", b"", px=1)
            except Exception:  # noqa: BLE001, S112 - as above, and logged already
                continue
            logger.info("Redis is back for the %s", self._user)
            return
