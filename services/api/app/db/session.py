"""Sessions with the database: a connection inside a transaction, or the pool itself.

`Database.transaction()` is the one place that commits. A statement run on the `Database` itself is
its own transaction, which saves a single statement two round trips.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from contextlib import AbstractAsyncContextManager

    from asyncpg import Record

    from app.db.pool.budget import Budget
    from app.db.pool.gathering import Gatherings


def affected(status: str) -> int:
    """The number of rows that a statement changed, from its status: `DELETE 3`, `INSERT 0 3`."""
    return int(status.rpartition(" ")[2])


class Cursor(Protocol):
    """A reader's place in the rows of a statement."""

    async def fetch(self, n: int) -> Sequence[Record]:
        """The next `n` rows, fewer at the end."""
        ...


class ReadSession(Protocol):
    """Runs read-only SQL with `$n` binds."""

    @property
    def budget(self) -> Budget:
        """PostgreSQL's memory for statements on large records, see `budget.room`."""
        ...

    async def fetch(self, query: str, *args: Any) -> Sequence[Record]: ...

    async def fetchrow(self, query: str, *args: Any) -> Record | None: ...

    async def fetchval(self, query: str, *args: Any) -> Any: ...

    def open_cursor(
        self, query: str, *args: Any, lock: int | None
    ) -> AbstractAsyncContextManager[Cursor]:
        """A cursor over the statement's rows. With `lock`, waits for that advisory lock first."""
        ...


class Session(ReadSession, Protocol):
    """Runs plain SQL with `$n` binds."""

    async def execute(self, query: str, *args: Any) -> str: ...

    async def notify(self, topic: str, payload: str) -> None:
        """Tell every process, this one included, once the transaction has committed."""
        ...

    def after_commit(self, work: Callable[[], object]) -> None:
        """Do `work` once everything done so far has been committed, and only then."""
        ...

    async def settle(self) -> None:
        """Before the answer, wait until every process knows of all epochs, see `notifications`.

        In a transaction, the wait comes after its end.
        """
        ...

    @property
    def gatherings(self) -> Gatherings | None:
        """Joins statements with those of other requests; None in a transaction."""
        ...

    def atomic(self) -> AbstractAsyncContextManager[Atomic]:
        """The surrounding transaction, or a new one."""
        ...


class Atomic(Session, Protocol):
    """A session in a transaction, which can invalidate what is cached."""

    def nested(self) -> AbstractAsyncContextManager[Session]:
        """A savepoint: if the block raises, only the block's work is undone."""
        ...

    def invalidate(self, group: str) -> None:
        """Before the client learns of the commit, have every process drop the group's entries."""
        ...

    async def end_caching(self, groups: Sequence[str]) -> None:
        """Keep processes from these groups from now on: others may not know of the end yet.

        May wait for some seconds, so call this before taking locks that others wait for.
        """
        ...


class TransactionFactory(Session, Protocol):
    """Makes transactions: a Database, or the request transaction that stands in for it."""

    def transaction(self) -> AbstractAsyncContextManager[Session]:
        """Committed when the block ends, or together with the surrounding transaction."""
        ...
