"""The problems of a filter, a sort or a cursor: all 400, with the position where known."""

from __future__ import annotations

from app.core.errors import BadRequest


class FilterError(BadRequest):
    """The filter is not an expression of the filter language."""

    code = "invalid_filter"

    def __init__(self, detail: str | None = None, *, position: int | None = None) -> None:
        self.position = position
        if position is None:
            super().__init__(detail)
        else:
            super().__init__(detail, position=position)


class InvalidSort(FilterError):
    """The sort is not a list of fields like -created_at,title."""

    code = "invalid_sort"


class UnknownField(FilterError):
    """The collection's schema has no such field."""

    code = "unknown_field"


class InvalidCursor(BadRequest):
    """The cursor is not one that this list gave to this caller for this filter and sort."""

    code = "invalid_cursor"
