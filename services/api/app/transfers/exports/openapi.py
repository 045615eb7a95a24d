"""The path of a collection's export in the OpenAPI document."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from app.http.openapi import problems
from app.ratelimit import costs
from app.records.openapi.components import identifier, reference
from app.records.openapi.paths import LIST_PARAMETERS, parameter
from app.transfers.exports.parameters import CHOICES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from app.collections.models import Collection
    from app.core.actor import Actor

# The answer for a job that was begun.
ACCEPTED: dict[str, Any] = {
    "description": "The job, which waits for a worker",
    "headers": {"Location": {"schema": {"type": "string"}, "description": "Where the job is."}},
    "content": {"application/json": {"schema": {"$ref": "#/components/schemas/JobOut"}}},
}
_TEXT = {"schema": {"type": "string"}}


def _choice(name: str, description: str) -> dict[str, Any]:
    choices: Sequence[str] = CHOICES[name]
    return parameter(name, {"type": "string", "enum": list(choices)}, description)


_AS_IN_LISTS = [each for each in LIST_PARAMETERS if each["name"] in ("filter", "sort", "fields")]
_PARAMETERS = [
    _choice("format", "`ndjson` where it is not given."),
    *_AS_IN_LISTS,
    _choice("formulas", "`raw`: texts of a CSV file that spreadsheets would run stay as they are."),
    _choice("trailer", "`true`: the last line of NDJSON has the number of records and a digest."),
]


def paths_of(collection: Collection, actor: Actor) -> dict[str, Any]:
    """The paths of exports, if the caller may try them."""
    if not actor.is_admin and collection.rules["list"] is False:
        return {}
    records = {"type": "array", "items": reference(collection.name, "record")}
    operation = {
        "operationId": f"export_{identifier(collection.name)}_records",
        "summary": "Export all records",
        "description": f"As they are at one moment. Counts for {costs.EXPORT} requests, and more "
        "if it takes PostgreSQL long.",
        "tags": [collection.name],
        "parameters": _PARAMETERS,
        "responses": {
            "200": {
                "description": "The records",
                "content": {
                    "application/x-ndjson": _TEXT,
                    "text/csv": _TEXT,
                    "application/json": {"schema": records},
                },
            },
            **{str(status): response for status, response in problems(403, 404).items()},
        },
    }
    later = {
        "operationId": f"begin_export_{identifier(collection.name)}_records",
        "summary": "Export all records as a job",
        "description": "A worker writes the file, which is kept for a day: `/jobs/{id}/result`.",
        "tags": [collection.name],
        "parameters": [*_PARAMETERS, _choice("compression", "Of the file; `none` by default.")],
        "responses": {
            "202": ACCEPTED,
            **{str(status): each for status, each in problems(401, 403, 404, 429).items()},
        },
    }
    return {
        f"/collections/{collection.name}/export": {"get": operation},
        f"/collections/{collection.name}/exports": {"post": later},
    }
