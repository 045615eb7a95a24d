"""Room for bytes: how many tasks hold at the same time, and the order in which they wait."""

from __future__ import annotations

import asyncio

import pytest

from app.overload.room import Room


async def taking(room: Room, number: int, name: str, seen: list[str], end: asyncio.Event) -> None:
    async with room.take(number):
        seen.append(name)
        await end.wait()


async def settle() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


def test_room_is_given_within_its_size_and_in_order_of_arrival() -> None:
    async def work() -> None:
        seen: list[str] = []
        room, ends = Room(lambda: 100), [asyncio.Event() for _ in range(4)]
        async with asyncio.TaskGroup() as tasks:
            for number, end, name in zip((60, 50, 10, 500), ends, "abcd", strict=True):
                tasks.create_task(taking(room, number, name, seen, end))
                await settle()
            # The third would find room, but the second comes first.
            assert seen == ["a"]
            ends[0].set()
            await settle()
            assert seen == ["a", "b", "c"]
            ends[1].set()
            await settle()
            # A need beyond the whole room takes all of it.
            assert seen == ["a", "b", "c"]
            ends[2].set()
            await settle()
            assert seen == ["a", "b", "c", "d"]
            ends[3].set()

    asyncio.run(work())


def test_a_task_that_leaves_while_waiting_takes_no_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.overload.room._WAIT_SECONDS", 0.01)

    async def work() -> None:
        seen: list[str] = []
        room, end = Room(lambda: 100), asyncio.Event()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(taking(room, 100, "a", seen, end))
            await settle()
            gone = tasks.create_task(taking(room, 100, "b", seen, end))
            await settle()
            gone.cancel()
            with pytest.raises(TimeoutError):
                await taking(room, 100, "c", seen, end)
            end.set()
            await settle()
            async with room.take(100):
                pass
        assert seen == ["a"]

    asyncio.run(work())
