"""The pool, and the one place that commits."""

from __future__ import annotations

import asyncio
import logging
import sys
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import asyncpg

from app.core.errors import DatabaseUnavailable, Problem
from app.db.ends import ENDS
from app.db.errors import translated
from app.db.notifications import COVERED_SECONDS, Notifications
from app.db.pool import copying
from app.db.pool.budget import Budget, Memory
from app.db.pool.gate import Gate, caller_now
from app.db.pool.gathering import Gatherings
from app.db.pool.lists import ListPool
from app.db.pool.long import PLACES, LongPool
from app.db.pool.pooled import CONNECT_TIMEOUT, Pooled, walked
from app.db.pool.stepwise import Stepwise
from app.observability.metrics import POOL_IN_USE, POOL_MAX, POOL_SIZE, read_from

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Mapping, Sequence
    from contextlib import AbstractAsyncContextManager

    from asyncpg import Record

    from app.db.pool.stepwise import Pending
    from app.db.session import Cursor, Session

    Acknowledge = Callable[[], Awaitable[None]]
    # Takes a transaction about to commit, and the groups that are out of date afterwards, each with
    # whether its caching ends.
    Invalidating = Callable[[Session, Mapping[str, bool]], Awaitable[Acknowledge | None]]

logger = logging.getLogger("listo")


class Transaction:
    """A session in a transaction; its notifications are dispatched after the commit."""

    gatherings = None

    def __init__(
        self,
        connection: asyncpg.Connection[Record],
        notifications: Notifications,
        invalidating: Invalidating,
        budget: Budget,
    ) -> None:
        self._connection = connection
        self._notifications = notifications
        self.budget = budget
        self._invalidating = invalidating
        self._invalidated: dict[str, bool] = {}
        self._acknowledge: Acknowledge | None = None
        # Whether the answer has to wait, see `settle`.
        self.unsettled = False
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

    async def copy_in(
        self, schema: str, table: str, columns: Sequence[str], rows: AsyncIterable[bytes]
    ) -> None:
        """Append rows in the form of `copying`, some lines in each part."""
        with translated:
            await self._connection.copy_to_table(
                table, source=rows, columns=columns, schema_name=schema, **copying.FORM
            )

    @asynccontextmanager
    async def open_cursor(self, query: str, *args: Any, lock: int | None) -> AsyncIterator[Cursor]:
        with translated:
            yield await walked(self._connection, query, args, lock)

    async def notify(self, topic: str, payload: str) -> None:
        self.notified.append((topic, payload))

    def after_commit(self, work: Callable[[], object]) -> None:
        self.afterwards.append(work)

    def invalidate(self, group: str) -> None:
        self._invalidated.setdefault(group, False)

    async def end_caching(self, groups: Sequence[str]) -> None:
        ended = dict.fromkeys(groups, True)
        await self._invalidating(self, ended)
        # Once more before the commit, which may be late.
        self._invalidated |= ended

    async def settle(self) -> None:
        self.unsettled = True

    async def prepare(self) -> None:
        """Invalidate and notify, at the end of the transaction."""
        if self._invalidated:
            self._acknowledge = await self._invalidating(self, self._invalidated)
        if self.notified:
            await self._notifications.send(self, self.notified)

    async def acknowledge(self) -> None:
        """Finish invalidating, between the commit and the answer."""
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


class Database(Pooled):
    """A pool of connections to PostgreSQL. As a `Session`, each statement commits by itself.

    `lists` runs the statements that may take long, and `long` those that do, where they keep
    nothing else waiting.
    """

    def __init__(  # noqa: PLR0913 - each is a setting
        self,
        url: str,
        *,
        pool_size: int = 10,
        statement_timeout: float = 20.0,
        list_timeout: float | None = None,
        idle_timeout: float = 60.0,
        long_idle_timeout: float = 900.0,
        memory: Memory | None = None,
        name: str = "listo",
    ) -> None:
        """With a `list_timeout`, two in five connections are for `lists`, and a few further
        connections are for `long`."""
        of_sessions = ENDS | {
            "application_name": name,
            "statement_timeout": str(int(statement_timeout * 1000)),
            "idle_in_transaction_session_timeout": str(int(idle_timeout * 1000)),
            "timezone": "UTC",
            # Compiling costs more than our short statements take.
            "jit": "off",
        }
        for_lists = 0 if list_timeout is None else max(1, pool_size * 2 // 5)
        budget = Budget(
            memory or Memory(), pool_size + PLACES, lambda: self.notifications.listeners
        )
        super().__init__(url, of_sessions, Gate(max(1, pool_size - for_lists)), budget)
        self.lists: Pooled = self
        self.long = LongPool(url, of_sessions, budget, long_idle_timeout)
        if list_timeout is not None:
            self.lists = ListPool(url, of_sessions, for_lists, list_timeout, budget)
        self.notifications = Notifications(self.connect)
        self.gatherings = Gatherings(lambda: self._gate.has_place(caller_now()))
        self.invalidating: Invalidating = self._drop_what_is_cached
        self._epoch_began = float("-inf")

    async def _drop_what_is_cached(self, session: Session, groups: Mapping[str, bool]) -> None:
        """Invalidate in a process without a cache: entries of all groups are dropped."""
        if any(groups.values()):
            # After the commit, others write without a mark: by then all processes must be quiet.
            if time.monotonic() > self._epoch_began + COVERED_SECONDS:
                self._epoch_began = time.monotonic()
                async with self.connection() as apart:
                    await self.notifications.begin_epoch(apart)
            await self.notifications.epoch_is_known(session)
        else:
            await self.notifications.begin_epoch(session)

    def add_query_logger(self, callback: Callable[[Any], None]) -> None:
        """Have `callback` see every statement of connections opened from now on."""
        for pool in (self, *self._apart):
            pool.query_loggers.append(callback)

    @property
    def _apart(self) -> list[Pooled]:
        return [pool for pool in (self.lists, self.long) if pool is not self]

    async def open(self, *, at_once: int = 1) -> None:
        """Connect. Raises DatabaseUnavailable."""
        await super().open(at_once=at_once)
        for pool in self._apart:
            await pool.open(at_once=0)
        read_from(POOL_MAX, lambda: self.load()[0])
        read_from(POOL_SIZE, lambda: self.load()[1])
        read_from(POOL_IN_USE, lambda: self.load()[2])

    async def close(self) -> None:
        for pool in self._apart:
            await pool.close()
        await super().close()

    def load(self) -> tuple[int, int, int]:
        own = super().load()
        if self.lists is self:
            return own
        most, size, in_use = (a + b for a, b in zip(own, self.lists.load(), strict=True))
        return most, size, in_use

    def strain(self) -> float:
        """The longest wait for a connection, in seconds, see `Gate.strain`; waits of lists do not
        count. Questions that have waited too long for a joint statement are refused."""
        self.gatherings.refuse_late()
        return self._gate.strain()

    def transaction(self) -> AbstractAsyncContextManager[Transaction]:
        """A session in one transaction: committed when the block ends, rolled back if it raises."""
        return self.transaction_on(self._acquire())

    @asynccontextmanager
    async def transaction_on(self, pending: Pending) -> AsyncIterator[Transaction]:
        """As `transaction`, on the connection that `pending` gets and gives back."""
        with translated:
            connection = await pending.acquire()
        try:
            transaction = Transaction(
                connection, self.notifications, self.invalidating, self.budget
            )
            with translated:
                bounds = connection.transaction()
                await bounds.start()
            # Not translated: a time-out or an OSError in here is the block's own.
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
                await pending.release()
            finally:
                # At once, without waiting for this process' own message: the client relies on the
                # response. A commit that was cancelled, or whose answer got lost, may be done.
                for topic, payload in transaction.notified:
                    self.notifications.dispatch(topic, payload)
            if transaction.unsettled and not isinstance(sys.exception(), asyncio.CancelledError):
                await self.settle()
        for work in transaction.afterwards:
            work()
        try:
            await transaction.acknowledge()
        except Exception as error:
            if not isinstance(error, Problem):
                logger.exception("after a commit")
            # The commit is done, so no caller may take this for a refusal.
            raise DatabaseUnavailable from error

    @asynccontextmanager
    async def stepwise(self) -> AsyncIterator[Stepwise]:
        """A place of `long` for work in several steps, until the block ends."""
        async with self.long.kept() as connection:
            yield Stepwise(self, connection)

    def atomic(self) -> AbstractAsyncContextManager[Transaction]:
        return self.transaction()

    @asynccontextmanager
    async def connection(self, **settings: str) -> AsyncIterator[asyncpg.Connection[Record]]:
        """A connection outside the pool; its session's locks and settings end with it."""
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
                self._url, server_settings={**self._settings, **settings}, timeout=CONNECT_TIMEOUT
            )

    async def notify(self, topic: str, payload: str) -> None:
        await self.notifications.send(self, [(topic, payload)])
        self.notifications.dispatch(topic, payload)

    async def settle(self) -> None:
        await self.notifications.epoch_is_known(self)

    @staticmethod
    def after_commit(work: Callable[[], object]) -> None:
        """Do `work` at once: what was done before has been committed."""
        work()
