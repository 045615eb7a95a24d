"""Time limits by cancellation, told apart from other cancellations."""

from __future__ import annotations

import asyncio

from app.overload.deadlines import Deadlines


def may_go_on(*, also_by_another: bool) -> bool:
    """Whether an expired task may continue; another task may cancel it as well."""
    deadlines = Deadlines(0)

    async def work() -> bool:
        task = deadlines.enter()
        try:
            await asyncio.sleep(10)
        except asyncio.CancelledError:
            return deadlines.expired(task)
        finally:
            deadlines.leave(task)
        raise AssertionError("not cancelled")

    async def run() -> bool:
        task = asyncio.create_task(work())
        await asyncio.sleep(0)
        deadlines._sweep()
        if also_by_another:
            task.cancel()
        return await task

    return asyncio.run(run())


def test_an_expired_task_goes_on_unless_another_cancels_it_too() -> None:
    assert may_go_on(also_by_another=False)
    assert not may_go_on(also_by_another=True)
