"""The generic cell rate algorithm: the debt of a caller is its whole state.

Under each window a caller owes some microseconds, which time pays back one by one. A request adds
to them, and is refused if the sum would exceed the window's burst. Whole microseconds keep a burst
exact. The GCRA of pyrate-limiter reads a clock of milliseconds, names only the first refusing
window, and takes twice the time for every request.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from app.ratelimit.policy import OVERDRAFT, Decision, Standing

if TYPE_CHECKING:
    from collections.abc import Sequence

    from app.ratelimit.policy import Check


def decide(checks: Sequence[Check], debts: Sequence[int]) -> tuple[Decision, Sequence[int]]:
    """The decision on a request, and the debts after it.

    `debts` are the microseconds owed before the request, for each window of each check in order,
    each at most its window's burst plus OVERDRAFT. A refused request leaves them as they are.
    """
    after: list[int] = []
    violated: tuple[str, ...] = ()
    wait = 0
    for check in checks:
        refused = False
        for emission, burst in check.policy.windows:
            owed = debts[len(after)]
            debt = (
                owed
                + min(check.cost * emission, burst)
                - min(check.counted_before * emission, burst)
            )
            refused |= debt > burst and not check.charge_always
            # The retry is charged from scratch: the wait ignores `counted_before`, and includes
            # `charged_later`.
            wait = max(
                wait, owed + min((check.cost + check.charged_later) * emission, burst) - burst
            )
            after.append(min(debt, burst + OVERDRAFT))
        if refused:
            violated += (check.policy.name,)
    if violated:
        return Decision(False, _standings(checks, debts), violated, wait / 1_000_000), debts
    return Decision(True, _standings(checks, after)), after


def _standings(checks: Sequence[Check], debts: Sequence[int]) -> list[Standing]:
    """For each policy the window with the fewest requests left; among equals, the slowest."""
    standings = []
    at = 0
    for check in checks:
        policy = check.policy
        remaining, reset = -1, 0
        for emission, burst in policy.windows:
            debt = debts[at]
            left = max(0, (burst - debt) // emission)
            wait = debt and debt - burst + (left + 1) * emission
            if remaining < 0 or left < remaining or (left == remaining and wait > reset):
                remaining, reset = left, wait
            at += 1
        if remaining >= 0:
            standings.append(Standing(policy, remaining, reset))
    return standings
