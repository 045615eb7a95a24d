"""What readiness means: each check has a time limit, all run at once."""

from __future__ import annotations

import asyncio
import time
from contextvars import Context
from typing import TYPE_CHECKING, Any

from redis.exceptions import RedisError

from app.core.errors import Problem
from app.db import migrations

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from redis.asyncio import Redis

    from app.db.database import Database

LIMIT_SECONDS = 2.0
# Less than any probe leaves between two of its own.
KEPT_SECONDS = 0.5


class Readiness:
    """The report of this process, made once for all who ask at the same time or right after.

    Anybody may ask, and is counted nowhere, so asking must not be a way to keep the database busy.
    """

    def __init__(self, database: Database, redis: Redis | None) -> None:
        self._database = database
        self._redis = redis
        self._flight: asyncio.Task[dict[str, Any]] | None = None
        self._made = 0.0

    async def report(self) -> dict[str, Any]:
        """As `run` gives it."""
        flight = self._flight
        if flight is None or (flight.done() and time.monotonic() - self._made >= KEPT_SECONDS):
            # A task of its own: who began it may go away, and others wait for it.
            flight = self._flight = asyncio.create_task(self._make(), context=Context())
        return await asyncio.shield(flight)

    async def _make(self) -> dict[str, Any]:
        try:
            return await run(self._database, self._redis)
        finally:
            self._made = time.monotonic()


async def run(database: Database, redis: Redis | None) -> dict[str, Any]:
    """The report: `status`, and per check its outcome and duration in milliseconds."""
    run = {"database": _database(database), "migrations": _migrations(database)}
    if redis is not None:
        run["redis"] = _redis(redis)
    outcomes = await asyncio.gather(*map(_timed, run.values()))
    checks = dict(zip(run, outcomes, strict=True))
    checks["notifications"] = _notifications(database)
    if not (checks["database"]["ok"] and checks["migrations"]["ok"]):
        status = "unavailable"
    else:
        status = "ready" if all(check["ok"] for check in checks.values()) else "degraded"
    return {"status": status, "checks": checks}


async def _database(database: Database) -> None:
    await database.fetchval("SELECT 1")


async def _migrations(database: Database) -> None:
    # A newer one is no fault: migrations expand, so that the code before them goes on serving.
    revision = await migrations.current(database)
    if revision is None or revision < migrations.head():
        raise Problem("The database is behind this code; run: listo migrate")


async def _redis(redis: Redis) -> None:
    try:
        await redis.ping()
    except (RedisError, OSError) as error:
        raise Problem("Redis is away; each process limits by itself and caches nothing.") from error


def _notifications(database: Database) -> dict[str, Any]:
    if database.notifications.trusted:
        return {"ok": True}
    return {"ok": False, "detail": "Change notifications may be missing; nothing is remembered."}


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
