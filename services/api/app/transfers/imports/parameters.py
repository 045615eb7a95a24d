"""The parameters of an import, from the URL's query and the media type."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import orjson

from app.core.errors import InvalidParameter, UnsupportedMediaType
from app.filters.query import parse_query

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

FORMATS = ("ndjson", "csv")
CHOICES: dict[str, Sequence[str]] = {
    "format": FORMATS,
    "mode": ("insert", "upsert", "replace"),
    "on_error": ("abort", "skip"),
    "dry_run": ("false", "true"),
    "formulas": ("escaped", "raw"),
    "system_fields": ("ignore", "keep"),
}
NAMES = (*CHOICES, "key", "columns")
_MEDIA_TYPES = {
    "application/octet-stream": "ndjson",
    "application/x-ndjson": "ndjson",
    "application/ndjson": "ndjson",
    "application/jsonl": "ndjson",
    "application/json-lines": "ndjson",
    "text/csv": "csv",
}


@dataclass(frozen=True, slots=True)
class Parameters:
    """`key` has the fields of a unique index, or `id`. `columns` has the field of each column of a
    CSV file that is named otherwise, None for a column to leave out."""

    format: str = "ndjson"
    mode: str = "insert"
    key: str = "id"
    skip: bool = False
    dry_run: bool = False
    raw_formulas: bool = False
    keep_system_fields: bool = False
    columns: Mapping[str, str | None] = field(default_factory=dict)

    @property
    def aborts(self) -> bool:
        """Whether a refused line keeps all others out."""
        return not self.skip and not self.dry_run


def parse(query_string: bytes, content_type: str | None) -> Parameters:
    """Raises InvalidParameter (400), and UnsupportedMediaType (415) where neither tells the
    format."""
    given = parse_query(query_string, NAMES)
    for name, choices in CHOICES.items():
        if name in given and given[name] not in choices:
            raise InvalidParameter(f"{name} must be one of {', '.join(choices)}.")
    parameters = Parameters(
        format=given.get("format") or _format(content_type),
        mode=given.get("mode", "insert"),
        key=given.get("key", "id"),
        skip=given.get("on_error") == "skip",
        dry_run=given.get("dry_run") == "true",
        raw_formulas=given.get("formulas") == "raw",
        keep_system_fields=given.get("system_fields") == "keep",
        columns=_columns(given["columns"]) if "columns" in given else {},
    )
    _check_together(parameters, given)
    return parameters


def _check_together(parameters: Parameters, given: Mapping[str, str]) -> None:
    if "key" in given and parameters.mode == "insert":
        raise InvalidParameter("key is for the modes upsert and replace.")
    if parameters.keep_system_fields and parameters.mode != "insert":
        raise InvalidParameter("system_fields=keep is for the mode insert.")
    for name in ("columns", "formulas"):
        if name in given and parameters.format != "csv":
            raise InvalidParameter(f"{name} is for the format csv.")


def _format(content_type: str | None) -> str:
    media_type = (content_type or "").partition(";")[0].strip().lower()
    if media_type in _MEDIA_TYPES:
        return _MEDIA_TYPES[media_type]
    raise UnsupportedMediaType(
        "Send NDJSON as application/x-ndjson or CSV as text/csv, or name the format in the URL."
    )


def _columns(text: str) -> dict[str, str | None]:
    try:
        columns: Any = orjson.loads(text)
    except ValueError:
        columns = None
    if not isinstance(columns, dict) or not all(
        value is None or (isinstance(value, str) and value) for value in columns.values()
    ):
        raise InvalidParameter(
            'columns must be a JSON object such as {"Title":"title","Notes":null}.'
        )
    return columns
