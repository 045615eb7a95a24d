"""The places for long work, which exports and imports share."""

from __future__ import annotations

from typing import TYPE_CHECKING

from app.core.errors import Overloaded, Problem

if TYPE_CHECKING:
    from app.db.pool.long import LongPool

_RETRY_AFTER = 10


class InProgress(Problem):
    """An export or import of yours is in work, and a caller has one at a time."""

    status, title = 429, "Too many requests"

    def __init__(self) -> None:
        super().__init__(headers={"Retry-After": str(_RETRY_AFTER)})


class ExportInProgress(InProgress):
    """An export or import of yours is in work, and a caller has one at a time."""

    code = "export_in_progress"


class ImportInProgress(InProgress):
    """An import or export of yours is in work, and a caller has one at a time."""

    code = "import_in_progress"


def require_place(pool: LongPool, in_progress: type[InProgress]) -> None:
    """Raises `in_progress` (429) where the caller has a place, and Overloaded (503) where all are
    taken."""
    if not pool.has_place():
        if pool.is_taken_by_caller():
            raise in_progress
        raise Overloaded("All places for exports and imports are taken.", retry_after=_RETRY_AFTER)
