"""The worker: loops that tidy up and build, each its own duty, one process at a time."""

from __future__ import annotations

import asyncio
import logging
import signal
import sys
import time
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

import asyncpg
from prometheus_client import start_http_server

from app.auth import repository as auth_repository
from app.collections import indexes
from app.collections import repository as collections_repository
from app.core import log
from app.core.clock import utcnow
from app.core.errors import Problem
from app.core.metrics import LOOP_LAST_SUCCESS, LOOP_RUNS, LOOP_SECONDS
from app.core.settings import Settings, SettingsError
from app.db.database import Database
from app.db.locks import duty
from app.events import repository as events_repository
from app.idempotency import repository as idempotency_repository
from app.idempotency import service as idempotency

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

logger = logging.getLogger("listo.worker")

_SLICE = 1000
_KEPT_SESSIONS = timedelta(days=7)


@dataclass(frozen=True)
class Loop:
    """Something to do every so many seconds; it tells how much there was to do."""

    name: str
    every: float
    work: Callable[[Database, Settings], Awaitable[int]]


async def purge_sessions(database: Database, _: Settings) -> int:
    """Forget sessions some days after they ended."""
    return await auth_repository.purge_sessions(database, utcnow() - _KEPT_SESSIONS, _SLICE)


async def purge_refresh_tokens(database: Database, settings: Settings) -> int:
    """Forget used refresh tokens of sessions that live on, once they could not be valid anyway."""
    before = utcnow() - timedelta(seconds=settings.refresh_token_ttl)
    return await auth_repository.purge_refresh_tokens(database, before, _SLICE)


async def purge_events(database: Database, settings: Settings) -> int:
    """Forget events after their retention."""
    kept = timedelta(days=settings.event_retention_days)
    return await events_repository.purge(database, kept, _SLICE)


async def purge_idempotency_keys(database: Database, _: Settings) -> int:
    """Forget what was answered to requests with an idempotency key, after a day."""
    return await idempotency_repository.purge(database, idempotency.KEPT, _SLICE)


async def build_indexes(database: Database, _: Settings) -> int:
    """Finish the indexes whose building was interrupted."""
    done = 0
    for collection in await collections_repository.get_all(database):
        done += await indexes.reconcile(database, collection)
    return done


LOOPS = (
    Loop("purge_sessions", 60, purge_sessions),
    Loop("purge_refresh_tokens", 60, purge_refresh_tokens),
    Loop("purge_events", 60, purge_events),
    Loop("purge_idempotency_keys", 60, purge_idempotency_keys),
    Loop("build_indexes", 60, build_indexes),
)


async def run_once(loop: Loop, database: Database, settings: Settings) -> None:
    """One run of a loop, until there is nothing more to do; faults are logged and counted."""
    started = time.perf_counter()
    try:
        async with duty(database, loop.name) as mine:
            while mine and await loop.work(database, settings) >= _SLICE:
                pass
    except (Problem, asyncpg.PostgresError) as error:
        LOOP_RUNS.labels(loop.name, "failed").inc()
        logger.warning("%s failed: %s", loop.name, error)
    else:
        LOOP_RUNS.labels(loop.name, "succeeded").inc()
        LOOP_LAST_SUCCESS.labels(loop.name).set_to_current_time()
    finally:
        LOOP_SECONDS.labels(loop.name).observe(time.perf_counter() - started)


async def work(settings: Settings) -> None:
    """Run the loops until SIGINT or SIGTERM."""
    stopping = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    # Each loop holds a connection for its duty, and works on another.
    database = Database(
        settings.database_url.get_secret_value(), pool_size=2 * len(LOOPS),
        statement_timeout=600.0, name="listo-worker",
    )  # fmt: skip
    await database.open()
    logger.info("worker started")
    try:
        async with asyncio.TaskGroup() as tasks:
            for loop in LOOPS:
                tasks.create_task(_repeat(loop, database, settings, stopping), name=loop.name)
    finally:
        await database.close()
    logger.info("worker stopped")


async def _repeat(
    loop: Loop, database: Database, settings: Settings, stopping: asyncio.Event
) -> None:
    while not stopping.is_set():
        await run_once(loop, database, settings)
        try:
            async with asyncio.timeout(loop.every):
                await stopping.wait()
        except TimeoutError:
            continue


def _serve_metrics(settings: Settings) -> None:
    """Raises Problem where the address cannot be taken."""
    if settings.worker_metrics_address is None:
        return
    host, _, port = settings.worker_metrics_address.rpartition(":")
    try:
        start_http_server(int(port), host)
    except (OSError, OverflowError) as error:
        raise Problem(f"WORKER_METRICS_ADDRESS={host}:{port} cannot be used: {error}.") from error


def main() -> int:
    try:
        settings = Settings.load()
    except SettingsError as error:
        sys.stderr.write(f"{error}\n")
        return 4
    log.configure(settings)
    try:
        _serve_metrics(settings)
        asyncio.run(work(settings))
    except Problem as problem:
        logger.critical(problem.detail)
        return 3
    return 0


if __name__ == "__main__":
    sys.exit(main())
