"""Statements that requests share: which rows go together, and whose error is whose."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest

from app.core.errors import DatabaseUnavailable, Overloaded, RequestTimeout
from app.db.pool import gathering
from app.db.pool.gate import Gate, PendingAcquire, caller_now
from app.db.pool.gathering import Gathering, Gatherings

if TYPE_CHECKING:
    from collections.abc import Sequence

MOST_WEIGHT = 100


class Fault(Exception):
    """The error of a row."""


class Rows:
    """A statement that doubles numbers, fails for 13, and ends when the test allows."""

    def __init__(self) -> None:
        self.statements: list[list[int]] = []
        self.error: Exception | None = None
        self.go_on = asyncio.Event()
        self.has_place = True
        self.gathering = Gathering(
            self.alone,
            self.together,
            has_place=lambda: self.has_place,
            most_weight=lambda: MOST_WEIGHT,
        )

    async def alone(self, number: int) -> int:
        return (await self.together([number]))[0]

    async def together(self, numbers: Sequence[int]) -> list[int]:
        self.statements.append(list(numbers))
        await self.go_on.wait()
        if self.error is not None:
            raise self.error
        if 13 in numbers:
            raise Fault
        return [2 * number for number in numbers]

    def ask(self, *numbers: int, weight: int = 1) -> list[asyncio.Task[int]]:
        return [asyncio.ensure_future(self.gathering.ask(number, weight)) for number in numbers]


async def settle() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


def test_alone_while_little_is_in_work_and_together_as_soon_as_it_is_more() -> None:
    async def work() -> None:
        rows = Rows()
        asked = rows.ask(1, 2, 3, 4, 5)
        await settle()
        assert rows.statements == [[1]]
        rows.go_on.set()
        assert await asyncio.gather(*asked) == [2, 4, 6, 8, 10]
        assert rows.statements == [[1], [2, 3, 4, 5]]
        assert await asyncio.gather(*rows.ask(6)) == [12]
        assert rows.statements[2:] == [[6]]

    asyncio.run(work())


def test_a_request_without_a_connection_in_sight_takes_no_place_alone() -> None:
    async def work() -> None:
        rows = Rows()
        rows.has_place = False
        asked = rows.ask(1, 2, 3)
        await settle()
        assert rows.statements == [[1, 2, 3]]
        rows.go_on.set()
        assert await asyncio.gather(*asked) == [2, 4, 6]

    asyncio.run(work())


def test_a_caller_that_fills_the_gate_holds_up_no_joint_statement() -> None:
    class Pool:
        async def acquire(self) -> object:
            return object()

        async def release(self, _: object) -> None:
            return None

    async def work() -> None:
        gate, begun = Gate(2), list[list[int]]()

        async def together(numbers: Sequence[int]) -> list[int]:
            async with PendingAcquire(Pool(), gate):
                begun.append(list(numbers))
                return list(numbers)

        gathering = Gathering(
            lambda number: together([number]),
            together,
            has_place=lambda: gate.has_place(caller_now()),
            most_weight=lambda: MOST_WEIGHT,
        )
        assert gate.take("greedy")
        assert gate.take("greedy")
        flood = [asyncio.ensure_future(gate.wait("greedy")) for _ in range(5)]
        asked = [asyncio.ensure_future(gathering.ask(number, 1)) for number in (1, 2)]
        await settle()
        assert begun == []
        gate.leave("greedy")
        await settle()
        assert begun == [[1, 2]]
        assert [each.result() for each in asked] == [1, 2]
        assert [each.done() for each in flood] == [True, False, False, False, False]
        for each in flood:
            each.cancel()

    asyncio.run(work())


@pytest.mark.parametrize(
    ("weight", "sizes"), [(1, [64, 36]), (30, [3] * 33 + [1]), (1000, [1] * 100)]
)
def test_joint_statements_are_bounded(
    monkeypatch: pytest.MonkeyPatch, weight: int, sizes: list[int]
) -> None:
    monkeypatch.setattr(Gathering, "_may_go_alone", lambda _: False)

    async def work() -> None:
        rows = Rows()
        rows.go_on.set()
        asked = rows.ask(*range(100, 200), weight=weight)
        assert await asyncio.gather(*asked) == [2 * number for number in range(100, 200)]
        assert [len(each) for each in rows.statements] == sizes

    asyncio.run(work())


def test_a_cancelled_request_ends_its_own_wait_alone() -> None:
    async def work() -> None:
        rows = Rows()
        asked = rows.ask(1, 2, 3, 4, 5)
        await settle()
        asked[0].cancel()
        asked[3].cancel()
        await settle()
        # The next statement begins immediately.
        assert rows.statements == [[1], [2, 3, 5]]
        late = rows.ask(6)
        await settle()
        asked[2].cancel()
        rows.go_on.set()
        done = await asyncio.gather(*asked, *late, return_exceptions=True)
        assert [each for each in done if isinstance(each, int)] == [4, 10, 12]
        assert sum(isinstance(each, asyncio.CancelledError) for each in done) == 3

    asyncio.run(work())


def test_the_fault_of_a_row_is_met_by_its_request_alone() -> None:
    async def work() -> None:
        rows = Rows()
        asked = rows.ask(1, 2, 12, 13, 14)
        await settle()
        rows.go_on.set()
        done = await asyncio.gather(*asked, return_exceptions=True)
        assert done[:3] == [2, 4, 24]
        assert isinstance(done[3], Fault)
        assert done[4] == 28
        # In halves, until the one at fault is alone.
        assert rows.statements == [[1], [2, 12, 13, 14], [2, 12], [13, 14], [13], [14]]
        assert await asyncio.gather(*rows.ask(7, 8, 9)) == [14, 16, 18]

    asyncio.run(work())


def test_an_outage_is_not_asked_about_row_by_row(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Gathering, "_may_go_alone", lambda _: False)

    async def work() -> None:
        rows = Rows()
        rows.error = DatabaseUnavailable()
        rows.go_on.set()
        done = await asyncio.gather(*rows.ask(1, 2, 3), return_exceptions=True)
        assert [type(each) for each in done] == [DatabaseUnavailable] * 3
        assert len({id(each) for each in done}) == 3
        assert rows.statements == [[1, 2, 3]]
        # A statement that took too long may have been slow because of a single row.
        rows.error = RequestTimeout()
        with suppress(RequestTimeout):
            await asyncio.gather(*rows.ask(4, 5))
        assert rows.statements[1:] == [[4, 5], [4], [5]]

    asyncio.run(work())


def test_no_statement_begins_for_requests_that_have_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Gathering, "_may_go_alone", lambda _: False)

    async def work() -> None:
        rows = Rows()
        rows.error = RequestTimeout()
        asked = rows.ask(1, 2, 3, 4)
        await settle()
        assert rows.statements == [[1, 2, 3, 4]]
        for each in asked:
            each.cancel()
        rows.go_on.set()
        await settle()
        assert rows.statements == [[1, 2, 3, 4]]
        rows.error = None
        assert await asyncio.gather(*rows.ask(5)) == [10]

    asyncio.run(work())


def test_a_statement_that_is_stuck_holds_up_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    async def work() -> None:
        rows = Rows()
        stuck = rows.ask(1)
        await settle()
        waiting = rows.ask(2, 3)
        await settle()
        assert rows.statements == [[1]]
        monkeypatch.setattr(gathering, "STUCK_SECONDS", 0.0)
        rows.gathering.refuse_late()
        await settle()
        assert rows.statements == [[1], [2, 3]]
        monkeypatch.undo()
        # The end of the first statement does not end the turn of the second.
        later = rows.ask(4)
        stuck[0].cancel()
        await settle()
        assert rows.statements == [[1], [2, 3]]
        rows.go_on.set()
        assert await asyncio.gather(*waiting, *later) == [4, 6, 8]
        assert rows.statements == [[1], [2, 3], [4]]

    asyncio.run(work())


def test_a_question_that_waits_too_long_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    async def work() -> None:
        rows, known, key = Rows(), Gatherings(lambda: True), Rows()
        assert known.get(key, lambda: (rows.gathering,)) == (rows.gathering,)
        asked = rows.ask(1, 2, 3)
        await settle()
        known.refuse_late()
        await settle()
        assert [each.done() for each in asked] == [False, False, False]
        monkeypatch.setattr(gathering, "ACQUIRE_TIMEOUT", 0.0)
        known.refuse_late()
        await settle()
        assert [each.done() for each in asked] == [False, True, True]
        assert all(isinstance(each.exception(), Overloaded) for each in asked[1:])
        rows.go_on.set()
        assert await asked[0] == 2

    asyncio.run(work())
