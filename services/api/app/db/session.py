"""What services speak to: a connection inside a transaction, or the pool itself.

`Database.transaction()` is the one place that commits. A statement run on the `Database` itself is
its own transaction, which saves two round trips where one statement is all there is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from contextlib import AbstractAsyncContextManager

    from asyncpg import Record

    from app.db.pool.budget import Budget


def affected(status: str) -> int:
    """How many rows a statement changed, by what `execute` returned: `DELETE 3`, `INSERT 0 3`."""
    return int(status.rpartition(" ")[2])


class Cursor(Protocol):
    """Where in the rows of a statement its reader is."""

    async def fetch(self, n: int) -> Sequence[Record]:
        """The next `n` rows, fewer at the end."""
        ...


class Reading(Protocol):
    """Runs plain SQL with `$n` binds that changes nothing."""

    @property
    def budget(self) -> Budget:
        """What statements on large records may take of PostgreSQL's memory, see `budget.room`."""
        ...

    async def fetch(self, query: str, *args: Any) -> Sequence[Record]: ...

    async def fetchrow(self, query: str, *args: Any) -> Record | None: ...

    async def fetchval(self, query: str, *args: Any) -> Any: ...

    def walk(self, query: str, *args: Any, lock: int | None) -> AbstractAsyncContextManager[Cursor]:
        """To fetch some rows of a statement at a time, once the advisory lock is there."""
        ...


class Session(Reading, Protocol):
    """Runs plain SQL with `$n` binds."""

    async def execute(self, query: str, *args: Any) -> str: ...

    async def notify(self, topic: str, payload: str) -> None:
        """Tell every process, this one included, once the transaction has committed."""
        ...

    def after_commit(self, work: Callable[[], object]) -> None:
        """Do `work` once what was done up to here has been committed, and only then."""
        ...

    def atomic(self) -> AbstractAsyncContextManager[Atomic]:
        """The transaction that this is in, or else one of its own."""
        ...


class Atomic(Session, Protocol):
    """A session in a transaction, which can make what is cached out of date."""

    def nested(self) -> AbstractAsyncContextManager[Session]:
        """A savepoint: if the block raises, only what it did is undone."""
        ...

    def invalidate(self, group: str, *, ended: bool = False) -> None:
        """Have nobody read what is cached of the group, from before the commit is told of.

        If its caching has `ended`, nor afterwards, since others may not have heard of that yet.
        """
        ...


class Transactional(Session, Protocol):
    """Makes transactions: a Database, or what stands in for it where a request is to be one."""

    def transaction(self) -> AbstractAsyncContextManager[Session]:
        """Committed when the block ends, or together with what surrounds it."""
        ...
