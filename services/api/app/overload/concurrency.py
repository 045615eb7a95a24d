"""How many requests may be in work at the same time, and which others wait or are refused first.

The limit follows the delay outside of requests (for the event loop, or a connection) by additive
increase, multiplicative decrease (AIMD). Existing limiters for Python guard outgoing calls, or
judge by the duration of requests, which batches, slow clients and password hashes would spoil.
"""

from __future__ import annotations

import asyncio
import time
from enum import IntEnum
from typing import TYPE_CHECKING

from app.overload.queueing import Queue
from app.route_policy import policy_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, MutableMapping
    from typing import Any

    from app.overload.queueing import Begin, Refuse

# Above this delay requests should wait for their turn: the most important request goes first.
TARGET_SECONDS = 0.25
STEP_SECONDS = 0.1
# A step with a longer delay multiplies the limit by DECREASE; others add INCREASE of the maximum.
DECREASE = 0.9
INCREASE = 0.05
# How many requests may wait per request that may be in work. More requests would be refused after
# their wait; an immediate refusal costs less, as their data is still in the processor's caches.
WAITING_PER_PLACE = 5
# A request that is in work for longer than this is slow.
LINGERING_SECONDS = 1.0


class Importance(IntEnum):
    """The importance of a request to its client, judged before its credentials are checked."""

    ANONYMOUS = 0
    LOGIN = 1
    READ = 2
    WRITE = 3
    IDEMPOTENT_WRITE = 4


NAMES = tuple(importance.name.lower() for importance in Importance)
# The share of the limit that each importance may use under strain, see `adjust`.
SHARES = (0.6, 0.7, 0.85, 0.95, 1.0)

_READS = frozenset({"GET", "HEAD", "OPTIONS"})


def importance_of(scope: MutableMapping[str, Any], fields: Mapping[bytes, bytes]) -> Importance:
    """Fake credentials gain a place only; authentication rejects them."""
    if scope["method"] in _READS:
        return Importance.READ if b"authorization" in fields else Importance.ANONYMOUS
    # Writes without credentials must not take the last places: their bodies may come slowly.
    if policy_of(scope).login or b"authorization" not in fields:
        return Importance.LOGIN
    return Importance.IDEMPOTENT_WRITE if b"idempotency-key" in fields else Importance.WRITE


class Concurrency:
    """Admits requests up to a limit between `least` and `most`; the others wait for their turn.

    `delay` gives the seconds that a request has waited for a connection, `lingering` the number of
    requests that are in work for longer than the given seconds.
    """

    def __init__(
        self,
        most: int,
        least: int,
        *,
        delay: Callable[[], float],
        lingering: Callable[[float], int],
    ) -> None:
        self._most = most
        self._least = min(least, most)
        self._delay = delay
        self._lingering = lingering
        self.limit = float(most)
        self.in_work = [0] * len(Importance)
        self._total = 0
        self._bounds = (most,) * len(Importance)
        self._queue = Queue(WAITING_PER_PLACE * most, len(Importance))

    def enter(self, importance: Importance) -> bool:
        """Whether the request may begin immediately; if so, it must `leave`."""
        # A free place means that no equally important request is waiting.
        if self._total >= self._bounds[importance]:
            return False
        self._total += 1
        self.in_work[importance] += 1
        return True

    def wait(self, importance: Importance, begin: Begin, refuse: Refuse) -> bool:
        """Whether a request that could not `enter` may wait. If a place comes in time, `begin` is
        called; if `begin` returns true, the client is still there, and the request must `leave`."""
        return self._queue.join(importance, begin, refuse)

    def leave(self, importance: Importance) -> None:
        self._total -= 1
        self.in_work[importance] -= 1
        if self._queue.length:
            self._call_in()

    def waiting(self, importance: int) -> int:
        return self._queue.waiting(importance)

    def adjust(self, delay: float, lingering: int) -> None:
        """Set the limit by the last step's `delay`, and how much of it each importance may use.

        Fast requests may fill the whole limit. Under strain, when the limit is lowered or more than
        half of it is taken by slow requests, places are kept for more important requests.
        """
        if delay > TARGET_SECONDS:
            self.limit = max(float(self._least), self.limit * DECREASE)
        else:
            self.limit = min(float(self._most), self.limit + max(1.0, self._most * INCREASE))
        strained = self.limit < self._most or lingering * 2 > self.limit
        self._bounds = tuple(
            max(1, int(self.limit * (share if strained else 1.0))) for share in SHARES
        )
        self._call_in()

    def expire(self) -> None:
        """Refuse requests that waited for too long."""
        self._queue.expire()

    async def run(self) -> None:
        """Adjust the limit for as long as the process lives."""
        while True:
            began = time.monotonic()
            await asyncio.sleep(STEP_SECONDS)
            late = time.monotonic() - began - STEP_SECONDS
            self.expire()
            self.adjust(max(late, self._delay()), self._lingering(LINGERING_SECONDS))

    def _call_in(self) -> None:
        """Give free places to waiting requests, the most important first."""
        queue = self._queue
        while (number := queue.next_importance()) is not None:
            importance = Importance(number)
            if not self.enter(importance):
                return
            if not queue.call(importance):
                self._total -= 1
                self.in_work[importance] -= 1
