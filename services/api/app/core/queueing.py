"""Requests that wait for a place: the most important first, first come, first served among equals.

Who would not be answered within a second is refused at once, which costs both sides least. How long
it would take is told by how many have been served of late; while nobody knows, all may wait.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from itertools import islice

# Whose turn would come later than that is not let in, as far as that can be told.
WORTH_SECONDS = 1.0
# Whose turn has not come by then is refused after all: more important ones came in between.
LONGEST_SECONDS = 1.5
# By how many steps in a row, in which somebody always waited, the rate is told: half a second, so
# that no hiccup is taken for a standstill, to one.
_FEWEST, _STEPS = 5, 10

Turn = asyncio.Future[bool]


class Queue:
    """At most so many requests, in a line for each importance."""

    def __init__(self, most: int, importances: int) -> None:
        self._most = most
        self._lines: tuple[deque[tuple[float, Turn]], ...] = tuple(
            deque() for _ in range(importances)
        )
        self.length = 0
        # Requests that have ended while others waited, since the last step.
        self.served = 0
        self._steps: deque[tuple[int, float]] = deque(maxlen=_STEPS)
        self._waited = False

    def waiting(self, importance: int) -> int:
        return len(self._lines[importance])

    def join(self, importance: int) -> Turn | None:
        """A turn, or None where it would not come in time."""
        ahead = sum(map(len, islice(self._lines, importance, None)))
        if ahead and self._takes(ahead) > WORTH_SECONDS:
            return None
        if self.length >= self._most and not self._make_room(importance):
            return None
        turn: Turn = asyncio.get_running_loop().create_future()
        self._lines[importance].append((time.monotonic(), turn))
        self.length += 1
        return turn

    def first(self) -> int | None:
        """The importance of who is next."""
        if self.length:
            for importance in range(len(self._lines) - 1, -1, -1):
                if self._lines[importance]:
                    return importance
        return None

    def call(self, importance: int) -> bool:
        """Give the next of them its turn. Whether it was still there."""
        _, turn = self._lines[importance].popleft()
        self.length -= 1
        return _tell(turn, came=True)

    def step(self, passed: float, *, full: bool) -> None:
        """Refuse who has waited for too long, and learn from the seconds that have passed.

        `full` tells whether all places are taken.
        """
        oldest = time.monotonic() - LONGEST_SECONDS
        for line in self._lines:
            while line and line[0][0] < oldest:
                _tell(line.popleft()[1], came=False)
                self.length -= 1
        if self.length and self._waited:
            self._steps.append((self.served, passed))
        elif not full:
            # What was served is what came, and tells nothing of what could be.
            self._steps.clear()
        self.served = 0
        self._waited = self.length > 0

    def _takes(self, number: int) -> float:
        """After how many seconds so many are served, as far as anybody knows."""
        if len(self._steps) < _FEWEST:
            return 0.0
        served = sum(served for served, _ in self._steps)
        passed = sum(passed for _, passed in self._steps)
        return number * passed / served if served else float("inf")

    def _make_room(self, importance: int) -> bool:
        """Refuse the last of those who are less important."""
        for line in islice(self._lines, importance):
            if line:
                _tell(line.pop()[1], came=False)
                self.length -= 1
                return True
        return False


def _tell(turn: Turn, *, came: bool) -> bool:
    if turn.done():
        return False
    turn.set_result(came)
    return True
