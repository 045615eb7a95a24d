"""One statement for all that was asked while the last ones ran.

A row more in a statement costs a small part of what a statement costs the process and PostgreSQL.
So a request asks alone while little is in work, and together with others as soon as they would
have to wait anyway.
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

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

Asked = TypeVar("Asked")
Answer = TypeVar("Answer")

# Statements in work at once; with more of them each has fewer rows.
AT_ONCE = 2
MOST_ROWS = 64
# Faults that are no row's own, so that asking one by one would meet them again.
_SHARED = (DatabaseUnavailable, Overloaded)


class _Waiting(Generic[Asked, Answer]):
    __slots__ = ("answer", "asked", "since", "weight")

    def __init__(self, asked: Asked, weight: int) -> None:
        self.asked = asked
        self.weight = weight
        self.since = time.monotonic()
        # None where the joint statement failed, so that the row is asked for alone.
        self.answer: asyncio.Future[tuple[Answer] | None]
        self.answer = asyncio.get_running_loop().create_future()


class Gathering(Generic[Asked, Answer]):
    """Answers each question by `alone`, or many by `together`: their answers in the same order.

    A joint statement has at most MOST_ROWS rows, and rows of `most_weight()` in all.
    """

    def __init__(
        self,
        alone: Callable[[Asked], Awaitable[Answer]],
        together: Callable[[Sequence[Asked]], Awaitable[Sequence[Answer]]],
        most_weight: Callable[[], int],
    ) -> None:
        self._alone = alone
        self._together = together
        self._most_weight = most_weight
        self._waiting: deque[_Waiting[Asked, Answer]] = deque()
        self._running = 0

    async def ask(self, asked: Asked, weight: int) -> Answer:
        """The answer. A caller that is cancelled ends nothing but its own wait."""
        if self._running >= AT_ONCE:
            waiting: _Waiting[Asked, Answer] = _Waiting(asked, weight)
            self._waiting.append(waiting)
            self._go_on()
            answer = await waiting.answer
            return await self._alone(asked) if answer is None else answer[0]
        self._running += 1
        try:
            return await self._alone(asked)
        finally:
            self._running -= 1
            self._go_on()

    def waited(self) -> float:
        """For how many seconds the first of the waiting has waited."""
        return time.monotonic() - self._waiting[0].since if self._waiting else 0.0

    def _go_on(self) -> None:
        # Without statements alone, which AT_ONCE = 0 means, joint ones go on one by one.
        if self._waiting and self._running < max(1, AT_ONCE):
            self._running += 1
            # Not in the context of a request, which the statement outlives.
            asyncio.get_running_loop().create_task(self._answer_waiting(), context=Context())

    async def _answer_waiting(self) -> None:
        try:
            while batch := self._next():
                await self._answer(batch)
        finally:
            self._running -= 1
            self._go_on()

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
        try:
            answers = await self._together([each.asked for each in batch])
        except _SHARED as error:
            for each in batch:
                if not each.answer.done():
                    each.answer.set_exception(copy.copy(error))
        except Exception:  # noqa: BLE001 - each asks alone, and the one at fault meets it
            _tell(batch, [None] * len(batch))
        else:
            _tell(batch, [(answer,) for answer in answers])


def _tell(batch: list[_Waiting[Asked, Answer]], answers: Sequence[tuple[Answer] | None]) -> None:
    for each, answer in zip(batch, answers, strict=True):
        if not each.answer.done():
            each.answer.set_result(answer)


class Gatherings:
    """The gatherings of a database, each kept as long as what it is for."""

    def __init__(self) -> None:
        self._known: WeakKeyDictionary[object, tuple[Gathering[Any, Any], ...]] = (
            WeakKeyDictionary()
        )

    def get(
        self, of: object, make: Callable[[], tuple[Gathering[Any, Any], ...]]
    ) -> tuple[Gathering[Any, Any], ...]:
        known = self._known.get(of)
        if known is None:
            known = self._known[of] = make()
        return known

    def waited(self) -> float:
        """For how many seconds the longest of all waits."""
        return max(
            (each.waited() for gatherings in self._known.values() for each in gatherings),
            default=0.0,
        )
