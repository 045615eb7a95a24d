"""Keeps for a day of an import: its report, what undoing it takes, and the refused lines."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

from app.jobs import repository, service
from app.jobs.files import FileWriter
from app.transfers.imports import statements

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

    from app.db.database import Transaction
    from app.jobs.models import Job
    from app.transfers.imports.parameters import Parameters
    from app.transfers.imports.reading.ndjson import Reader
    from app.transfers.imports.run import Import, Report

# Lines that are read at a time.
_LINES = 200


async def keep_report(
    transaction: Transaction,
    import_: Import,
    report: Report,
    reader: Reader,
    *,
    key: bytes | None,
    digest: bytes | None,
) -> Job:
    """Keep a job that has succeeded, for an import whose client waited for it; `key` and `digest`
    are those of a request with an idempotency key."""
    access, parameters = import_.access, import_.parameters
    job = service.new(
        access.actor, "import", access.collection, asdict(parameters), "succeeded", {}
    )
    # Rejects refer to the job.
    await repository.insert(transaction, job, key=key, digest=digest)
    has_rejects = await keep(transaction, job.id, reader, parameters)
    job = replace(job, result=result_of(report, job.id, has_rejects=has_rejects))
    await repository.set_result(transaction, job)
    return job


def result_of(report: Report, job: UUID, *, has_rejects: bool) -> dict[str, Any]:
    told = {**report.as_dict(), "job": str(job)}
    if has_rejects:
        told["rejects"] = f"/jobs/{job}/rejects"
    return told


async def keep(transaction: Transaction, job: UUID, reader: Reader, parameters: Parameters) -> bool:
    """Keep what the import of this transaction changed, and the file of refused lines; returns
    whether there are any of these."""
    await transaction.execute(statements.KEEP_CHANGES, job)
    if not parameters.skip:
        return False
    writer = FileWriter(transaction, job, "rejects")
    end = "\r\n" if parameters.format == "csv" else "\n"
    async with transaction.open_cursor(statements.REJECTS, lock=None) as cursor:
        while rows := await cursor.fetch(_LINES):
            if not writer.octets and reader.head:
                await writer.write(f"{reader.head}{end}".encode())
            await writer.write(_joined([row["raw"] for row in rows], end))
    await writer.end()
    return bool(writer.octets)


def _joined(lines: Sequence[bytes | None], end: str) -> bytes:
    # A line that was too long has no text.
    return b"".join([line.rstrip(b"\r") + end.encode() for line in lines if line is not None])
