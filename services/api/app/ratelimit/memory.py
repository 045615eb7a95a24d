"""The limiter of a single process: one time per caller and window, in a bounded dictionary."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from app.ratelimit.gcra import decide

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from app.ratelimit.policy import Check, Decision

MAX_KEYS = 100_000
# The size of a sample whose median is within a few per cent of the median of all.
_SAMPLE = 1000


def _monotonic() -> int:
    return time.monotonic_ns() // 1000


class MemoryLimiter:
    """Keeps the time at which each caller will owe nothing. `now` gives microseconds."""

    def __init__(self, now: Callable[[], int] = _monotonic, max_keys: int = MAX_KEYS) -> None:
        self._now = now
        self._max_keys = max_keys
        self._arrivals: dict[tuple[str, tuple[int, int], str], int] = {}

    async def admit(self, checks: Sequence[Check]) -> Decision:
        now = self._now()
        arrivals = self._arrivals
        keys, debts = [], []
        for policy, caller, *_ in checks:
            for window in policy.windows:
                key = (policy.name, window, caller)
                debt = arrivals.get(key, now) - now
                keys.append(key)
                debts.append(max(0, debt))
        decision, after = decide(checks, debts)
        if decision.allowed:
            for key, debt in zip(keys, after, strict=True):
                arrivals[key] = now + debt
            if len(arrivals) > self._max_keys:
                self._evict(now)
        return decision

    async def close(self) -> None:
        self._arrivals.clear()

    def _evict(self, now: int) -> None:
        """Forget callers who have their whole burst back: they count as new callers anyway.

        If too many keys remain, the callers nearest to a whole burst are forgotten, too. Only a
        sample is sorted, since sorting holds up all requests.
        """
        kept = {key: arrival for key, arrival in self._arrivals.items() if arrival > now}
        if len(kept) > self._max_keys * 3 // 4:
            sample = sorted(list(kept.values())[:: max(1, len(kept) // _SAMPLE)])
            middle = sample[len(sample) // 2]
            kept = {key: arrival for key, arrival in kept.items() if arrival > middle}
        self._arrivals = kept
