"""Requests that wait for a place: the most important first, first come, first served among equals.

Clients get no estimate of their wait: the recent pace says little about the coming pace, and
clients that are refused immediately come back immediately. A request that has waited for too long
is refused.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from itertools import islice

MAX_WAIT_SECONDS = 1.2

# `Begin` is called at a request's turn. `Refuse` is called when the request has waited too long or
# makes room for a more important one. Both return whether the client is still there.
Begin = Callable[[], bool]
Refuse = Callable[[], bool]


class Queue:
    """At most `most` waiting requests, in one FIFO queue per importance."""

    def __init__(self, most: int, importances: int) -> None:
        self._most = most
        self._lines: tuple[deque[tuple[float, Begin, Refuse]], ...] = tuple(
            deque() for _ in range(importances)
        )
        self.length = 0

    def waiting(self, importance: int) -> int:
        return len(self._lines[importance])

    def join(self, importance: int, begin: Begin, refuse: Refuse) -> bool:
        """Wait for a turn. False if the queue is full and holds no less important request."""
        if self.length >= self._most and not self._make_room(importance):
            return False
        self._lines[importance].append((time.monotonic(), begin, refuse))
        self.length += 1
        return True

    def next_importance(self) -> int | None:
        """The importance of the next request."""
        if self.length:
            for importance in range(len(self._lines) - 1, -1, -1):
                if self._lines[importance]:
                    return importance
        return None

    def call(self, importance: int) -> bool:
        """Give the next request its turn; returns whether its client was still there."""
        _, begin, _ = self._lines[importance].popleft()
        self.length -= 1
        return begin()

    def expire(self) -> None:
        """Refuse requests that waited for too long."""
        oldest = time.monotonic() - MAX_WAIT_SECONDS
        for line in self._lines:
            while line and line[0][0] < oldest:
                self.length -= 1
                line.popleft()[2]()

    def _make_room(self, importance: int) -> bool:
        """Refuse the newest request of the lowest importance, if that is below `importance`."""
        for line in islice(self._lines, importance):
            if line:
                self.length -= 1
                line.pop()[2]()
                return True
        return False
