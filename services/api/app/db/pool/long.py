"""A few connections for work that takes minutes, so that it keeps no other statement waiting."""

from __future__ import annotations

from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING

import asyncpg

from app.core import context
from app.core.errors import Problem
from app.db.errors import translated
from app.db.pool.gate import Gate, PendingAcquire
from app.db.pool.pooled import Pooled

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Hashable, Mapping

    from asyncpg import Record

    from app.db.pool.budget import Budget

# The connections of a process, of which a caller may have one.
PLACES = 2
# The application_name of their sessions in pg_stat_activity.
NAME = "listo-long"
_ANONYMOUS = "anonymous"
_SETTINGS = {
    "application_name": NAME,
    "statement_timeout": "600000",
    "lock_timeout": "10000",
    "transaction_timeout": "3900000",
}


class LongPool(Pooled):
    """PLACES connections, opened when they are needed. All anonymous callers are one."""

    def __init__(
        self, url: str, settings: Mapping[str, str], budget: Budget, idle_timeout: float
    ) -> None:
        """The answer to a client that takes too little ends before `idle_timeout`, in seconds."""
        gate = Gate(PLACES, lambda _: 1, "long_waited")
        idle = {"idle_in_transaction_session_timeout": str(int(idle_timeout * 1000))}
        super().__init__(url, {**settings, **_SETTINGS, **idle}, gate, budget)

    def has_place(self) -> bool:
        """Whether the caller would get a connection without waiting."""
        return self._gate.has_place(_caller())

    def is_taken_by_caller(self) -> bool:
        """Whether the caller has its place."""
        return self._gate.holds(_caller())

    @asynccontextmanager
    async def kept(self) -> AsyncIterator[asyncpg.Connection[Record]]:
        """A connection until the block ends; its temporary tables and locks end with it."""
        pending = self._acquire()
        with translated:
            connection: asyncpg.Connection[Record] = await pending.acquire()
        try:
            yield connection
        finally:
            clean = False
            try:
                # A connection that is gone has neither.
                with suppress(Problem), translated:
                    await connection.execute("SELECT pg_advisory_unlock_all(); DISCARD TEMP")
                    clean = True
            finally:
                if not clean:
                    with suppress(asyncpg.InterfaceError):
                        connection.terminate()
                await pending.release()

    def _acquire(self) -> PendingAcquire:
        pending = super()._acquire()
        pending.caller = _caller()
        return pending


def _caller() -> Hashable:
    request = context.current()
    return _ANONYMOUS if request is None else request.actor.id or _ANONYMOUS
