"""The files of jobs, kept in PostgreSQL in parts: whichever process makes one, each can read it."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from app.db.session import affected

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from uuid import UUID

    from app.db.session import Session
    from app.jobs.models import FileName

PART_BYTES = 262_144


class JobGone(Exception):
    """The job is forgotten, has ended, or another worker has it by now."""


class FileWriter:
    """Writes a file in parts of PART_BYTES, in transactions of the session or each by itself."""

    def __init__(
        self, session: Session, job: UUID, name: FileName, *, attempt: int | None = None
    ) -> None:
        """With `attempt`, only while the job runs as this attempt."""
        self._session = session
        self._job = job
        self._attempt = attempt
        self._name = name
        self._parts: list[bytes] = []
        self._held = 0
        self._number = 0
        self._digest = hashlib.sha256()
        # The bytes that were written and that are held.
        self.octets = 0

    async def write(self, data: bytes) -> None:
        """Raises JobGone."""
        self._digest.update(data)
        self._parts.append(data)
        self._held += len(data)
        self.octets += len(data)
        while self._held >= PART_BYTES:
            await self._put(b"".join(self._parts))

    async def end(self) -> bytes:
        """Write what is held; returns the SHA-256 digest of all."""
        if self._held:
            await self._put(b"".join(self._parts))
        return self._digest.digest()

    async def _put(self, held: bytes) -> None:
        part, rest = held[:PART_BYTES], held[PART_BYTES:]
        status = await self._session.execute(
            "INSERT INTO listo.job_files (job, name, number, start, bytes)"
            " SELECT id, $2, $3, $4, $5 FROM listo.jobs WHERE id = $1"
            " AND ($6::integer IS NULL OR (attempt = $6 AND state = 'running')) FOR KEY SHARE",
            self._job,
            self._name,
            self._number,
            self._number * PART_BYTES,
            part,
            self._attempt,
        )
        if not affected(status):
            raise JobGone
        self._number += 1
        self._parts, self._held = ([rest] if rest else []), len(rest)


async def size(session: Session, job: UUID, name: FileName) -> int | None:
    """The bytes of the file, None if there is no such file."""
    found: int | None = await session.fetchval(
        "SELECT start + octet_length(bytes) FROM listo.job_files WHERE job = $1 AND name = $2"
        " ORDER BY number DESC LIMIT 1",
        job,
        name,
    )
    return found


async def read(
    session: Session, job: UUID, name: FileName, first: int = 0, end: int | None = None
) -> AsyncIterator[bytes]:
    """The bytes from number `first` up to, but without, number `end`, part by part."""
    number = first // PART_BYTES
    while end is None or number * PART_BYTES < end:
        part: bytes | None = await session.fetchval(
            "SELECT bytes FROM listo.job_files WHERE job = $1 AND name = $2 AND number = $3",
            job,
            name,
            number,
        )
        if part is None:
            return
        start = number * PART_BYTES
        to = len(part) if end is None else end - start
        yield part[max(0, first - start) : to]
        number += 1


async def remove(session: Session, job: UUID, name: FileName) -> None:
    await session.execute("DELETE FROM listo.job_files WHERE job = $1 AND name = $2", job, name)
