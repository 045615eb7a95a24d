"""The problems of jobs."""

from __future__ import annotations

from app.core.errors import Conflict, NotFound, Problem


class JobNotFound(NotFound):
    """There is no such job, or none that the caller may see; jobs are kept for a day."""

    code = "job_not_found"


class JobHasNoFile(NotFound):
    """The job has no such file, or has not finished it yet."""

    code = "job_file_not_found"


class JobEnded(Conflict):
    """The job has ended, so it cannot be cancelled."""

    code = "job_ended"


class TooManyJobs(Problem):
    """Too many jobs of yours wait or run; cancel one, or wait for its end."""

    status, code, title = 429, "too_many_jobs", "Too many requests"

    def __init__(self) -> None:
        super().__init__(headers={"Retry-After": "10"})
