"""The SQL of jobs."""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING, Any

import orjson

from app.db.session import affected
from app.jobs.models import Job

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from datetime import timedelta
    from uuid import UUID

    from asyncpg import Record

    from app.db.session import Session
    from app.jobs.models import State

_JSON = ("parameters", "progress", "result", "problem")
_COLUMNS = ", ".join(field.name for field in fields(Job))
# A body that nobody sends any more was left by a process that died.
_RECEIVING = "2 hours"


async def insert(
    session: Session, job: Job, *, key: bytes | None = None, digest: bytes | None = None
) -> None:
    """Add a job that is received or has succeeded. `key` and `digest` are those of a request with
    an idempotency key."""
    ended = job.state == "succeeded"
    await session.execute(
        "INSERT INTO listo.jobs (id, kind, collection, collection_id, user_id, api_key_id,"
        " parameters, state, result, key, digest, started_at, finished_at)"
        " VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11,"
        " CASE WHEN $12 THEN now() END, CASE WHEN $12 THEN clock_timestamp() END)",
        job.id,
        job.kind,
        job.collection,
        job.collection_id,
        job.user_id,
        job.api_key_id,
        _dumped(job.parameters),
        job.state,
        None if job.result is None else _dumped(job.result),
        key,
        digest,
        ended,
    )


async def find(session: Session, id_: UUID) -> Job | None:
    row = await session.fetchrow(f"SELECT {_COLUMNS} FROM listo.jobs WHERE id = $1", id_)
    return None if row is None else _job(row)


async def find_by_key(session: Session, key: bytes) -> tuple[Job, bytes] | None:
    """The job that was asked for with this key, and the digest of the request."""
    row = await session.fetchrow(f"SELECT {_COLUMNS}, digest FROM listo.jobs WHERE key = $1", key)
    return None if row is None else (_job(row), row["digest"])


async def get_all(
    session: Session,
    user: UUID | None,
    collections: Collection[str] | None,
    *,
    before: UUID | None,
    limit: int,
) -> Sequence[Job]:
    """Jobs of the user, on these collections, newest first; None stands for all."""
    rows = await session.fetch(
        f"SELECT {_COLUMNS} FROM listo.jobs WHERE ($1::uuid IS NULL OR user_id = $1)"
        " AND ($2::uuid IS NULL OR id < $2) AND ($4::text[] IS NULL OR collection = ANY($4))"
        " AND state <> 'receiving' ORDER BY id DESC LIMIT $3",
        user,
        before,
        limit,
        None if collections is None else [*collections],
    )
    return [_job(row) for row in rows]


async def has_room(session: Session, user: UUID, most: int, most_bytes: int) -> bool:
    """Whether the user may have one more job; others that ask wait until the transaction ends."""
    await session.execute("SELECT FROM listo.users WHERE id = $1 FOR NO KEY UPDATE", user)
    row = await session.fetchrow(
        "SELECT (SELECT count(*) FROM listo.jobs WHERE user_id = $1 AND finished_at IS NULL),"
        " (SELECT coalesce(sum(octet_length(f.bytes)), 0) FROM listo.job_files AS f"
        " JOIN listo.jobs AS j ON j.id = f.job WHERE j.user_id = $1)",
        user,
    )
    assert row is not None
    return bool(row[0] < most and row[1] < most_bytes)


async def received(
    session: Session, id_: UUID, octets: int, *, key: bytes | None, digest: bytes | None
) -> None:
    """The job's input is complete. Raises UniqueViolationError for a key that another job has."""
    await session.execute(
        "UPDATE listo.jobs SET state = 'waiting', key = $3, digest = $4,"
        " progress = jsonb_build_object('total_bytes', $2::bigint) WHERE id = $1",
        id_,
        octets,
        key,
        digest,
    )


async def take(session: Session) -> Job | None:
    """The next job, which runs from now on: one whose worker is gone before one that waits.

    Only the holder of the lease calls this, so nobody else has a running job.
    """
    row = await session.fetchrow(
        "UPDATE listo.jobs SET state = 'running', attempt = attempt + 1, started_at = now(),"
        " lost = lost + (state = 'running')::integer WHERE id = (SELECT id FROM listo.jobs"
        " WHERE state IN ('running', 'waiting') AND finished_at IS NULL"
        " ORDER BY state, created_at, id LIMIT 1)"
        f" RETURNING {_COLUMNS}"
    )
    return None if row is None else _job(row)


async def report(session: Session, job: Job, progress: dict[str, Any]) -> bool:
    """Keep the progress; returns whether the job is to go on."""
    goes_on: bool | None = await session.fetchval(
        "UPDATE listo.jobs SET progress = progress || $3 WHERE id = $1 AND attempt = $2"
        " AND state = 'running' RETURNING NOT cancel_requested",
        job.id,
        job.attempt,
        _dumped(progress),
    )
    return bool(goes_on)


async def give_back(session: Session, job: Job) -> None:
    """Have a running job wait again."""
    await session.execute(
        "UPDATE listo.jobs SET state = 'waiting' WHERE id = $1 AND attempt = $2"
        " AND state = 'running'",
        job.id,
        job.attempt,
    )


async def finish(
    session: Session,
    job: Job,
    state: State,
    *,
    result: dict[str, Any] | None = None,
    problem: dict[str, Any] | None = None,
) -> bool:
    """End a running job; False if another worker has taken it up, if it is gone, or if it was
    cancelled and is to succeed. Only the files of a success are kept."""
    status = await session.execute(
        "WITH ended AS (UPDATE listo.jobs SET state = $3, result = $4, problem = $5,"
        " finished_at = clock_timestamp() WHERE id = $1 AND attempt = $2 AND state = 'running'"
        " AND NOT (cancel_requested AND $3 = 'succeeded') RETURNING id),"
        " gone AS (DELETE FROM listo.job_files WHERE job IN (SELECT id FROM ended)"
        " AND ($3 <> 'succeeded' OR name = 'input')) SELECT FROM ended",
        job.id,
        job.attempt,
        state,
        None if result is None else _dumped(result),
        None if problem is None else _dumped(problem),
    )
    return bool(affected(status))


async def cancel(session: Session, id_: UUID) -> Job | None:
    """Cancel a job that waits, and ask for the end of one that runs; None if it has ended."""
    row = await session.fetchrow(
        "WITH gone AS (DELETE FROM listo.job_files AS f USING listo.jobs AS j"
        " WHERE j.id = $1 AND f.job = j.id AND j.state = 'waiting')"
        " UPDATE listo.jobs SET cancel_requested = true,"
        " state = CASE state WHEN 'waiting' THEN 'cancelled' ELSE state END,"
        " finished_at = CASE state WHEN 'waiting' THEN now() END"
        f" WHERE id = $1 AND finished_at IS NULL RETURNING {_COLUMNS}",
        id_,
    )
    return None if row is None else _job(row)


async def set_result(session: Session, job: Job) -> None:
    await session.execute(
        "UPDATE listo.jobs SET result = $2 WHERE id = $1", job.id, _dumped(job.result or {})
    )


async def lock_succeeded(session: Session, id_: UUID) -> bool:
    """Lock the job until the transaction ends; returns whether it has succeeded, and still is."""
    state = await session.fetchval("SELECT state FROM listo.jobs WHERE id = $1 FOR UPDATE", id_)
    return bool(state == "succeeded")


async def set_undone(session: Session, id_: UUID, result: dict[str, Any]) -> None:
    await session.execute(
        "UPDATE listo.jobs SET state = 'undone', result = result || $2 WHERE id = $1",
        id_,
        _dumped(result),
    )


async def remove(session: Session, id_: UUID) -> None:
    await session.execute("DELETE FROM listo.jobs WHERE id = $1", id_)


async def purge(session: Session, kept: timedelta, limit: int) -> int:
    """Forget up to `limit` jobs that ended longer ago, with their files."""
    status = await session.execute(
        "DELETE FROM listo.jobs WHERE id IN (SELECT id FROM listo.jobs"
        " WHERE finished_at < now() - $1::interval"
        f" OR (state = 'receiving' AND created_at < now() - interval '{_RECEIVING}') LIMIT $2)",
        kept,
        limit,
    )
    return affected(status)


async def purge_changes(session: Session, limit: int) -> int:
    """Forget up to `limit` changes of imports that are forgotten themselves."""
    status = await session.execute(
        "DELETE FROM listo.import_changes WHERE ctid = ANY(ARRAY(SELECT c.ctid"
        " FROM listo.import_changes AS c WHERE NOT EXISTS"
        " (SELECT FROM listo.jobs WHERE jobs.id = c.job) LIMIT $1))",
        limit,
    )
    return affected(status)


def _dumped(value: dict[str, Any]) -> str:
    return orjson.dumps(value).decode()


def _job(row: Record) -> Job:
    values = {field.name: row[field.name] for field in fields(Job)}
    for name in _JSON:
        values[name] = None if values[name] is None else orjson.loads(values[name])
    return Job(**values)
