"""Jobs as their users see them: their own; admins see all."""

from __future__ import annotations

from typing import TYPE_CHECKING

from app.collections.errors import CollectionNotFound
from app.core.actor import Scope
from app.core.clock import utcnow
from app.core.errors import Forbidden, Unauthorized
from app.core.ids import uuid7
from app.jobs import repository
from app.jobs.errors import JobEnded, JobNotFound, TooManyJobs
from app.jobs.models import Job

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any
    from uuid import UUID

    from app.collections.models import Collection
    from app.core.actor import Actor
    from app.db.session import Session
    from app.jobs.models import Kind, State

# Jobs of one user that wait or run, and the bytes of all files of the user's jobs.
MOST_JOBS = 5
MOST_BYTES = 8 << 30


def new(
    actor: Actor,
    kind: Kind,
    collection: Collection,
    parameters: dict[str, Any],
    state: State,
    result: dict[str, Any] | None = None,
) -> Job:
    """A job of the caller, which is not stored yet."""
    return Job(
        uuid7(), kind, collection.name, collection.id, actor.id, actor.api_key_id, parameters,
        state, 0, 0, False, {}, result, None, utcnow(), None, None,
    )  # fmt: skip


async def add(session: Session, job: Job) -> None:
    """Store a job of the caller.

    Raises Unauthorized for an anonymous caller, and TooManyJobs (429).
    """
    if job.user_id is None:
        raise Unauthorized
    async with session.atomic() as transaction:
        if not await repository.has_room(transaction, job.user_id, MOST_JOBS, MOST_BYTES):
            raise TooManyJobs
        await repository.insert(transaction, job)


async def get(session: Session, actor: Actor, id_: UUID) -> Job:
    """Raises JobNotFound."""
    job = await repository.find(session, id_)
    if job is None or not _is_visible(job, actor):
        raise JobNotFound
    return job


async def get_all(
    session: Session, actor: Actor, *, before: UUID | None, limit: int
) -> Sequence[Job]:
    """The caller's jobs, newest first; an admin's are all. Raises Unauthorized."""
    if actor.is_anonymous:
        raise Unauthorized
    if not actor.has_scope(Scope.RECORDS_READ):
        return []
    user = None if actor.is_admin else actor.id
    return await repository.get_all(session, user, actor.collections, before=before, limit=limit)


async def cancel(session: Session, actor: Actor, id_: UUID) -> Job:
    """End a job; one that runs ends within seconds. Raises JobNotFound, JobEnded (409), and
    Forbidden for an API key that may not write."""
    await get(session, actor, id_)
    if not actor.has_scope(Scope.RECORDS_WRITE):
        raise Forbidden(f"The API key lacks the scope {Scope.RECORDS_WRITE}.")
    job = await repository.cancel(session, id_)
    if job is None:
        raise JobEnded
    return job


def require_same(job: Job, collection: Collection) -> Collection:
    """The collection that has the name of the job's. Raises CollectionNotFound if it was made
    anew."""
    if collection.id != job.collection_id:
        raise CollectionNotFound
    return collection


def _is_visible(job: Job, actor: Actor) -> bool:
    if actor.is_anonymous or not actor.reaches(job.collection):
        return False
    if not actor.has_scope(Scope.RECORDS_READ):
        return False
    return actor.is_admin or job.user_id == actor.id
