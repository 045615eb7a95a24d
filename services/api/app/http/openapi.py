"""Parts of the OpenAPI document that routes share."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from app.http.problem import MEDIA_TYPE

PROBLEM_SCHEMA: dict[str, Any] = {
    "type": "object",
    "title": "Problem",
    "description": "Problem details, RFC 9457.",
    "required": ["type", "title", "status", "detail", "code", "request_id"],
    "properties": {
        "type": {"type": "string", "format": "uri"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "code": {"type": "string", "description": "Stable, for programs to decide by."},
        "request_id": {"type": ["string", "null"]},
        "violated-policies": {
            "type": "array",
            "items": {"type": "string"},
            "description": "Of 429: the limits that are used up.",
        },
        "errors": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["pointer", "message", "code"],
                "properties": {
                    "pointer": {"type": "string", "description": "JSON Pointer, RFC 6901."},
                    "message": {"type": "string"},
                    "code": {"type": "string"},
                    "parameter": {"type": "string"},
                },
            },
        },
    },
}

SECURITY_SCHEMES: dict[str, Any] = {
    "accessToken": {
        "type": "http",
        "scheme": "bearer",
        "bearerFormat": "JWT",
        "description": "The access_token of POST /auth/login.",
    },
    "apiKey": {
        "type": "http",
        "scheme": "bearer",
        "description": "An API key (lk_…) of POST /auth/api-keys.",
    },
}

# For a route that any client may call.
PUBLIC: dict[str, Any] = {"security": []}

# The statuses that any operation may answer with.
ALWAYS = (400, 401, 413, 414, 429, 431, 500, 503)


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """`responses` of a route: these problems, and those that every route has."""
    return {
        status: {
            "description": HTTPStatus(status).phrase,
            "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
        }
        for status in sorted({*statuses, *ALWAYS})
    }


# The description of `If-None-Match` with PUT.
ONLY_CREATE = "`*`: create only; 412 if the resource exists already."


def precondition(
    name: str, description: str = 'An `ETag` as it was answered, `"1"` for example.'
) -> dict[str, Any]:
    """The header parameter `If-Match` or `If-None-Match`."""
    # No example, since the page that shows the document would send the example.
    return {
        "name": name, "in": "header", "description": description, "schema": {"type": "string"},
    }  # fmt: skip
