"""Work in several steps on one connection: its temporary tables stay from step to step."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from app.db.errors import translated
from app.db.pool.budget import room

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence
    from contextlib import AbstractAsyncContextManager

    import asyncpg
    from asyncpg import Record

    from app.db.database import Database, Transaction


class Pending(Protocol):
    """A connection that can be had, and given back."""

    async def acquire(self) -> asyncpg.Connection[Record]: ...

    async def release(self) -> None: ...


class Stepwise:
    """Each step is a transaction of its own."""

    def __init__(self, database: Database, connection: asyncpg.Connection[Record]) -> None:
        self._database = database
        self._connection = connection

    async def execute(self, query: str) -> None:
        """Runs statements without binds."""
        with translated:
            await self._connection.execute(query)

    async def try_lock(self, number: int) -> bool:
        """Take an advisory lock until the session ends; False if another session has it."""
        with translated:
            taken: bool = await self._connection.fetchval("SELECT pg_try_advisory_lock($1)", number)
        return taken

    def transaction(self) -> AbstractAsyncContextManager[Transaction]:
        """As `Database.transaction`, on this connection."""
        return self._database.transaction_on(_Kept(self._connection))

    async def copy(self, table: str, columns: Sequence[str], rows: bytes, need: int) -> None:
        """Add rows in the form of `copying` to a temporary table. PostgreSQL needs `need` bytes of
        memory. Raises Overloaded if there is no room for too long."""
        async with self.transaction() as transaction, room(transaction, need):
            await transaction.copy_in("pg_temp", table, columns, _once(rows))


async def _once(rows: bytes) -> AsyncIterator[bytes]:
    yield rows


class _Kept:
    """Hands out a connection that its holder keeps."""

    def __init__(self, connection: asyncpg.Connection[Record]) -> None:
        self._connection = connection

    async def acquire(self) -> Any:
        return self._connection

    async def release(self) -> None:
        return None
