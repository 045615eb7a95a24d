"""How many bytes of PostgreSQL's memory this process' statements may take at the same time.

A statement on a large record takes a multiple of the record's size, and PostgreSQL itself sets no
bound: when PostgreSQL takes too much, the kernel kills it for all clients. Each connection has a
share that is not counted. Larger statements wait, first come, first served, for room in the rest; a
statement that is larger than the rest runs as the only such statement of all processes.
"""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, asynccontextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from app.core.errors import Overloaded
from app.observability.metrics import DATABASE_FAULTS
from app.overload.room import Room

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from contextlib import AbstractAsyncContextManager

    from app.db.session import Session

# The part for statements; the rest is for shared buffers, idle connections, vacuum and file cache.
_OF_MEMORY = 3 / 8
# The part of `_OF_MEMORY` for the shares of connections.
_FOR_SHARES = 1 / 3
# Held by a statement that takes more than its process may: only one runs at a time.
ALONE_LOCK = 0x6C61726765

# Bytes that a task has taken, for all its statements; tasks that it starts have taken none.
_held: ContextVar[tuple[asyncio.Task[Any] | None, int]] = ContextVar("held", default=(None, 0))


@dataclass(frozen=True)
class Memory:
    """In bytes: PostgreSQL's memory for all processes together, and the largest own fields."""

    postgres: int = 768_000_000
    record: int = 1 << 20


class Budget:
    """The share of a process with `connections`; `processes` returns how many processes share."""

    def __init__(self, memory: Memory, connections: int, processes: Callable[[], int]) -> None:
        self.largest_record = memory.record
        self._memory = memory.postgres * _OF_MEMORY
        self._connections = connections
        self._processes = processes
        self._room = Room(lambda: self.most)

    @property
    def share(self) -> int:
        """Bytes that a statement may take without waiting for room."""
        return int(self._of_process * _FOR_SHARES / self._connections)

    @property
    def most(self) -> int:
        """Bytes that all larger statements may take in total."""
        return int(self._of_process * (1 - _FOR_SHARES))

    @property
    def _of_process(self) -> float:
        return self._memory / max(1, self._processes())

    @asynccontextmanager
    async def take(self, need: int) -> AsyncIterator[bool]:
        """Wait for room for `need` bytes; yields whether that is more than `most`.

        Raises Overloaded after ten seconds.
        """
        most, task = self.most, asyncio.current_task()
        holder, held = _held.get()
        if need <= self.share or (holder is task and need <= held):
            yield need > most
            return
        async with AsyncExitStack() as stack:
            try:
                await stack.enter_async_context(self._room.take(need))
            except TimeoutError as error:
                DATABASE_FAULTS.labels("memory_timeout").inc()
                raise Overloaded("Too many large records are in work; try again.") from error
            before = _held.set((task, need))
            try:
                yield need > most
            finally:
                _held.reset(before)


class _Direct:
    """Only hands out the session: most statements need no more."""

    def __init__(self, session: Session) -> None:
        self._session = session

    async def __aenter__(self) -> Session:
        return self._session

    async def __aexit__(self, *_: object) -> None:
        return None


def room(session: Session, need: int) -> AbstractAsyncContextManager[Session]:
    """The session for a statement that takes `need` bytes of PostgreSQL's memory.

    Raises Overloaded if there is no room for too long.
    """
    return _Direct(session) if need <= session.budget.share else _in_turn(session, need)


@asynccontextmanager
async def _in_turn(session: Session, need: int) -> AsyncIterator[Session]:
    async with session.budget.take(need) as alone:
        if not alone:
            yield session
            return
        async with session.atomic() as transaction:
            await transaction.execute("SELECT pg_advisory_xact_lock($1)", ALONE_LOCK)
            yield transaction
