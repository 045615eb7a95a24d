"""Waiting for a connection while all of the pool's are in use."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from app.core.errors import Overloaded
from app.core.metrics import DATABASE_FAULTS

if TYPE_CHECKING:
    from collections.abc import Generator

    import asyncpg

ACQUIRE_TIMEOUT = 5.0


class Waiting:
    """Those who wait for a connection of a pool, in the order in which they came."""

    def __init__(self) -> None:
        self._since: dict[Turn, float] = {}

    def longest(self) -> float:
        """For how many seconds somebody has been waiting at most."""
        first = next(iter(self._since.values()), None)
        return 0.0 if first is None else time.monotonic() - first

    async def acquire(self, pool: asyncpg.Pool[Any], turn: Turn) -> Any:
        """A connection. Raises Overloaded after ACQUIRE_TIMEOUT."""
        self._since[turn] = time.monotonic()
        try:
            return await pool.acquire(timeout=ACQUIRE_TIMEOUT)
        except TimeoutError as error:
            DATABASE_FAULTS.labels("pool_timeout").inc()
            raise Overloaded("No database connection became free in time.") from error
        finally:
            del self._since[turn]


class Turn:
    """A connection to come, to be awaited or entered, like what `Pool.acquire` returns."""

    def __init__(self, pool: asyncpg.Pool[Any], waiting: Waiting) -> None:
        self._pool = pool
        self._waiting = waiting
        self._connection: Any = None

    def __await__(self) -> Generator[Any, Any, Any]:
        return self._waiting.acquire(self._pool, self).__await__()

    async def __aenter__(self) -> Any:
        self._connection = await self
        return self._connection

    async def __aexit__(self, *_: object) -> None:
        await self._pool.release(self._connection)
