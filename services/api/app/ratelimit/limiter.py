"""The limiter's interface. Every backend passes the same contract suite."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from app.core.errors import TooManyRequests
from app.observability.metrics import RATE_LIMITED

if TYPE_CHECKING:
    from collections.abc import Sequence

    from app.ratelimit.policy import Check, Decision


class Limiter(Protocol):
    """Admits requests by the generic cell rate algorithm (GCRA)."""

    async def admit(self, checks: Sequence[Check]) -> Decision:
        """Count the request under all checks, or, if any of them refuses, under none."""
        ...

    async def close(self) -> None: ...


def refusal(decision: Decision) -> TooManyRequests:
    """The problem for a request that was not admitted."""
    for policy in decision.violated:
        RATE_LIMITED.labels(policy).inc()
    problem = TooManyRequests()
    problem.members["violated-policies"] = list(decision.violated)
    problem.headers["Retry-After"] = str(decision.retry_after_seconds)
    return problem
