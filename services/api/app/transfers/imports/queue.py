"""Imports as jobs: a worker imports the file that was kept."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from app.collections import service as collections
from app.jobs import files, repository, service
from app.jobs.files import JobGone
from app.observability.metrics import LONG_WORK_SECONDS
from app.overload.pace import Pace
from app.records.access import Access
from app.transfers.imports import keeping
from app.transfers.imports.parameters import Parameters
from app.transfers.imports.reading.decoding import decoded
from app.transfers.imports.run import Import

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from app.db.database import Transaction
    from app.jobs.models import Job
    from app.jobs.runner import Running
    from app.transfers.imports.reading.ndjson import Reader
    from app.transfers.imports.run import Report


async def run(running: Running) -> None:
    """Import the file that was kept. Raises JobGone where another worker has the job by now."""
    job, database = running.job, running.database
    given = {name: value for name, value in job.parameters.items() if name != "is_async"}
    collection = service.require_same(job, await collections.get(database, job.collection))
    import_ = Import(Access(database, running.actor, collection), Parameters(**given))
    progress = running.progress

    async def told(parts: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        octets = 0
        async for part in parts:
            octets += len(part)
            progress["bytes"] = octets
            if import_.staging is not None:
                progress["read"] = import_.staging.read
            yield part

    async def finish(transaction: Transaction, report: Report, reader: Reader) -> None:
        has_rejects = await keeping.keep(transaction, job.id, reader, import_.parameters)
        result = keeping.result_of(report, job.id, has_rejects=has_rejects)
        await _succeed(transaction, job, result)

    parts = told(files.read(database, job.id, "input"))
    plain = decoded(parts, running.settings.max_import_bytes)
    try:
        async with database.stepwise() as session:
            report = await import_.run(session, plain, Pace(lambda: 0), finish)
    finally:
        LONG_WORK_SECONDS.labels("import", job.collection).inc(import_.seconds)
    if report.dry_run:
        await _succeed(database, job, report.as_dict())


async def _succeed(session: Any, job: Job, result: dict[str, Any]) -> None:
    if not await repository.finish(session, job, "succeeded", result=result):
        raise JobGone
