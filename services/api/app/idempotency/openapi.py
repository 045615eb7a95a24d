"""The Idempotency-Key field in the OpenAPI document, on every operation that takes it."""

from __future__ import annotations

from typing import Any

from app.http.openapi import problems
from app.idempotency.keys import MAX_LENGTH
from app.idempotency.middleware import METHODS

_PARAMETER = {
    "name": "Idempotency-Key",
    "in": "header",
    "description": "Has the request carried out once, however often it is sent within 24 hours; "
    "see the guide. A new one for each request, a UUID for example.",
    "schema": {"type": "string", "minLength": 1, "maxLength": MAX_LENGTH},
}
_REPLAYED = {
    "Idempotency-Replayed": {
        "schema": {"const": "true"},
        "description": "This is what was answered when the request was carried out.",
    }
}


def describe(paths: dict[str, Any]) -> None:
    """Add the field, its problems and the mark of a replay to each operation."""
    for operations in paths.values():
        for method, operation in operations.items():
            if method.upper() in METHODS:
                _describe(operation)


def _describe(operation: dict[str, Any]) -> None:
    operation["parameters"] = [*operation.get("parameters", ()), _PARAMETER]
    responses = operation["responses"]
    for status, response in problems(409, 422).items():
        responses.setdefault(str(status), response)
    for status, response in responses.items():
        if str(status).startswith("2"):
            response["headers"] = {**response.get("headers", {}), **_REPLAYED}
