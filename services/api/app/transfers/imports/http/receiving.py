"""Keeps the file of an import that a worker does later."""

from __future__ import annotations

import asyncio
from dataclasses import asdict
from typing import TYPE_CHECKING

import asyncpg

from app.core.errors import RequestTimeout
from app.idempotency.errors import RequestInProgress
from app.jobs import repository, service
from app.jobs.errors import JobNotFound
from app.jobs.files import FileWriter, JobGone

if TYPE_CHECKING:
    from collections.abc import AsyncIterable

    from app.db.database import Database
    from app.jobs.models import Job
    from app.transfers.imports.http.keyed import Keyed
    from app.transfers.imports.run import Import

# Below the time after which an unfinished file is taken for one that was left.
_LONGEST = 3600.0


async def receive(
    database: Database, import_: Import, keyed: Keyed, parts: AsyncIterable[bytes]
) -> Job:
    """A job that waits, once the whole file is here.

    Raises Unauthorized, TooManyJobs (429), and RequestInProgress (409) for an idempotency key that
    another request had meanwhile.
    """
    access = import_.access
    parameters = {**asdict(import_.parameters), "is_async": True}
    job = service.new(access.actor, "import", access.collection, parameters, "receiving")
    await service.add(database, job)
    try:
        writer = FileWriter(database, job.id, "input")
        async with asyncio.timeout(_LONGEST):
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
        if isinstance(error, TimeoutError):
            raise RequestTimeout("A file is received for an hour at most.") from None
        if isinstance(error, JobGone):
            raise JobNotFound from error
        raise
    found = await repository.find(database, job.id)
    if found is None:
        raise JobNotFound
    return found
