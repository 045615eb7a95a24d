"""Waiting for a connection while all of the pool's are in use: in turn, and fair to all callers."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict, deque
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from app.core import context
from app.core.errors import Overloaded
from app.observability.metrics import DATABASE_FAULTS

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

    import asyncpg

ACQUIRE_TIMEOUT = 5.0

_Waiter = asyncio.Future[None]


class Gate:
    """A number of places. A place that is left is handed on, so that late comers pass nobody.

    The next place is for the caller that holds the fewest, among equals for the caller that has
    waited longest; a caller's requests keep their order. `most` tells how many a caller may hold.
    asyncpg's own pool lets late comers pass: a waiter that was woken in vain goes to the end again.
    """

    def __init__(
        self,
        places: int,
        most: Callable[[Hashable], int] | None = None,
        fault: str = "pool_timeout",
    ) -> None:
        self.places = places
        self._most = most or (lambda _: places)
        self._fault = fault
        self._free = places
        self._held: dict[Hashable, int] = {}
        self._waiting: dict[Hashable, deque[_Waiter]] = {}
        # Waiting callers that may have a place, by how many they hold.
        self._next: list[OrderedDict[Hashable, None]] = [OrderedDict() for _ in range(places)]
        # The index in `_next` of each of these callers.
        self._rank: dict[Hashable, int] = {}
        self._since: dict[_Waiter, tuple[float, Hashable]] = {}
        self._left = time.monotonic()

    def has_place(self, caller: Hashable) -> bool:
        """Whether `take` would give the caller a place."""
        # While there are free places, only callers wait that may not have more.
        return bool(self._free) and self._held.get(caller, 0) < self._most(caller)

    def holds(self, caller: Hashable) -> bool:
        """Whether the caller has a place."""
        return caller in self._held

    def take(self, caller: Hashable) -> bool:
        """Take a place if there is one; returns whether. A taken place has to be left."""
        if not self.has_place(caller):
            return False
        self._free -= 1
        self._held[caller] = self._held.get(caller, 0) + 1
        return True

    async def wait(self, caller: Hashable) -> None:
        """Wait for a place that `take` did not give. Raises Overloaded."""
        loop = asyncio.get_running_loop()
        waiter: _Waiter = loop.create_future()
        self._waiting.setdefault(caller, deque()).append(waiter)
        self._line_up(caller)
        self._since[waiter] = time.monotonic(), caller
        timer = loop.call_later(ACQUIRE_TIMEOUT, _expire, waiter)
        try:
            await waiter
        except TimeoutError as error:
            DATABASE_FAULTS.labels(self._fault).inc()
            raise Overloaded("No database connection became free in time.") from error
        except asyncio.CancelledError:
            if waiter.done() and not waiter.cancelled() and waiter.exception() is None:
                # The waiter got its place just before.
                self.leave(caller)
            raise
        finally:
            timer.cancel()
            del self._since[waiter]

    def leave(self, caller: Hashable) -> None:
        """Give a place back, and hand it to the next waiting caller."""
        held = self._held.pop(caller) - 1
        if held:
            self._held[caller] = held
        self._free += 1
        self._left = time.monotonic()
        if self._waiting:
            self._line_up(caller)
            self._hand_on()

    def strain(self) -> float:
        """The longest wait, in seconds, of a caller with less than half of the places; of other
        callers, only as long as no place was given back."""
        now = time.monotonic()
        longest = 0.0
        for since, caller in self._since.values():
            waited = now - since
            if self._held.get(caller, 0) * 2 < self.places:
                return max(longest, waited)
            longest = max(longest, min(waited, now - self._left))
        return longest

    def _line_up(self, caller: Hashable) -> None:
        """Have the caller wait among those that hold as many, if it may have more."""
        rank = self._rank.pop(caller, None)
        held = self._held.get(caller, 0)
        if caller in self._waiting and held < min(self.places, self._most(caller)):
            self._rank[caller] = held
            if rank == held:
                return
            self._next[held][caller] = None
        if rank is not None:
            del self._next[rank][caller]

    def _hand_on(self) -> None:
        while self._free:
            line = next((line for line in self._next if line), None)
            if line is None:
                return
            caller, _ = line.popitem(last=False)
            del self._rank[caller]
            waiters = self._waiting[caller]
            waiter = waiters.popleft()
            if not waiters:
                del self._waiting[caller]
            if not waiter.done():
                self._free -= 1
                self._held[caller] = self._held.get(caller, 0) + 1
                waiter.set_result(None)
            self._line_up(caller)


def _expire(waiter: _Waiter) -> None:
    if not waiter.done():
        waiter.set_exception(TimeoutError())


# The gate's caller for statements that belong to no request.
waits_as: ContextVar[Hashable] = ContextVar("waits_as", default=None)


def caller_now() -> Hashable:
    """The caller whose places a statement of this task counts for."""
    request = context.current()
    return waits_as.get() if request is None else request.pool_key


class PendingAcquire:
    """A connection of the pool, once it is the caller's turn: in `async with`, or by `acquire`."""

    __slots__ = ("_connection", "_gate", "_pool", "caller")

    def __init__(self, pool: asyncpg.Pool[Any], gate: Gate) -> None:
        self._pool = pool
        self._gate = gate
        self.caller = caller_now()
        self._connection: Any = None

    async def acquire(self) -> Any:
        """Raises Overloaded."""
        gate = self._gate
        if not gate.take(self.caller):
            await gate.wait(self.caller)
        try:
            self._connection = await self._pool.acquire()
        except BaseException:
            gate.leave(self.caller)
            raise
        return self._connection

    async def release(self) -> None:
        try:
            await self._pool.release(self._connection)
        finally:
            self._gate.leave(self.caller)

    __aenter__ = acquire

    async def __aexit__(self, *_: object) -> None:
        await self.release()
