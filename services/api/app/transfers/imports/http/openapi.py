"""The path of a collection's import in the OpenAPI document."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from app.http.openapi import problems
from app.ratelimit import costs
from app.records.openapi.components import identifier
from app.records.openapi.paths import parameter
from app.transfers.exports.openapi import ACCEPTED
from app.transfers.imports.parameters import CHOICES

if TYPE_CHECKING:
    from app.collections.models import Collection
    from app.core.actor import Actor

_DESCRIPTIONS = {
    "format": "In place of the media type.",
    "mode": "`upsert` and `replace` change the records that have the `key` already.",
    "on_error": "`skip` leaves out the records that are refused, `abort` refuses the file.",
    "dry_run": "`true` tells what would be done, and does nothing.",
    "formulas": "As in exports of CSV.",
    "system_fields": "`keep` takes version, times and owner from the file; for admins.",
}
_PARAMETERS = [
    *(
        parameter(name, {"type": "string", "enum": list(choices)}, _DESCRIPTIONS[name])
        for name, choices in CHOICES.items()
    ),
    parameter("key", {"type": "string"}, "The fields of a unique index, or `id`."),
    parameter("columns", {"type": "string"}, "JSON: the field of each column, null to leave out."),
    {
        "name": "Prefer",
        "in": "header",
        "schema": {"type": "string", "enum": ["respond-async"]},
        "description": "Import as a job: the answer is 202.",
    },
]
_NUMBER = {"type": "integer", "minimum": 0}
_REPORT = {
    "type": "object",
    "required": ["read", "inserted", "updated", "unchanged", "refused", "errors"],
    "properties": {
        **dict.fromkeys(("read", "inserted", "updated", "unchanged", "refused"), _NUMBER),
        "errors": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {
                    "line": _NUMBER,
                    **{name: {"type": "string"} for name in ("pointer", "message", "code")},
                },
            },
        },
        "dry_run": {"type": "boolean"},
        "job": {"type": "string", "format": "uuid"},
        "rejects": {"type": "string"},
    },
}
_BINARY = {"type": "string", "format": "binary"}


def paths_of(collection: Collection, actor: Actor) -> dict[str, Any]:
    """The path of the import, if the caller may try it."""
    if not actor.is_admin and collection.rules["create"] is False:
        return {}
    operation = {
        "operationId": f"import_{identifier(collection.name)}_records",
        "summary": "Import a file of records",
        "description": f"All of the file or nothing. Counts for {costs.IMPORT} requests, and more "
        "if it takes PostgreSQL long.",
        "tags": [collection.name],
        "parameters": _PARAMETERS,
        "requestBody": {
            "required": True,
            # Generators of clients know neither NDJSON nor CSV.
            "content": {"application/octet-stream": {"schema": _BINARY}},
            "description": "NDJSON or CSV, as Content-Type or `format` tells.",
        },
        "responses": {
            "200": {
                "description": "The numbers of records",
                "content": {"application/json": {"schema": _REPORT}},
            },
            "202": ACCEPTED,
            **{
                str(status): each
                for status, each in problems(400, 403, 404, 409, 413, 415, 422, 429).items()
            },
        },
    }
    return {f"/collections/{collection.name}/import": {"post": operation}}
