"""The bytes of PostgreSQL's memory that concurrent statements may take, and their order."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

import pytest

from app.core.errors import Overloaded
from app.db.pool.budget import Budget, Memory

MB = 1_000_000


def budget(processes: int = 1) -> Budget:
    """3/8 of 160 MB: 20 MB for the shares of ten connections, 40 MB for larger statements."""
    return Budget(Memory(160 * MB), 10, lambda: processes)


def test_a_budget_is_divided_among_the_processes() -> None:
    assert (budget().share, budget().most) == (2 * MB, 40 * MB)
    assert (budget(4).share, budget(4).most) == (MB // 2, 10 * MB)


def test_first_come_first_served() -> None:
    asyncio.run(first_come_first_served())


async def first_come_first_served() -> None:
    room, order = budget(), []
    ends = {name: asyncio.Event() for name in "abcd"}

    async def work(name: str, need: int) -> None:
        async with room.take(need):
            order.append(name)
            await ends[name].wait()

    tasks = []
    for name, need in (("a", 30 * MB), ("b", 20 * MB), ("c", 5 * MB), ("d", MB)):
        tasks.append(asyncio.create_task(work(name, need)))
        await asyncio.sleep(0)
    await asyncio.sleep(0)
    # There would be room for c, but b came earlier; d fits in the share of its connection.
    assert order == ["a", "d"]
    ends["a"].set()
    await tasks[0]
    for _ in range(3):
        await asyncio.sleep(0)
    assert order == ["a", "d", "b", "c"]
    for end in ends.values():
        end.set()
    await asyncio.gather(*tasks)


def test_a_statement_larger_than_the_budget_runs_alone() -> None:
    asyncio.run(larger_than_the_budget())


async def larger_than_the_budget() -> None:
    room = budget()
    async with room.take(41 * MB) as alone:
        assert alone
        async with room.take(41 * MB) as within:
            assert within
        waiting = asyncio.create_task(_entered(room, 3 * MB))
        await asyncio.sleep(0)
        assert not waiting.done()
    assert await waiting == [False]


def test_a_task_that_gives_up_or_waits_too_long_leaves_nothing_behind(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asyncio.run(gives_up_or_waits_too_long(monkeypatch))


async def gives_up_or_waits_too_long(monkeypatch: pytest.MonkeyPatch) -> None:
    room = budget()
    async with room.take(40 * MB):
        gone = asyncio.create_task(_entered(room, 40 * MB))
        next_ = asyncio.create_task(_entered(room, 40 * MB))
        await asyncio.sleep(0)
        gone.cancel()
        with pytest.raises(asyncio.CancelledError):
            await gone
        monkeypatch.setattr("app.overload.room._WAIT_SECONDS", 0)
        with pytest.raises(Overloaded):
            await asyncio.create_task(_entered(room, 3 * MB))
    assert await next_ == [False]
    async with AsyncExitStack() as stack:
        assert await stack.enter_async_context(room.take(40 * MB)) is False


async def _entered(room: Budget, need: int) -> list[bool]:
    async with room.take(need) as alone:
        return [alone]
