"""Jobs in answers."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any
from uuid import UUID

from pydantic import BaseModel, Field

from app.http.plain import Answer
from app.jobs.models import KEPT, Job, Kind, State

if TYPE_CHECKING:
    from collections.abc import Mapping


class JobOut(BaseModel):
    id: UUID
    kind: Kind
    collection: str
    state: State
    progress: Annotated[
        dict[str, Any],
        Field(description="Records and bytes until now, and the bytes of all where known."),
    ]
    result: Annotated[dict[str, Any] | None, Field(description="Once it has succeeded.")]
    problem: Annotated[dict[str, Any] | None, Field(description="Why it has failed.")]
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    expires_at: Annotated[
        datetime | None, Field(description="When the job and its files are forgotten.")
    ]

    @classmethod
    def from_job(cls, job: Job) -> JobOut:
        return cls(
            id=job.id,
            kind=job.kind,
            collection=job.collection,
            state=job.state,
            progress=job.progress,
            result=job.result,
            problem=job.problem,
            created_at=job.created_at,
            started_at=job.started_at,
            finished_at=job.finished_at,
            expires_at=None if job.finished_at is None else job.finished_at + KEPT,
        )


class JobsOut(BaseModel):
    items: list[JobOut]
    next: str | None


def accepted(job: Job, fields: Mapping[str, str] | None = None) -> Answer:
    """The answer for a job that was begun (RFC 9110, section 15.3.3)."""
    location = {"Location": f"/jobs/{job.id}"}
    return Answer(JobOut.from_job(job).model_dump_json(), 202, {**location, **(fields or {})})
