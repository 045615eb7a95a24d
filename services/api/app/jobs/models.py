"""The model of a job."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from datetime import datetime
    from uuid import UUID

Kind = Literal["import", "export"]
State = Literal["receiving", "waiting", "running", "succeeded", "failed", "cancelled", "undone"]
# The names of a job's files.
FileName = Literal["input", "result", "rejects"]

# How long a job is kept once it has ended, with its files.
KEPT = timedelta(hours=24)


@dataclass(frozen=True, slots=True)
class Job:
    """Long work on one collection, for one user."""

    id: UUID
    kind: Kind
    collection: str
    collection_id: UUID
    user_id: UUID | None
    api_key_id: UUID | None
    parameters: dict[str, Any]
    state: State
    attempt: int
    # How many workers were gone, or hung, while they did the job.
    lost: int
    cancel_requested: bool
    progress: dict[str, Any]
    result: dict[str, Any] | None
    problem: dict[str, Any] | None
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
