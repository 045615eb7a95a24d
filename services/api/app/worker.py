"""The worker: loops that tidy up and build, each a duty that one process at a time does."""

from __future__ import annotations

import asyncio
import logging
import signal
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

import asyncpg
from prometheus_client import start_http_server

from app.auth.sessions import repository as sessions_repository
from app.collections import indexes
from app.collections import repository as collections_repository
from app.core.clock import utcnow
from app.core.errors import Problem
from app.db import leases
from app.db.database import Database
from app.db.pool.budget import Memory
from app.db.pool.gate import ACQUIRE_TIMEOUT
from app.db.pool.pooled import CONNECT_TIMEOUT
from app.events import repository as events_repository
from app.idempotency import repository as idempotency_repository
from app.idempotency import service as idempotency
from app.jobs import runner
from app.observability import log
from app.observability.metrics import LOOP_LAST_SUCCESS, LOOP_RUNNING, LOOP_RUNS, LOOP_SECONDS
from app.records import removal
from app.records.search import counting
from app.transfers.exports import queue as exports
from app.transfers.imports import queue as imports

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from app.core.settings import Settings
    from app.db.leases import Lease
    from app.jobs.models import Kind

logger = logging.getLogger("listo.worker")

_SLICE = 1000
# How often each loop checks whether it is due, or whether its lease's holder is gone.
_LOOK_SECONDS = 2.0
# A worker that hangs must not keep its locks and its lease from others.
_IDLE_SECONDS = 5.0
# A job's transaction waits for room in memory, for ten seconds at most.
_LONG_IDLE_SECONDS = 20.0
_KEPT_SESSIONS = timedelta(days=7)


@dataclass(frozen=True)
class Loop:
    """A duty that some worker does every `every` seconds; `work` returns the number of items done.

    The work runs in transactions of the lease, which roll back once the lease is lost. Work outside
    of them must do no harm when two workers do it.
    """

    name: str
    every: float
    work: Callable[[Lease, Settings], Awaitable[int]]


async def purge_sessions(lease: Lease, _: Settings) -> int:
    """Forget sessions some days after they ended."""
    async with lease.transaction() as session:
        return await sessions_repository.purge_sessions(session, utcnow() - _KEPT_SESSIONS, _SLICE)


async def purge_refresh_tokens(lease: Lease, settings: Settings) -> int:
    """Forget used refresh tokens of live sessions, once the tokens would have expired anyway."""
    before = utcnow() - timedelta(seconds=settings.refresh_token_ttl)
    async with lease.transaction() as session:
        return await sessions_repository.purge_refresh_tokens(session, before, _SLICE)


async def purge_events(lease: Lease, settings: Settings) -> int:
    """Forget events after their retention."""
    kept = timedelta(days=settings.event_retention_days)
    async with lease.transaction() as session:
        return await events_repository.purge(session, kept, _SLICE)


async def purge_idempotency_keys(lease: Lease, _: Settings) -> int:
    """Forget the answers to requests with an idempotency key, after a day."""
    async with lease.transaction() as session:
        return await idempotency_repository.purge(session, idempotency.KEPT, _SLICE)


async def remove_records(lease: Lease, settings: Settings) -> int:
    """Delete the records of users that were deleted with `records=delete`."""
    # A create can continue after its request timed out. Then it still waits for a connection, and
    # runs a statement, or two if its collection is cached and Redis is down.
    longest_create = ACQUIRE_TIMEOUT + CONNECT_TIMEOUT + 2 * settings.database_statement_timeout
    await removal.run(lease, settings.request_timeout + longest_create)
    return 0


async def run_jobs(lease: Lease, settings: Settings) -> int:
    """Run exports and imports that clients do not wait for, in the order in which they came."""
    while await runner.run_next(lease, settings, RUNNERS):
        pass
    return 0


async def purge_jobs(lease: Lease, _: Settings) -> int:
    """Forget jobs, with their files, a day after their end."""
    async with lease.transaction() as session:
        return await runner.purge(session, _SLICE)


async def build_indexes(lease: Lease, _: Settings) -> int:
    """Finish the indexes whose building was interrupted.

    The building is in no transaction; a lock per collection keeps a second builder out.
    """
    all_built = True
    for collection in await collections_repository.get_all(lease.database):
        all_built &= await indexes.reconcile(lease.database, collection)
    if not all_built:
        raise Problem("Some indexes could not be built now; the lines before say which and why.")
    return 0


async def count_words(lease: Lease, _: Settings) -> int:
    """Count the words of collections with a search, by which misspelt words are corrected."""
    for collection in await collections_repository.get_all(lease.database):
        await counting.count_words(lease, collection)
    return 0


RUNNERS: dict[Kind, runner.Runner] = {"import": imports.run, "export": exports.run}


LOOPS = (
    Loop("purge_sessions", 60, purge_sessions),
    Loop("purge_refresh_tokens", 60, purge_refresh_tokens),
    Loop("purge_events", 60, purge_events),
    Loop("purge_idempotency_keys", 60, purge_idempotency_keys),
    Loop("remove_records", 60, remove_records),
    Loop("build_indexes", 60, build_indexes),
    Loop("run_jobs", 1, run_jobs),
    Loop("purge_jobs", 60, purge_jobs),
    Loop("count_words", 60, count_words),
)


async def run_once(loop: Loop, database: Database, settings: Settings) -> bool:
    """Run the loop, if it is due, until no work is left; returns False if it failed.

    Failures are logged and counted.
    """
    try:
        async with leases.take(database, loop.name, loop.every) as lease:
            if lease is not None:
                await _run(loop, lease, settings)
    except leases.LeaseLost:
        LOOP_RUNS.labels(loop.name, "lost").inc()
        logger.warning("%s was broken off: its lease was lost", loop.name)
    except (Problem, asyncpg.PostgresError) as error:
        LOOP_RUNS.labels(loop.name, "failed").inc()
        logger.warning("%s failed: %s", loop.name, error)
        return False
    return True


async def _run(loop: Loop, lease: Lease, settings: Settings) -> None:
    with LOOP_RUNNING.labels(loop.name).track_inprogress(), LOOP_SECONDS.labels(loop.name).time():
        while await loop.work(lease, settings) >= _SLICE:
            pass
    LOOP_RUNS.labels(loop.name, "succeeded").inc()
    LOOP_LAST_SUCCESS.labels(loop.name).set_to_current_time()


async def work(settings: Settings) -> None:
    """Run the loops until SIGINT or SIGTERM, which break off the work at hand."""
    stopping = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    # Each loop works on a connection, and renews its lease on another.
    database = Database(
        settings.database_url.get_secret_value(), pool_size=2 * len(LOOPS),
        statement_timeout=600.0, idle_timeout=_IDLE_SECONDS, long_idle_timeout=_LONG_IDLE_SECONDS,
        memory=Memory(
            settings.database_memory, min(settings.max_record_bytes, settings.max_body_bytes)
        ),
        name="listo-worker",
    )  # fmt: skip
    await database.open()
    logger.info("worker started")
    try:
        async with asyncio.TaskGroup() as tasks:
            running = [
                tasks.create_task(_repeat(loop, database, settings, stopping), name=loop.name)
                for loop in LOOPS
            ]
            await stopping.wait()
            for task in running:
                task.cancel()
    finally:
        await database.close()
    logger.info("worker stopped")


async def _repeat(
    loop: Loop, database: Database, settings: Settings, stopping: asyncio.Event
) -> None:
    while not stopping.is_set():
        succeeded = await run_once(loop, database, settings)
        with suppress(TimeoutError):
            # A loop that fails here is left to other workers for a while.
            async with asyncio.timeout(_LOOK_SECONDS if succeeded else loop.every):
                await stopping.wait()


def _serve_metrics(settings: Settings) -> None:
    """Raises Problem where the address cannot be taken."""
    if settings.worker_metrics_address is None:
        return
    host, _, port = settings.worker_metrics_address.rpartition(":")
    try:
        start_http_server(int(port), host)
    except (OSError, OverflowError) as error:
        raise Problem(f"WORKER_METRICS_ADDRESS={host}:{port} cannot be used: {error}.") from error


def run(settings: Settings) -> int:
    """The exit status: 0 after a signal, 3 where the database is away or an address is taken."""
    log.configure(settings)
    try:
        _serve_metrics(settings)
        asyncio.run(work(settings))
    except Problem as problem:
        logger.critical(problem.detail)
        return 3
    return 0
