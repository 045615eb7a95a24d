"""Imports as jobs: the file is kept first, and a worker imports it."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import asyncpg

from app.collections import repository as collections
from app.collections.errors import CollectionNotFound
from app.idempotency.errors import RequestInProgress
from app.jobs import files, repository, service
from app.jobs.files import FileWriter, JobGone
from app.observability.metrics import LONG_WORK_SECONDS
from app.overload.pace import Pace
from app.records.access import Access
from app.transfers.imports import keeping
from app.transfers.imports.parameters import Parameters
from app.transfers.imports.reading.decoding import decoded
from app.transfers.imports.run import Import

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, AsyncIterator

    from app.db.database import Database, Transaction
    from app.jobs.models import Job
    from app.jobs.runner import Running
    from app.transfers.imports.keyed import Keyed
    from app.transfers.imports.reading.ndjson import Reader
    from app.transfers.imports.run import Report


async def receive(
    database: Database, import_: Import, keyed: Keyed, parts: AsyncIterable[bytes]
) -> Job:
    """A job that waits, once the whole file is here.

    Raises Unauthorized, TooManyJobs (429), and RequestInProgress (409) for an idempotency key that
    another request had meanwhile.
    """
    access = import_.access
    await service.require_room(database, access.actor)
    parameters = {**asdict(import_.parameters), "is_async": True}
    job = service.new(access.actor, "import", access.collection, parameters, "receiving")
    await repository.insert(database, job)
    try:
        writer = FileWriter(database, job.id, "input")
        async for part in parts:
            await writer.write(part)
        await writer.end()
        await repository.received(
            database, job.id, writer.octets, key=keyed.id, digest=keyed.digest
        )
    except BaseException as error:
        await repository.remove(database, job.id)
        if isinstance(error, asyncpg.UniqueViolationError):
            raise RequestInProgress from error
        raise
    return await service.get(database, access.actor, job.id)


async def run(running: Running) -> None:
    """Import the file that was kept. Raises JobGone where another worker has the job by now."""
    job, database = running.job, running.database
    given = {name: value for name, value in job.parameters.items() if name != "is_async"}
    collection = await collections.get(database, job.collection)
    if collection is None or collection.id != job.collection_id:
        raise CollectionNotFound
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
    await files.remove(database, job.id, "input")


async def _succeed(session: Any, job: Job, result: dict[str, Any]) -> None:
    if not await repository.finish(session, job, "succeeded", result=result):
        raise JobGone
