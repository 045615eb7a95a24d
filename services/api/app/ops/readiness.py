"""Readiness: the checks of all packages, each within a time limit, all run at the same time."""

from __future__ import annotations

import asyncio
import time
from contextvars import Context
from typing import TYPE_CHECKING, Any

from app.core.errors import Problem

if TYPE_CHECKING:
    from collections.abc import Sequence

    from app.observability.checks import Check

LIMIT_SECONDS = 2.0
# How long a report is kept: less than the interval of any probe.
KEPT_SECONDS = 0.5


class Readiness:
    """The process's report, made once for all clients that ask meanwhile or within KEPT_SECONDS.

    Any client may ask, without a rate limit, so the checks must not keep the database busy.
    """

    def __init__(self, checks: Sequence[Check]) -> None:
        self._checks = checks
        self._flight: asyncio.Task[dict[str, Any]] | None = None
        self._made = 0.0

    async def report(self) -> dict[str, Any]:
        """`status`, and per check its outcome and duration in milliseconds."""
        flight = self._flight
        if flight is None or (flight.done() and time.monotonic() - self._made >= KEPT_SECONDS):
            # A task of its own: the client that asked first may leave while others wait.
            flight = self._flight = asyncio.create_task(self._make(), context=Context())
        return await asyncio.shield(flight)

    async def _make(self) -> dict[str, Any]:
        try:
            outcomes = await asyncio.gather(*map(_outcome, self._checks))
        finally:
            self._made = time.monotonic()
        failed = [
            check
            for check, outcome in zip(self._checks, outcomes, strict=True)
            if not outcome["ok"]
        ]
        status = "degraded" if failed else "ready"
        if any(check.required for check in failed):
            status = "unavailable"
        names = (check.name for check in self._checks)
        return {"status": status, "checks": dict(zip(names, outcomes, strict=True))}


async def _outcome(check: Check) -> dict[str, Any]:
    started = time.perf_counter()
    outcome: dict[str, Any] = {"ok": True}
    try:
        async with asyncio.timeout(LIMIT_SECONDS):
            await check.run()
    except TimeoutError:
        outcome = {"ok": False, "detail": f"No answer within {LIMIT_SECONDS:g} s."}
    except Problem as problem:
        outcome = {"ok": False, "detail": problem.detail}
    outcome["ms"] = round((time.perf_counter() - started) * 1000, 1)
    return outcome
