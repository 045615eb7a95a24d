"""Statements that commit by themselves, on connections of a pool."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import asyncpg

from app.db.errors import translated
from app.db.pool.gate import PendingAcquire

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping, Sequence

    from asyncpg import Record

    from app.db.pool.budget import Budget
    from app.db.pool.gate import Gate
    from app.db.session import Cursor

CONNECT_TIMEOUT = 5.0
# Longer statements are parsed and planned each time.
LONGEST_PREPARED = 2048


class _Connection(asyncpg.Connection):  # type: ignore[misc] # asyncpg has no types
    """A pooled connection that is given back without a round trip."""

    def get_reset_query(self) -> str:
        # Statements that change the session's state have a connection outside the pool, so there is
        # nothing to reset; asyncpg itself ends a transaction that was left open.
        return ""


async def walked(connection: Any, query: str, args: Sequence[Any], lock: int | None) -> Cursor:
    """A cursor in the connection's transaction, see `ReadSession.open_cursor`."""
    if lock is not None:
        await connection.execute("SELECT pg_advisory_xact_lock($1)", lock)
    cursor: Cursor = await connection.cursor(query, *args)
    return cursor


class Pooled:
    """As many connections as the gate has places, opened when they are needed."""

    def __init__(self, url: str, settings: Mapping[str, str], gate: Gate, budget: Budget) -> None:
        self.budget = budget
        self._url = url
        self._settings = settings
        self._gate = gate
        self._pool: asyncpg.Pool[Record] | None = None
        self.query_loggers: list[Callable[[Any], None]] = []

    async def open(self, *, at_once: int = 1) -> None:
        """Make the pool, with `at_once` open connections. Raises DatabaseUnavailable."""
        with translated:
            self._pool = await asyncpg.create_pool(
                self._url,
                min_size=at_once,
                max_size=self._gate.places,
                connection_class=_Connection,
                server_settings=self._settings,
                init=self._init,
                # For each statement PostgreSQL keeps some 60 times its length, and clients write
                # filters: 12 MB per connection. Lists with rule, filter and cursor are some 1,400
                # characters long.
                statement_cache_size=128,
                max_cacheable_statement_size=LONGEST_PREPARED,
                timeout=CONNECT_TIMEOUT,
            )

    async def close(self) -> None:
        if self._pool is not None:
            await self._pool.close()
            self._pool = None

    @property
    def pool(self) -> asyncpg.Pool[Record]:
        if self._pool is None:
            raise RuntimeError("the database is not open")
        return self._pool

    def load(self) -> tuple[int, int, int]:
        """How many connections may be open, are open, and are in use."""
        if self._pool is None:
            return 0, 0, 0
        size = self._pool.get_size()
        return self._gate.places, size, size - self._pool.get_idle_size()

    async def fetch(self, query: str, *args: Any) -> Sequence[Record]:
        with translated:
            async with self._acquire() as connection:
                rows: Sequence[Record] = await connection.fetch(query, *args)
                return rows

    async def fetchrow(self, query: str, *args: Any) -> Record | None:
        with translated:
            async with self._acquire() as connection:
                return await connection.fetchrow(query, *args)

    async def fetchval(self, query: str, *args: Any) -> Any:
        with translated:
            async with self._acquire() as connection:
                return await connection.fetchval(query, *args)

    @asynccontextmanager
    async def open_cursor(self, query: str, *args: Any, lock: int | None) -> AsyncIterator[Cursor]:
        with translated:
            async with self._acquire() as connection, connection.transaction():
                yield await walked(connection, query, args, lock)

    async def execute(self, query: str, *args: Any) -> str:
        with translated:
            async with self._acquire() as connection:
                status: str = await connection.execute(query, *args)
                return status

    def _acquire(self) -> PendingAcquire:
        return PendingAcquire(self.pool, self._gate)

    async def _init(self, connection: asyncpg.Connection[Record]) -> None:
        for callback in self.query_loggers:
            connection.add_query_logger(callback)
