"""The path of a collection's search in the OpenAPI document."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from app.filters import sort
from app.http.openapi import problems
from app.ratelimit import costs
from app.records.openapi.components import identifier, reference
from app.records.openapi.paths import LIST_PARAMETERS, parameter
from app.records.search.facets import MAX_FACETS, MAX_VALUES
from app.records.search.parameters import DEFAULT_LIMIT, MAX_LIMIT, MAX_QUERY

if TYPE_CHECKING:
    from app.collections.models import Collection
    from app.core.actor import Actor

_FLAG = {"type": "string", "enum": ["false", "true"]}
_AS_IN_LISTS = {each["name"]: each for each in LIST_PARAMETERS}
_PARAMETERS = [
    parameter(
        "q",
        {"type": "string", "maxLength": MAX_QUERY},
        'Words, "phrases", -excluded ones, and OR between alternatives.',
    ),
    _AS_IN_LISTS["filter"],
    parameter(
        "facets",
        {"type": "string", "maxLength": sort.MAX_LENGTH},
        f"Up to {MAX_FACETS} fields whose {MAX_VALUES} most frequent values are counted. Counts "
        f"for {costs.EXACT_COUNT} requests.",
    ),
    parameter(
        "limit",
        {"type": "integer", "minimum": 1, "maximum": MAX_LIMIT},
        f"Items, {DEFAULT_LIMIT} where it is not given.",
    ),
    parameter("cursor", {"type": "string"}, "next of another page of the same search."),
    parameter("prefix", _FLAG, "`true`: the last word is only begun."),
    _AS_IN_LISTS["count"],
    parameter("explain", _FLAG, "`true`: how the answer came about; for admins."),
]
_HIGHLIGHTS = {
    "type": "object",
    "description": "Fragments by field.",
    "additionalProperties": {
        "type": "array",
        "items": {
            "type": "object",
            "required": ["text", "offsets"],
            "properties": {
                "text": {"type": "string", "description": "HTML with `<mark>`, else escaped."},
                "offsets": {
                    "type": "array",
                    "description": "Pairs of code points within the field's text.",
                    "items": {"type": "array", "items": {"type": "integer"}},
                },
                "index": {"type": "integer", "description": "The place of the text in a list."},
            },
        },
    },
}
_FACETS = {
    "type": "object",
    "additionalProperties": {
        "type": "array",
        "items": {
            "type": "object",
            "required": ["value", "count"],
            "properties": {"value": {}, "count": {"type": "integer"}},
        },
    },
}


def paths_of(collection: Collection, actor: Actor) -> dict[str, Any]:
    """The path of the search, if there is one that the caller may try."""
    refused = not actor.is_admin and collection.rules["list"] is False
    if refused or collection.search_index is None:
        return {}
    item = {
        "allOf": [
            reference(collection.name, "item"),
            {
                "type": "object",
                "required": ["_rank", "_highlights"],
                "properties": {"_rank": {"type": "number"}, "_highlights": _HIGHLIGHTS},
            },
        ]
    }
    page = {
        "type": "object",
        "required": ["items", "facets", "next", "approximate"],
        "properties": {
            "items": {"type": "array", "items": item},
            "facets": _FACETS,
            "next": {"type": ["string", "null"]},
            "approximate": {
                "type": "boolean",
                "description": "Whether more records match than were ranked.",
            },
            "did_you_mean": {"type": "string", "description": "The text that was looked for."},
            "total": {"type": "integer"},
            "explain": {"type": "object", "additionalProperties": True},
        },
    }
    operation = {
        "operationId": f"search_{identifier(collection.name)}_records",
        "summary": "Search records",
        "description": "The records that match, the best first.",
        "tags": [collection.name],
        "parameters": _PARAMETERS,
        "responses": {
            "200": {
                "description": "A page",
                "content": {"application/json": {"schema": page}},
            },
            **{str(status): response for status, response in problems(403, 404, 409).items()},
        },
    }
    return {f"/collections/{collection.name}/search": {"get": operation}}
