"""How many bytes of PostgreSQL's memory this process' statements may take at once.

A statement on a large record takes a multiple of it, and PostgreSQL has no bound of its own: when
it takes too much, the kernel ends it for everybody. Each connection has a share that nobody counts.
What takes more waits, first come, first served, until there is room in the rest; what takes more
than all of that runs alone, also among all processes.
"""

from __future__ import annotations

import asyncio
from collections import deque
from contextlib import asynccontextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from app.core.errors import Overloaded
from app.core.metrics import DATABASE_FAULTS

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from contextlib import AbstractAsyncContextManager

    from app.db.session import Session

# The rest is for shared buffers, idle connections, vacuum, and the file cache.
_OF_MEMORY = 3 / 8
# Of that, for the shares of connections.
_FOR_SHARES = 1 / 3
_WAIT_SECONDS = 10.0
# Held by the one statement that takes more than a process may.
ALONE_LOCK = 0x6C61726765

# What a task has taken already, for what it does within; those that it starts have taken nothing.
_held: ContextVar[tuple[asyncio.Task[Any] | None, int]] = ContextVar("held", default=(None, 0))


@dataclass(frozen=True)
class Memory:
    """Bytes: what PostgreSQL may use, for all processes together, and of a record's own fields."""

    postgres: int = 768_000_000
    record: int = 1 << 20


class Budget:
    """Of a process with so many connections; `processes` tells among how many the memory is."""

    def __init__(self, memory: Memory, connections: int, processes: Callable[[], int]) -> None:
        self.largest_record = memory.record
        self._memory = memory.postgres * _OF_MEMORY
        self._connections = connections
        self._processes = processes
        self._taken = 0
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()

    @property
    def share(self) -> int:
        """Bytes that a statement may take without asking."""
        return int(self._of_process * _FOR_SHARES / self._connections)

    @property
    def most(self) -> int:
        """Bytes that all others may take together."""
        return int(self._of_process * (1 - _FOR_SHARES))

    @property
    def _of_process(self) -> float:
        return self._memory / max(1, self._processes())

    @asynccontextmanager
    async def take(self, need: int) -> AsyncIterator[bool]:
        """Wait for room for `need` bytes; yields whether that is more than there can be.

        Raises Overloaded after ten seconds.
        """
        most, task = self.most, asyncio.current_task()
        holder, held = _held.get()
        if need <= self.share or (holder is task and need <= held):
            yield need > most
            return
        bytes_ = min(need, most)
        await self._enter(bytes_)
        before = _held.set((task, need))
        try:
            yield need > most
        finally:
            _held.reset(before)
            self._taken -= bytes_
            self._admit()

    async def _enter(self, bytes_: int) -> None:
        if not self._waiting and self._has_room(bytes_):
            self._taken += bytes_
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((bytes_, turn))
        try:
            async with asyncio.timeout(_WAIT_SECONDS):
                await turn
        except BaseException as error:
            if turn.done() and not turn.cancelled():
                self._taken -= bytes_
            elif (bytes_, turn) in self._waiting:
                self._waiting.remove((bytes_, turn))
            self._admit()
            if isinstance(error, TimeoutError):
                DATABASE_FAULTS.labels("memory_timeout").inc()
                raise Overloaded("Too many large records are in work; try again.") from error
            raise

    def _admit(self) -> None:
        while self._waiting and self._has_room(self._waiting[0][0]):
            bytes_, turn = self._waiting.popleft()
            if not turn.done():
                self._taken += bytes_
                turn.set_result(None)

    def _has_room(self, bytes_: int) -> bool:
        # Fewer processes a moment later, or more: one always gets on.
        return self._taken == 0 or self._taken + bytes_ <= self.most


class _Direct:
    """What most statements need, for as little as it is."""

    def __init__(self, session: Session) -> None:
        self._session = session

    async def __aenter__(self) -> Session:
        return self._session

    async def __aexit__(self, *_: object) -> None:
        return None


def room(session: Session, need: int) -> AbstractAsyncContextManager[Session]:
    """The session for a statement that takes `need` bytes of PostgreSQL's memory.

    Raises Overloaded where there is no room for too long.
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
