"""The problems of exports."""

from __future__ import annotations

from app.core.errors import Problem, ServiceUnavailable

RETRY_AFTER = 10


class ExportInProgress(Problem):
    """An export of yours is in work, and a caller has one at a time."""

    status, code, title = 429, "export_in_progress", "Too many requests"

    def __init__(self) -> None:
        super().__init__(headers={"Retry-After": str(RETRY_AFTER)})


class RecordsTooLarge(ServiceUnavailable):
    """The collection has records so large that the server's memory is too small to export them."""

    code = "records_too_large"
