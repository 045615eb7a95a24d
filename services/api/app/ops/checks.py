"""What readiness means: each check has a time limit, all run at once."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

from app.core.errors import Problem
from app.db import migrations

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from starlette.datastructures import State

LIMIT_SECONDS = 2.0


async def run(state: State) -> dict[str, Any]:
    """The report: `status`, and per check its outcome and duration in milliseconds."""
    database, schema = await asyncio.gather(
        _timed(_database(state)), _timed(_migrations(state)), return_exceptions=False
    )
    checks = {"database": database, "migrations": schema, "notifications": _notifications(state)}
    if not (database["ok"] and schema["ok"]):
        status = "unavailable"
    else:
        status = "ready" if all(check["ok"] for check in checks.values()) else "degraded"
    return {"status": status, "checks": checks}


async def _database(state: State) -> None:
    await state.database.fetchval("SELECT 1")


async def _migrations(state: State) -> None:
    if await migrations.current(state.database) != migrations.head():
        raise Problem("The database is not at this code's migration; run: listo migrate")


def _notifications(state: State) -> dict[str, Any]:
    if state.database.notifications.connected:
        return {"ok": True}
    return {"ok": False, "detail": "Change notifications do not arrive; nothing is cached."}


async def _timed(check: Awaitable[None]) -> dict[str, Any]:
    started = time.perf_counter()
    outcome: dict[str, Any] = {"ok": True}
    try:
        async with asyncio.timeout(LIMIT_SECONDS):
            await check
    except TimeoutError:
        outcome = {"ok": False, "detail": f"No answer within {LIMIT_SECONDS:g} s."}
    except Problem as problem:
        outcome = {"ok": False, "detail": problem.detail}
    outcome["ms"] = round((time.perf_counter() - started) * 1000, 1)
    return outcome
