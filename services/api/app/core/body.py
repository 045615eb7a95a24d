"""Request bodies, read strictly: the media type, the JSON, and the model behind it."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Any, TypeVar

from fastapi import Depends, Request
from pydantic import BaseModel, ValidationError

from app.core import json
from app.core.errors import (
    ContentTooLarge,
    FieldError,
    InvalidJson,
    UnsupportedMediaType,
    ValidationFailed,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

Model = TypeVar("Model", bound=BaseModel)

# Many times what the forms take that anybody may send.
MAX_FORM_BYTES = 65_536
# A fault is told in many times the bytes of the member that it is about.
_AT_MOST = 20


async def read_body(request: Request, *media_types: str) -> bytes:
    """The body. Raises UnsupportedMediaType, and InvalidJson for none at all."""
    given = request.headers.get("content-type")
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
    """A dependency that gives the body as `model`; one that is larger is not even parsed.

    Not the framework's own way, since that one takes duplicate keys, NaN and lone surrogates. The
    model is still described in the OpenAPI document, see `request_body`.
    """

    async def parsed(request: Request) -> Model:
        body = await read_body(request)
        if at_most is not None and len(body) > at_most:
            raise ContentTooLarge(f"The body is larger than the {at_most} bytes that this takes.")
        value = json.parse(body)
        _check_members(model, value)
        try:
            return model.model_validate(value)
        except ValidationError as error:
            raise invalid(error) from None

    return Depends(parsed)


def invalid(error: ValidationError) -> ValidationFailed:
    """The problem that says what is wrong with the members of a body, with at most 20 faults."""
    faults = error.errors(include_url=False, include_input=False, include_context=False)
    return _not_taken(
        FieldError(
            json.pointer(*fault["loc"]), fault["msg"].removeprefix("Value error, "), fault["type"]
        )
        for fault in faults
    )


def _not_taken(faults: Iterable[FieldError]) -> ValidationFailed:
    return ValidationFailed(
        "The body is not what this operation takes.", errors=list(islice(faults, _AT_MOST))
    )


def _check_members(model: type[BaseModel], value: Any) -> None:
    """Refuse what has more members than there are, without looking at each of thousands."""
    if not isinstance(value, dict) or len(value) <= len(model.model_fields):
        return
    known = {field.alias or name for name, field in model.model_fields.items()}
    raise _not_taken(
        FieldError(json.pointer(name), "Extra inputs are not permitted", "extra_forbidden")
        for name in value
        if name not in known
    )


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
