"""The pool, and the one place that commits."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import asyncpg

from app.core.metrics import POOL_IN_USE, POOL_MAX, POOL_SIZE, read_from
from app.db.ends import ENDS
from app.db.errors import translated
from app.db.notifications import Notifications
from app.db.waiting import Turn, Waiting

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
    from contextlib import AbstractAsyncContextManager

    from asyncpg import Record

    from app.db.session import Session

    Acknowledge = Callable[[], Awaitable[None]]
    # Given a transaction about to commit, and the groups that are out of date when it has, each
    # with whether its caching ends.
    Outdating = Callable[[Session, Mapping[str, bool]], Awaitable[Acknowledge | None]]

CONNECT_TIMEOUT = 5.0
# Longer statements are parsed and planned each time.
LONGEST_PREPARED = 1536


class _Connection(asyncpg.Connection):  # type: ignore[misc] # asyncpg has no types
    """A pooled connection that is given back without a round trip."""

    def get_reset_query(self) -> str:
        # What changes the session's state has a connection outside the pool, so there is nothing
        # to reset; asyncpg itself ends a transaction that was left open.
        return ""


class Transaction:
    """A session in a transaction; what it notifies of is dispatched once that has committed."""

    def __init__(
        self,
        connection: asyncpg.Connection[Record],
        notifications: Notifications,
        outdating: Outdating,
    ) -> None:
        self._connection = connection
        self._notifications = notifications
        self._outdating = outdating
        self._outdated: dict[str, bool] = {}
        self._acknowledge: Acknowledge | None = None
        self.notified: list[tuple[str, str]] = []
        self.afterwards: list[Callable[[], object]] = []

    async def fetch(self, query: str, *args: Any) -> Sequence[Record]:
        with translated:
            rows: Sequence[Record] = await self._connection.fetch(query, *args)
            return rows

    async def fetchrow(self, query: str, *args: Any) -> Record | None:
        with translated:
            return await self._connection.fetchrow(query, *args)

    async def fetchval(self, query: str, *args: Any) -> Any:
        with translated:
            return await self._connection.fetchval(query, *args)

    async def execute(self, query: str, *args: Any) -> str:
        with translated:
            status: str = await self._connection.execute(query, *args)
            return status

    async def notify(self, topic: str, payload: str) -> None:
        self.notified.append((topic, payload))

    def after_commit(self, work: Callable[[], object]) -> None:
        self.afterwards.append(work)

    def outdate(self, group: str, *, ended: bool = False) -> None:
        self._outdated[group] = ended or self._outdated.get(group, False)

    async def prepare(self) -> None:
        """What belongs at the end of the transaction."""
        if self._outdated:
            self._acknowledge = await self._outdating(self, self._outdated)
        if self.notified:
            await self._notifications.send(self, self.notified)

    async def acknowledge(self) -> None:
        """What belongs between the commit and telling anybody."""
        if self._acknowledge is not None:
            await self._acknowledge()

    @asynccontextmanager
    async def atomic(self) -> AsyncIterator[Transaction]:
        yield self

    @asynccontextmanager
    async def nested(self) -> AsyncIterator[Session]:
        """A savepoint: if the block raises, only what it did is undone."""
        notified, afterwards = len(self.notified), len(self.afterwards)
        with translated:
            bounds = self._connection.transaction()
            await bounds.start()
        try:
            yield self
        except BaseException:
            del self.notified[notified:], self.afterwards[afterwards:]
            with translated:
                await bounds.rollback()
            raise
        with translated:
            await bounds.commit()


class Database:
    """A pool of connections to PostgreSQL. As a `Session`, each statement commits by itself."""

    def __init__(
        self,
        url: str,
        *,
        pool_size: int = 10,
        statement_timeout: float = 20.0,
        idle_timeout: float = 60.0,
        name: str = "listo",
    ) -> None:
        self._url = url
        self._pool_size = pool_size
        self._settings = ENDS | {
            "application_name": name,
            "statement_timeout": str(int(statement_timeout * 1000)),
            "idle_in_transaction_session_timeout": str(int(idle_timeout * 1000)),
            "timezone": "UTC",
            # Compiling costs more than our short statements take.
            "jit": "off",
        }
        self._query_loggers: list[Callable[[Any], None]] = []
        self._pool: asyncpg.Pool[Record] | None = None
        self._waiting = Waiting()
        self.notifications = Notifications(self.connect)
        # Who knows nothing of what is cached has nobody read it.
        self.outdating: Outdating = lambda session, _: self.notifications.begin_epoch(session)

    def add_query_logger(self, callback: Callable[[Any], None]) -> None:
        """Have `callback` see every statement of connections opened from now on."""
        self._query_loggers.append(callback)

    async def open(self) -> None:
        """Connect. Raises DatabaseUnavailable."""
        with translated:
            self._pool = await asyncpg.create_pool(
                self._url,
                min_size=1,
                max_size=self._pool_size,
                connection_class=_Connection,
                server_settings=self._settings,
                init=self._init,
                # PostgreSQL keeps some 60 times a statement's length, and strangers write filters:
                # 12 MB for a connection. Lists with rule, filter and cursor have some 1,400.
                statement_cache_size=128,
                max_cacheable_statement_size=LONGEST_PREPARED,
                timeout=CONNECT_TIMEOUT,
            )
        read_from(POOL_SIZE, lambda: 0 if self._pool is None else self._pool.get_size())
        read_from(POOL_MAX, lambda: 0 if self._pool is None else self._pool_size)
        read_from(POOL_IN_USE, self._in_use)

    async def close(self) -> None:
        if self._pool is not None:
            await self._pool.close()
            self._pool = None

    @property
    def pool(self) -> asyncpg.Pool[Record]:
        if self._pool is None:
            raise RuntimeError("the database is not open")
        return self._pool

    def longest_wait(self) -> float:
        """For how many seconds somebody has been waiting for a connection at most."""
        return self._waiting.longest()

    def _in_use(self) -> int:
        return 0 if self._pool is None else self._pool.get_size() - self._pool.get_idle_size()

    def _acquire(self) -> Any:
        # Waiting with a time limit costs a task, which is worth it only when there is a wait.
        pool = self.pool
        if pool._queue.empty():  # noqa: SLF001 - it has no public way to ask
            return Turn(pool, self._waiting)
        return pool.acquire()

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Transaction]:
        """A session in one transaction: committed when the block ends, rolled back if it raises."""
        pool = self.pool
        with translated:
            connection = await self._acquire()
        try:
            transaction = Transaction(connection, self.notifications, self.outdating)
            with translated:
                bounds = connection.transaction()
                await bounds.start()
            # Not translated: a time-out or an OSError in here is the caller's own.
            try:
                yield transaction
                await transaction.prepare()
            except BaseException:
                with translated:
                    await bounds.rollback()
                raise
            with translated:
                await bounds.commit()
        finally:
            try:
                await pool.release(connection)
            finally:
                # This process need not wait for its own message: whoever gets the response may
                # rely on it. A commit that was cancelled, or whose answer got lost, may be done.
                for topic, payload in transaction.notified:
                    self.notifications.dispatch(topic, payload)
        for work in transaction.afterwards:
            work()
        await transaction.acknowledge()

    def atomic(self) -> AbstractAsyncContextManager[Transaction]:
        return self.transaction()

    @asynccontextmanager
    async def connection(self, **settings: str) -> AsyncIterator[asyncpg.Connection[Record]]:
        """A connection outside the pool, with which its session's locks and settings end."""
        with translated:
            connection = await self.connect(**settings)
            try:
                yield connection
            finally:
                await connection.close(timeout=CONNECT_TIMEOUT)

    async def connect(self, **settings: str) -> asyncpg.Connection[Record]:
        """A connection outside the pool, to listen on or hold a lock with; the caller closes it."""
        with translated:
            return await asyncpg.connect(
                self._url, server_settings=self._settings | settings, timeout=CONNECT_TIMEOUT
            )

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

    async def execute(self, query: str, *args: Any) -> str:
        with translated:
            async with self._acquire() as connection:
                status: str = await connection.execute(query, *args)
                return status

    async def notify(self, topic: str, payload: str) -> None:
        await self.notifications.send(self, [(topic, payload)])
        self.notifications.dispatch(topic, payload)

    @staticmethod
    def after_commit(work: Callable[[], object]) -> None:
        """Do `work` at once: what was done before has been committed."""
        work()

    async def _init(self, connection: asyncpg.Connection[Record]) -> None:
        for callback in self._query_loggers:
            connection.add_query_logger(callback)
