"""Hashing in processes: how many at the same time, how many may wait, and further refusals."""

from __future__ import annotations

import asyncio
import os
import sys
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

import psutil
import pytest

from app.auth.passwords import process as hashing_process
from app.auth.passwords import program as hashing
from app.auth.passwords.pool import _QUEUE_PER_SLOT, Match, Passwords
from app.core.errors import Overloaded

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PATIENCE = 20


@contextmanager
def passwords(concurrency: int) -> Iterator[Passwords]:
    made = Passwords(concurrency)
    try:
        yield made
    finally:
        made.close()


def test_only_the_right_password_matches() -> None:
    async def work() -> list[Match]:
        with passwords(2) as made:
            hashed = await made.hash("pass wörd 😀")
            assert hashed.startswith("$argon2id$v=19$m=19456,t=2,p=1$")
            assert hashed != await made.hash("pass wörd 😀")
            return [
                await made.verify("pass wörd 😀", hashed),
                await made.verify("pass wo\u0308rd 😀", hashed),
                await made.verify("pass word 😀", hashed),
                await made.verify("", hashed),
                await made.verify("no user has this password", None),
                await made.verify("pass wörd 😀", "not a hash"),
            ]

    assert asyncio.run(work()) == [Match.RIGHT] * 2 + [Match.WRONG] * 4


def test_no_more_passwords_are_hashed_at_once_than_agreed() -> None:
    at_work, most = 0, 0
    lock, pair = threading.Lock(), threading.Barrier(2)

    def hash_() -> None:
        nonlocal at_work, most
        with lock:
            at_work += 1
            most = max(most, at_work)
        pair.wait(PATIENCE)
        with lock:
            at_work -= 1

    async def work() -> None:
        with passwords(2) as made:
            await asyncio.gather(*(made._run(hash_) for _ in range(20)))

    asyncio.run(work())
    assert most == 2


def test_refusing_tells_when_the_queue_will_be_empty() -> None:
    async def work() -> str:
        release = threading.Event()
        with passwords(2) as made:
            waiting = [
                asyncio.create_task(made._run(lambda: release.wait(PATIENCE)))
                for _ in range(2 * (1 + _QUEUE_PER_SLOT))
            ]
            await asyncio.sleep(0)
            # The time that former hashes took.
            made._seconds = 0.5
            with pytest.raises(Overloaded) as refused:
                made.require_room()
            release.set()
            await asyncio.gather(*waiting)
            return refused.value.headers["Retry-After"]

    assert int(asyncio.run(work())) == (1 + _QUEUE_PER_SLOT) // 2 + 1


def hashing_processes() -> set[psutil.Process]:
    return {child for child in psutil.Process().children() if hashing.__file__ in child.cmdline()}


def test_hashing_steps_back_behind_requests() -> None:
    """One process always gets some time; the others get only spare time."""
    before = hashing_processes()

    async def work() -> None:
        with passwords(3) as made:
            assert hashing_processes() == before
            await made.hash("x")
            (first,) = hashing_processes() - before
            assert first.nice() == min(19, psutil.Process().nice() + 15)
            assert os.sched_getscheduler(first.pid) == os.SCHED_OTHER
            await asyncio.gather(*(made.hash("x") for _ in range(3)))
            others = hashing_processes() - before - {first}
            assert [os.sched_getscheduler(each.pid) for each in others] == [os.SCHED_IDLE] * 2

    asyncio.run(work())
    assert hashing_processes() == before


def test_a_password_alone_never_has_to_wait_for_spare_time() -> None:
    before = hashing_processes()

    async def work() -> None:
        with passwords(3) as made:
            await asyncio.gather(*(made.hash("x") for _ in range(9)))
            spare = [
                process
                for process in hashing_processes() - before
                if os.sched_getscheduler(process.pid) == os.SCHED_IDLE
            ]
            assert spare
            for process in spare:
                process.suspend()
            try:
                async with asyncio.timeout(30):
                    for _ in range(3):
                        await made.hash("x")
            finally:
                for process in spare:
                    process.resume()

    asyncio.run(work())


@pytest.mark.parametrize("at_work", [False, True])
def test_a_lost_process_fails_nobody(at_work: bool) -> None:  # noqa: FBT001
    before = hashing_processes()

    async def work() -> None:
        with passwords(1) as made:
            hashed = await made.hash("x")
            (victim,) = hashing_processes() - before
            if at_work:
                victim.suspend()
                asked = asyncio.create_task(made.verify("x", hashed))
                await asyncio.sleep(0)
                victim.kill()
                assert await asked
            else:
                victim.kill()
            assert await made.verify("x", hashed)
            assert not await made.verify("y", hashed)
            assert len(hashing_processes() - before - {victim}) == 1

    asyncio.run(work())


def test_without_hashing_processes_the_server_is_overloaded(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    async def work() -> None:
        with passwords(1) as made:
            for command in ((sys.executable, "-c", ""), (str(tmp_path / "nowhere"),)):
                with monkeypatch.context() as patch:
                    patch.setattr(hashing_process, "_COMMAND", command)
                    with pytest.raises(Overloaded):
                        await made.hash("x")
            assert await made.verify("x", await made.hash("x"))

    asyncio.run(work())


def test_a_full_queue_refuses_and_the_loop_goes_on() -> None:
    async def work() -> None:
        release = threading.Event()
        with passwords(1) as made:
            waiting = [
                asyncio.create_task(made._run(lambda: release.wait(PATIENCE)))
                for _ in range(1 + _QUEUE_PER_SLOT)
            ]
            # The loop can answer although the pool's only thread is busy.
            await asyncio.sleep(0)
            with pytest.raises(Overloaded) as refused:
                await made.verify("x", None)
            assert refused.value.headers["Retry-After"] == "1"
            # A cancelled request makes room.
            waiting[-1].cancel()
            await asyncio.sleep(0)
            late = asyncio.create_task(made.verify("x", None))
            release.set()
            assert all(await asyncio.gather(*waiting[:-1]))
            assert not await late
            assert made._pending == 0

    asyncio.run(work())
