"""Reads request bodies strictly: the media type, the JSON and the model."""

from __future__ import annotations

from typing import Any, TypeVar

from fastapi import Depends, Request
from pydantic import BaseModel, ValidationError

from app.core import json
from app.core.context import context_of
from app.core.errors import (
    ContentTooLarge,
    InvalidJson,
    UnsupportedMediaType,
)
from app.http.members import check_members, validation_problem

Model = TypeVar("Model", bound=BaseModel)

# Many times the size of a form, which any client may send.
MAX_FORM_BYTES = 65_536


async def read_body(request: Request, *media_types: str) -> bytes:
    """The body. Raises UnsupportedMediaType, and InvalidJson for an empty body."""
    given = context_of(request.scope).field(b"content-type")
    if given is not None:
        media_type = given.partition(";")[0].strip().lower()
        allowed = media_types or ("application/json",)
        if media_type not in allowed:
            raise UnsupportedMediaType(f"Send the body as {' or '.join(allowed)}.")
    body = await request.body()
    if not body:
        raise InvalidJson("The body is empty, JSON is expected.")
    return body


def body_of(model: type[Model], *, at_most: int | None = MAX_FORM_BYTES) -> Any:
    """A dependency that gives the body as `model`; a body above `at_most` bytes is refused.

    The framework's own parser would accept duplicate keys, NaN and lone surrogates. The OpenAPI
    document still describes the model, see `request_body`.
    """

    async def parse(request: Request) -> Model:
        body = await read_body(request)
        if at_most is not None and len(body) > at_most:
            raise ContentTooLarge(f"The body is larger than the {at_most} bytes that this takes.")
        value = json.parse_strict(body)
        check_members(model, value)
        try:
            return model.model_validate(value)
        except ValidationError as error:
            raise validation_problem(error) from None

    return Depends(parse)


def request_body(model: type[BaseModel]) -> dict[str, Any]:
    """`openapi_extra` for a route whose body is read by `body_of(model)`."""
    schema = model.model_json_schema(ref_template="#/components/schemas/{model}")
    definitions = schema.pop("$defs", {})
    return {
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": _inline(schema, definitions)}},
        }
    }


def _inline(schema: Any, definitions: dict[str, Any]) -> Any:
    # The models of bodies are small; inlined, they need no entry among the components.
    if isinstance(schema, dict):
        if (reference := schema.get("$ref", "")).startswith("#/components/schemas/"):
            rest = {key: value for key, value in schema.items() if key != "$ref"}
            return _inline({**definitions[reference.rpartition("/")[2]], **rest}, definitions)
        return {key: _inline(value, definitions) for key, value in schema.items()}
    if isinstance(schema, list):
        return [_inline(item, definitions) for item in schema]
    return schema
