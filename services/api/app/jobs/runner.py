"""The worker's duty to run jobs, one after the other."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from app.auth.identity.standing import actor_now
from app.core.errors import Problem
from app.jobs import repository
from app.jobs.files import JobGone
from app.jobs.models import KEPT
from app.observability.metrics import JOBS

if TYPE_CHECKING:
    from app.core.actor import Actor
    from app.core.settings import Settings
    from app.db.database import Database
    from app.db.leases import Lease
    from app.db.session import Session
    from app.jobs.models import Job, Kind

logger = logging.getLogger("listo.jobs")

# Jobs that are forgotten in a transaction.
_FORGOTTEN = 10
# How often a job's progress is kept, and its cancellation noticed.
_REPORT_SECONDS = 1.0
# A job that takes its worker down each time is given up, as is one that finds no room for hours.
_MOST_LOST = 4
_MOST_ATTEMPTS = 1000


@dataclass(slots=True)
class Running:
    """A job in work. Its runner writes `progress`, and ends the job by `repository.finish`."""

    job: Job
    actor: Actor
    database: Database
    settings: Settings
    progress: dict[str, Any] = field(default_factory=dict)


Runner = Callable[[Running], Awaitable[None]]


class TooManyAttempts(Problem):
    """The workers that took this job up were lost, or it failed for other reasons than its own."""

    code, title = "job_lost", "Job lost"


async def run_next(lease: Lease, settings: Settings, runners: Mapping[Kind, Runner]) -> bool:
    """Run the next job to its end; False if there is none.

    Raises Problem where the job is to be taken up again.
    """
    async with lease.transaction() as session:
        job = await repository.take(session)
    if job is None:
        return False
    try:
        if job.lost > _MOST_LOST or job.attempt > _MOST_ATTEMPTS:
            raise TooManyAttempts
        assert job.user_id is not None
        actor = await actor_now(lease.database, job.user_id, job.api_key_id)
        await _run(Running(job, actor, lease.database, settings), runners[job.kind])
        outcome = "succeeded"
    except JobGone:
        # Unless it is gone, it was cancelled at the very end.
        cancelled = await repository.finish(lease.database, job, "cancelled")
        outcome = "cancelled" if cancelled else "gone"
    except _Cancelled:
        outcome = "cancelled"
        await repository.finish(lease.database, job, "cancelled")
    except Problem as problem:
        if problem.status > HTTPStatus.INTERNAL_SERVER_ERROR:
            logger.warning("job %s is taken up again: %s", job.id, problem.in_one_line)
            await repository.give_back(lease.database, job)
            raise
        outcome = "failed"
        await repository.finish(lease.database, job, "failed", problem=_told(problem))
    JOBS.labels(job.kind, outcome).inc()
    logger.info("job %s: %s of %s %s", job.id, job.kind, job.collection, outcome)
    return True


class _Cancelled(Exception):
    """The job's user has cancelled it."""


async def _run(running: Running, runner: Runner) -> None:
    task = asyncio.ensure_future(runner(running))
    reporting = asyncio.create_task(_report(running, task))
    try:
        await asyncio.wait({task})
    finally:
        reporting.cancel()
        task.cancel()
        with suppress(asyncio.CancelledError):
            await reporting
        with suppress(asyncio.CancelledError, Exception):
            await task
    if task.cancelled():
        job = await repository.find(running.database, running.job.id)
        raise _Cancelled if job is not None and job.cancel_requested else JobGone
    task.result()


async def _report(running: Running, task: asyncio.Future[None]) -> None:
    while not task.done():
        await asyncio.sleep(_REPORT_SECONDS)
        # While the database is away, the job itself finds out.
        with suppress(Problem):
            if not await repository.report(running.database, running.job, running.progress):
                # Once: a second time would break off what tidies up.
                task.cancel()
                return


def _told(problem: Problem) -> dict[str, Any]:
    """The problem as the job's users see it."""
    told: dict[str, Any] = {
        "code": problem.code,
        "title": problem.title,
        "status": problem.status,
        "detail": problem.detail,
        **problem.members,
    }
    if problem.errors:
        told["errors"] = [error.as_dict() for error in problem.errors]
    return told


async def purge(session: Session, size: int) -> int:
    """Forget jobs a day after their end, and then what undoing them would have taken. The number of
    what was forgotten; none is left below `size`."""
    # The files of a job can be large.
    jobs = await repository.purge(session, KEPT, _FORGOTTEN)
    changes = await repository.purge_changes(session, size)
    return size if jobs == _FORGOTTEN else changes
