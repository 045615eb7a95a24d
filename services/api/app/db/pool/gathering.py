"""One statement for many questions that would otherwise wait for a connection, or for each other.

A further row in a statement costs a small part of what a statement costs the process and
PostgreSQL. So a request asks alone while no statement is in work, and together with others when it
would have to wait.
"""

from __future__ import annotations

import asyncio
import copy
import time
from collections import deque
from contextvars import Context
from typing import TYPE_CHECKING, Any, Generic, TypeVar
from weakref import WeakKeyDictionary

from app.core.errors import DatabaseUnavailable, Overloaded
from app.db.pool.gate import ACQUIRE_TIMEOUT, waits_as
from app.observability.metrics import DATABASE_FAULTS, JOINT_STATEMENTS

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

Asked = TypeVar("Asked")
Answer = TypeVar("Answer")
Known = TypeVar("Known", bound="tuple[Gathering[Any, Any], ...]")

# A statement that takes longer no longer keeps the next from its turn: the table may be locked, or
# the connection dead.
STUCK_SECONDS = ACQUIRE_TIMEOUT
MOST_ROWS = 64
# Errors that no single row causes, so asking again row by row would only repeat them.
_SHARED = (DatabaseUnavailable, Overloaded)

_ANSWERED, _SPLIT = (JOINT_STATEMENTS.labels(outcome) for outcome in ("answered", "split"))


class _Waiting(Generic[Asked, Answer]):
    __slots__ = ("answer", "asked", "since", "weight")

    def __init__(self, asked: Asked, weight: int) -> None:
        self.asked = asked
        self.weight = weight
        self.since = time.monotonic()
        self.answer: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()


class _Turn:
    """The right to run a statement, and then the next."""

    __slots__ = ("_since",)

    def __init__(self) -> None:
        self.begin()

    def begin(self) -> None:
        self._since = time.monotonic()

    def is_stuck(self) -> bool:
        return time.monotonic() - self._since > STUCK_SECONDS


class Gathering(Generic[Asked, Answer]):
    """Answers each question by `alone`, or many by `together`: their answers in the same order.

    `has_place` tells whether a statement alone would get a connection without waiting. A joint
    statement has at most MOST_ROWS rows, and more than one only up to `most_weight()` in all.
    """

    def __init__(
        self,
        alone: Callable[[Asked], Awaitable[Answer]],
        together: Callable[[Sequence[Asked]], Awaitable[Sequence[Answer]]],
        *,
        has_place: Callable[[], bool],
        most_weight: Callable[[], int],
    ) -> None:
        self._alone = alone
        self._together = together
        self._has_place = has_place
        self._most_weight = most_weight
        self._waiting: deque[_Waiting[Asked, Answer]] = deque()
        # A gathering runs one statement at a time: with two, each would have half of the rows.
        self._turn: _Turn | None = None
        # The event loop itself keeps only weak references.
        self._tasks: set[asyncio.Task[None]] = set()

    async def ask(self, asked: Asked, weight: int) -> Answer:
        """The answer. Cancelling a caller ends that caller's own wait and nothing else.

        Raises Overloaded where no joint statement begins within ACQUIRE_TIMEOUT.
        """
        # There is no await between this check of the gate and the one that the statement makes.
        if not self._may_go_alone():
            waiting: _Waiting[Asked, Answer] = _Waiting(asked, weight)
            self._waiting.append(waiting)
            self._go_on()
            return await waiting.answer
        turn = self._turn = _Turn()
        try:
            return await self._alone(asked)
        finally:
            self._end(turn)

    def _may_go_alone(self) -> bool:
        return not self._waiting and not self._is_busy() and self._has_place()

    def _is_busy(self) -> bool:
        return self._turn is not None and not self._turn.is_stuck()

    def _end(self, turn: _Turn) -> None:
        if self._turn is turn:
            self._turn = None
        self._go_on()

    def refuse_late(self) -> None:
        """Refuse the questions that have waited for ACQUIRE_TIMEOUT."""
        late = time.monotonic() - ACQUIRE_TIMEOUT
        while self._waiting and self._waiting[0].since <= late:
            first = self._waiting.popleft()
            if not first.answer.done():
                DATABASE_FAULTS.labels("pool_timeout").inc()
                first.answer.set_exception(
                    Overloaded("No database connection became free in time.")
                )
        self._go_on()

    def _go_on(self) -> None:
        if self._waiting and not self._is_busy():
            turn = self._turn = _Turn()
            # The statement outlives the request, so it queues at the gate in the gathering's name.
            context = Context()
            context.run(waits_as.set, self)
            task = asyncio.get_running_loop().create_task(
                self._answer_waiting(turn), context=context
            )
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _answer_waiting(self, turn: _Turn) -> None:
        try:
            while self._turn is turn and (batch := self._next()):
                turn.begin()
                await self._answer(batch)
        finally:
            self._end(turn)

    def _next(self) -> list[_Waiting[Asked, Answer]]:
        batch: list[_Waiting[Asked, Answer]] = []
        left = self._most_weight()
        while self._waiting and len(batch) < MOST_ROWS:
            first = self._waiting[0]
            if not first.answer.done():
                if batch and first.weight > left:
                    break
                left -= first.weight
                batch.append(first)
            self._waiting.popleft()
        return batch

    async def _answer(self, batch: list[_Waiting[Asked, Answer]]) -> None:
        # A statement begins only for requests that still wait for it.
        batch = [each for each in batch if not each.answer.done()]
        if not batch:
            return
        try:
            answers = await self._together([each.asked for each in batch])
        except Exception as error:  # noqa: BLE001 - the request whose row causes it gets it
            if len(batch) > 1 and not isinstance(error, _SHARED):
                await self._answer_in_halves(batch)
            else:
                _fail(batch, error)
        else:
            _ANSWERED.inc()
            for each, answer in zip(batch, answers, strict=True):
                if not each.answer.done():
                    each.answer.set_result(answer)

    async def _answer_in_halves(self, batch: list[_Waiting[Asked, Answer]]) -> None:
        _SPLIT.inc()
        middle = len(batch) // 2
        await self._answer(batch[:middle])
        await self._answer(batch[middle:])


def _fail(batch: Sequence[_Waiting[Any, Any]], error: Exception) -> None:
    for each in batch:
        if not each.answer.done():
            # Problems are changed on their way up, so each request has its own.
            each.answer.set_exception(copy.copy(error) if len(batch) > 1 else error)


class Gatherings:
    """The gatherings of a database, each kept as long as its key."""

    def __init__(self, has_place: Callable[[], bool]) -> None:
        self.has_place = has_place
        self._known: WeakKeyDictionary[object, Any] = WeakKeyDictionary()

    def get(self, key: object, make: Callable[[], Known]) -> Known:
        known: Known | None = self._known.get(key)
        if known is None:
            known = self._known[key] = make()
        return known

    def refuse_late(self) -> None:
        """Refuse the questions that have waited for ACQUIRE_TIMEOUT."""
        for gatherings in self._known.values():
            for each in gatherings:
                each.refuse_late()
