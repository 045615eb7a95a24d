"""The limiter of a single process: one time per caller and window, in a bounded dictionary.

The arithmetic is that of pyrate-limiter's GCRA, in whole microseconds so that a burst is exact.
Its buckets hold one key each and take a lock and a decision object per window, some 10 µs; this one
is on the way of every request.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from app.ratelimit.policy import Decision, Standing

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from app.ratelimit.policy import Check

MAX_KEYS = 100_000


def _monotonic() -> int:
    return time.monotonic_ns() // 1000


class MemoryLimiter:
    """Keeps the theoretical arrival time of each caller. `now` gives microseconds."""

    def __init__(self, now: Callable[[], int] = _monotonic, max_keys: int = MAX_KEYS) -> None:
        self._now = now
        self._max_keys = max_keys
        self._arrivals: dict[tuple[str, int, str], int] = {}

    async def admit(self, checks: Sequence[Check]) -> Decision:
        now = self._now()
        arrivals = self._arrivals
        standings: list[Standing] = []
        updates: list[tuple[tuple[str, int, str], int]] = []
        violated: list[str] = []
        wait = 0
        for check in checks:
            policy, remaining, reset = check.policy, None, 0
            for number, (emission, burst) in enumerate(policy.emissions):
                key = (policy.name, number, check.key)
                arrival = max(arrivals.get(key, now), now)
                after = arrival + check.cost * emission
                if after - now > burst:
                    wait = max(wait, after - now - burst)
                    if policy.name not in violated:
                        violated.append(policy.name)
                    after = arrival
                updates.append((key, after))
                left = (burst - (after - now)) // emission
                if remaining is None or left < remaining:
                    remaining, reset = left, after - now
            standings.append(Standing(policy, remaining or 0, reset))
        if violated:
            return Decision(False, standings, tuple(violated), wait / 1_000_000)
        arrivals.update(updates)
        if len(arrivals) > self._max_keys:
            self._evict(now)
        return Decision(True, standings)

    async def close(self) -> None:
        self._arrivals.clear()

    def _evict(self, now: int) -> None:
        """Forget callers who have their whole burst back: they count as new ones anyway.

        Under a flood of more keys than that, those who are nearest to it go too.
        """
        kept = {key: arrival for key, arrival in self._arrivals.items() if arrival > now}
        if len(kept) > self._max_keys * 3 // 4:
            busiest = sorted(kept.items(), key=lambda item: item[1], reverse=True)
            kept = dict(busiest[: self._max_keys // 2])
        self._arrivals = kept
