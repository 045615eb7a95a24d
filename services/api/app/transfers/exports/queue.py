"""Exports as jobs: a worker writes the file, which is kept for a day."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

from app.collections import service as collections
from app.jobs import files, repository, service
from app.jobs.files import FileWriter, JobGone
from app.observability.metrics import EXPORTS, LONG_WORK_SECONDS
from app.overload.pace import Pace
from app.records.access import Access
from app.transfers.exports import encodings, export
from app.transfers.exports.parameters import Parameters

if TYPE_CHECKING:
    from app.collections.models import Collection
    from app.core.actor import Actor
    from app.db.session import Session
    from app.jobs.models import Job
    from app.jobs.runner import Running


async def submit(
    session: Session,
    actor: Actor,
    collection: Collection,
    parameters: Parameters,
) -> Job:
    """A job that waits. Raises Unauthorized and TooManyJobs (429)."""
    job = service.new(actor, "export", collection, asdict(parameters), "waiting")
    await service.add(session, job)
    return job


async def run(running: Running) -> None:
    """Write the file. Raises JobGone where another worker has the job by now."""
    job, database = running.job, running.database
    collection = service.require_same(job, await collections.get(database, job.collection))
    parameters = Parameters(**job.parameters)
    prepared = export.prepare(Access(database, running.actor, collection), parameters)
    # A worker that is gone may have written a part.
    await files.remove(database, job.id, "result")
    writer = FileWriter(database, job.id, "result", attempt=job.attempt)

    async def write(part: bytes) -> None:
        await writer.write(part)
        running.progress |= {"records": prepared.count, "bytes": writer.octets}

    coding = parameters.compression
    put, end = encodings.compressing(None if coding == "none" else coding, write)
    try:
        await prepared.write(database.long, put, Pace(lambda: 0))
        await end()
    finally:
        LONG_WORK_SECONDS.labels("export", job.collection).inc(prepared.seconds)
    digest = await writer.end()
    result = {
        "records": prepared.count,
        "bytes": writer.octets,
        "sha256": digest.hex(),
        "file": f"/jobs/{job.id}/result",
    }
    if not await repository.finish(database, job, "succeeded", result=result):
        raise JobGone
    EXPORTS.labels("whole").inc()
