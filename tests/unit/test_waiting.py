"""Places of a pool: which caller gets the next one."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from app.core.errors import Overloaded
from app.db.pool.gate import Gate
from app.db.pool.lists import CallerWindows

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine


def run(work: Callable[[], Coroutine[None, None, None]]) -> None:
    asyncio.run(asyncio.wait_for(work(), 30))


class Scene:
    """Callers at a gate, and the order in which they got in."""

    def __init__(self, gate: Gate) -> None:
        self.gate = gate
        self.order: list[str] = []
        self.tasks: list[asyncio.Task[None]] = []

    async def come(self, *callers: str) -> None:
        for caller in callers:
            self.tasks.append(asyncio.create_task(self._come(caller)))
            await asyncio.sleep(0)

    async def leave(self, caller: str) -> None:
        self.gate.leave(caller)
        # The next caller is woken, and notes its place.
        await asyncio.sleep(0)

    async def _come(self, caller: str) -> None:
        if not self.gate.take(caller):
            await self.gate.wait(caller)
        self.order.append(caller)


def test_no_caller_passes_a_waiting_caller() -> None:
    async def work() -> None:
        scene = Scene(Gate(1))
        await scene.come("a", "b", "c")
        scene.gate.leave("a")
        # The place is b's already, although b has not run yet.
        assert not scene.gate.take("d")
        await scene.come("d")
        for left in ("b", "c", "d"):
            await scene.leave(left)
        assert scene.order == ["a", "b", "c", "d"]

    run(work)


def test_the_caller_with_the_fewest_places_is_next() -> None:
    async def work() -> None:
        scene = Scene(Gate(3))
        await scene.come(*["many"] * 9, "one", "other", "one")
        await scene.leave("many")
        assert scene.order[3:] == ["one"]
        await scene.leave("many")
        await scene.leave("many")
        # Each caller has one place now; they take turns from here on.
        assert scene.order[3:] == ["one", "other", "many"]
        await scene.leave("other")
        await scene.leave("many")
        assert scene.order[6:] == ["one", "many"]

    run(work)


def test_a_caller_alone_may_have_all_places() -> None:
    gate = Gate(4)
    assert [gate.take("a") for _ in range(5)] == [True] * 4 + [False]


def test_no_caller_has_more_places_than_its_most() -> None:
    async def work() -> None:
        most = {"slow": 1}
        scene = Scene(Gate(3, lambda caller: most.get(str(caller), 3)))
        await scene.come("slow", "slow", "slow", "quick")
        assert scene.order == ["slow", "quick"]
        await scene.leave("quick")
        assert scene.order == ["slow", "quick"]
        most["slow"] = 2
        await scene.leave("slow")
        # The caller slow may have two places now.
        assert scene.order == ["slow", "quick", "slow", "slow"]
        for task in scene.tasks:
            task.cancel()

    run(work)


def test_a_caller_that_leaves_holds_up_nobody() -> None:
    async def work() -> None:
        scene = Scene(Gate(1))
        await scene.come("a", "b", "c", "d")
        scene.tasks[1].cancel()
        scene.gate.leave("a")
        # The task is cancelled as its turn comes.
        scene.tasks[2].cancel()
        await asyncio.wait(scene.tasks)
        assert scene.order == ["a", "d"]
        await scene.leave("d")
        assert scene.gate.take("e")

    run(work)


def test_a_caller_that_waits_too_long_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.db.pool.gate.ACQUIRE_TIMEOUT", 0.01)

    async def work() -> None:
        gate = Gate(1)
        assert gate.take("a")
        with pytest.raises(Overloaded):
            await gate.wait("b")
        gate.leave("a")
        assert gate.take("c")

    run(work)


def test_a_wait_behind_own_places_is_no_strain(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr("app.db.pool.gate.time.monotonic", lambda: now)

    async def work() -> None:
        nonlocal now
        gate = Gate(2)
        scene = Scene(gate)
        await scene.come("many", "many", "many", "many")
        now += 10
        # A caller behind its own places is under strain only while no place is given back.
        assert gate.strain() == 10
        await scene.leave("many")
        assert gate.strain() == 0
        await scene.come("other")
        now += 3
        assert gate.strain() == 3
        for task in scene.tasks:
            task.cancel()

    run(work)


def test_windows_open_by_quick_statements_and_close_by_slow_ones() -> None:
    windows = CallerWindows(4)
    assert windows.most_for("a") == 2
    for _ in range(5):
        windows.record_duration("a", 0.01)
    assert windows.most_for("a") == 4
    windows.record_duration("a", 0.5)
    assert windows.most_for("a") == 4
    windows.record_duration("a", 3)
    assert windows.most_for("a") == 1
    assert windows.most_for("b") == 2
    for number in range(20_000):
        windows.record_duration(number, 0.01)
    assert windows.most_for("a") == 2
    assert CallerWindows(1).most_for("a") == 1
