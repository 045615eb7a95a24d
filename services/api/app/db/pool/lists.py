"""A separate connection pool for queries composed by clients, so that slow ones do not delay other
statements.

PostgreSQL cancels its statements early. A caller starts with two connections, gains one after each
quick statement, and is cut to a single one after a slow statement. So few of a caller's
simultaneous queries start before their duration is known.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from typing import TYPE_CHECKING, Any

import asyncpg

from app.core import context
from app.core.errors import QueryTooSlow
from app.db.pool.gate import Gate, PendingAcquire
from app.db.pool.pooled import Pooled
from app.observability.metrics import DATABASE_FAULTS

if TYPE_CHECKING:
    from collections.abc import Hashable, Mapping

    from app.db.pool.budget import Budget

QUICK_SECONDS = 0.1
SLOW_SECONDS = 1.0
AT_FIRST = 2
_REMEMBERED = 10_000


class CallerWindows:
    """How many statements each caller may run at the same time; adapts to their durations."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._known: OrderedDict[Hashable, int] = OrderedDict()

    def most_for(self, caller: Hashable) -> int:
        return self._known.get(caller, min(AT_FIRST, self._most))

    def record_duration(self, caller: Hashable, seconds: float) -> None:
        """Adapt the caller's window to a statement that took this many seconds."""
        if seconds > SLOW_SECONDS:
            self._known[caller] = 1
        elif seconds < QUICK_SECONDS:
            self._known[caller] = min(self._most, self.most_for(caller) + 1)
        else:
            return
        self._known.move_to_end(caller)
        if len(self._known) > _REMEMBERED:
            self._known.popitem(last=False)


class ListPool(Pooled):
    """`places` connections, for statements of at most `timeout` seconds. Raises QueryTooSlow."""

    def __init__(
        self,
        url: str,
        settings: Mapping[str, str],
        places: int,
        timeout: float,
        budget: Budget,
    ) -> None:
        # A caller leaves one connection to others, if there are several.
        self._windows = CallerWindows(max(1, places - 1))
        limits = {
            "statement_timeout": str(int(timeout * 1000)),
            # A statement that waits for a lock is not slow, and gets another error.
            "lock_timeout": str(int(timeout * 900)),
        }
        gate = Gate(places, self._windows.most_for, "list_waited")
        super().__init__(url, {**settings, **limits}, gate, budget)

    async def open(self, *, at_once: int = 0) -> None:
        await super().open(at_once=at_once)

    def _acquire(self) -> PendingAcquire:
        return _TimedAcquire(self.pool, self._gate, self._windows)


class _TimedAcquire(PendingAcquire):
    """A connection whose time in use counts for the caller's window and charge."""

    __slots__ = ("_began", "_late", "_request", "_windows")

    def __init__(self, pool: asyncpg.Pool[Any], gate: Gate, windows: CallerWindows) -> None:
        super().__init__(pool, gate)
        self._request = context.current()
        self._windows = windows
        self._began = self._late = 0.0

    async def __aenter__(self) -> Any:
        connection = await self.acquire()
        self._began = time.monotonic()
        asyncio.get_running_loop().call_soon(self._measure_delay)
        return connection

    def _measure_delay(self) -> None:
        self._late = time.monotonic() - self._began

    async def __aexit__(self, *raised: object) -> None:
        # Two turns of the event loop, before the statement is sent and before its answer is read,
        # do not count: a busy process must not charge callers for being busy.
        seconds = max(0.0, time.monotonic() - self._began - 2 * self._late)
        self._windows.record_duration(self.caller, seconds)
        if self._request is not None:
            self._request.query_seconds += seconds
        await self.release()
        if isinstance(raised[1], asyncpg.QueryCanceledError):
            DATABASE_FAULTS.labels("query_too_slow").inc()
            raise QueryTooSlow from raised[1]
