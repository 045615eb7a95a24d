"""Time limits of many short tasks by one timer: a timer per task costs more than most tasks."""

from __future__ import annotations

import asyncio
import time
from itertools import takewhile

_STEP = 0.25


class Deadlines:
    """Cancels a task that has not left `limit` seconds after its entry, up to 0.25 s late."""

    def __init__(self, limit: float) -> None:
        self._limit = limit
        self._running: dict[asyncio.Task[object], float] = {}
        self._expired: set[asyncio.Task[object]] = set()
        self._timer: asyncio.TimerHandle | None = None

    def count(self) -> int:
        """How many tasks are in here."""
        return len(self._running)

    def count_older_than(self, seconds: float) -> int:
        """How many tasks in here entered more than `seconds` ago."""
        before = time.monotonic() - seconds
        # The tasks are in the order of entry.
        return sum(1 for _ in takewhile(lambda entered: entered < before, self._running.values()))

    def enter(self) -> asyncio.Task[object]:
        """Begin to count the time of the current task, for `expired` and `leave`."""
        task = asyncio.current_task()
        assert task is not None
        self._running[task] = time.monotonic()
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(_STEP, self._sweep)
        return task

    def expired(self, task: asyncio.Task[object]) -> bool:
        """Whether only this class has cancelled `task`; takes its own cancellation back."""
        return task in self._expired and task.uncancel() == 0

    def leave(self, task: asyncio.Task[object]) -> None:
        self._running.pop(task, None)
        self._expired.discard(task)

    def _sweep(self) -> None:
        self._timer = None
        now = time.monotonic()
        for task, entered in self._running.items():
            if now - entered < self._limit:
                # The tasks are in the order of entry, so all others entered later.
                break
            if task not in self._expired:
                self._expired.add(task)
                task.cancel()
        if self._running:
            self._timer = asyncio.get_running_loop().call_later(_STEP, self._sweep)
