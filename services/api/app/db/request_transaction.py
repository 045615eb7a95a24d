"""All that one request does to the database, as one transaction."""

from __future__ import annotations

from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any

from app.core.errors import Problem

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

    from asyncpg import Record

    from app.db.database import Database, Transaction
    from app.db.pool.budget import Budget
    from app.db.session import Cursor, Session


class _Undone(Exception):
    """Ends a transaction without committing it."""


class RequestTransaction:
    """Stands in for a Database; statements that would commit by themselves wait for `finish`.

    The transaction begins with the first statement, so that no connection is held earlier, and
    `first` runs before that statement. Once it has ended, statements go to the Database itself.
    """

    def __init__(self, database: Database, first: Callable[[Session], Awaitable[None]]) -> None:
        self._database = database
        self._first = first
        self._bounds: AsyncExitStack | None = None
        self._session: Transaction | None = None
        self._refused: Exception | None = None
        self._ended = False

    gatherings = None

    @property
    def budget(self) -> Budget:
        return self._database.budget

    async def begun(self) -> Session:
        """The session in the transaction. Raises what `first` raises."""
        return self._database if self._ended else await self._begin()

    async def finish(self, last: Callable[[Session], Awaitable[None]]) -> None:
        """Run `last` and commit; an exception undoes everything, as in Database."""
        try:
            await last(await self.begun())
        except BaseException:
            await self.undo()
            raise
        bounds, self._bounds, self._ended = self._bounds, None, True
        if bounds is not None:
            await bounds.aclose()

    async def undo(self) -> None:
        """Undo everything, unless `finish` has committed."""
        self._ended = True
        await self._leave()

    async def fetch(self, query: str, *args: Any) -> Sequence[Record]:
        return await (await self.begun()).fetch(query, *args)

    async def fetchrow(self, query: str, *args: Any) -> Record | None:
        return await (await self.begun()).fetchrow(query, *args)

    async def fetchval(self, query: str, *args: Any) -> Any:
        return await (await self.begun()).fetchval(query, *args)

    @asynccontextmanager
    async def open_cursor(self, query: str, *args: Any, lock: int | None) -> AsyncIterator[Cursor]:
        async with (await self.begun()).open_cursor(query, *args, lock=lock) as cursor:
            yield cursor

    async def execute(self, query: str, *args: Any) -> str:
        return await (await self.begun()).execute(query, *args)

    async def notify(self, topic: str, payload: str) -> None:
        await (await self.begun()).notify(topic, payload)

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Session]:
        """A savepoint: if the block raises, only its work is undone; `finish` commits the rest."""
        if self._ended:
            async with self._database.transaction() as session:
                yield session
            return
        async with (await self._begin()).nested() as session:
            yield session

    @asynccontextmanager
    async def atomic(self) -> AsyncIterator[Transaction]:
        if self._ended:
            async with self._database.transaction() as session:
                yield session
        else:
            yield await self._begin()

    async def settle(self) -> None:
        within = None if self._ended else self._session
        await (within or self._database).settle()

    def after_commit(self, work: Callable[[], object]) -> None:
        within = None if self._ended else self._session
        (within or self._database).after_commit(work)

    async def _begin(self) -> Transaction:
        if self._refused is not None:
            raise self._refused
        if self._session is None:
            bounds = AsyncExitStack()
            session = await bounds.enter_async_context(self._database.transaction())
            self._bounds = bounds
            try:
                await self._first(session)
            except Exception as refused:
                self._refused = refused
                await self._leave()
                raise
            self._session = session
        return self._session

    async def _leave(self) -> None:
        bounds, self._bounds = self._bounds, None
        if bounds is not None:
            # A lost connection has undone everything as well.
            with suppress(_Undone, Problem):
                async with bounds:
                    raise _Undone
