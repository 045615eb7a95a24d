"""A collection's JSON Schema (2020-12): checked when it is defined, compiled to check records."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NoReturn

import jsonschema_rs

from app.collections.errors import InvalidDefinition
from app.collections.json_schema.keywords import misplaced, unheeded
from app.collections.json_schema.validator import RecordValidator
from app.collections.json_schema.weights import Weights
from app.core.errors import FieldError
from app.core.json import pointer

if TYPE_CHECKING:
    from collections.abc import Iterator

DIALECT = "https://json-schema.org/draft/2020-12/schema"

# Compiling the largest schema takes some 0.3 s, and estimating its cost as long.
MAX_OBJECTS = 20_000
# Maximum evaluations of one value at one location; each layer of references can double them.
MAX_TIMES = 30_000
# Maximum chain of schemas for one value; for records of 64 levels, the stack fits twice as many.
MAX_LONGEST = 100
# Maximum states of all patterns, estimated from their text; these compile in some 0.2 s.
MAX_PATTERNS = 500_000


def wrong(at: str, message: str, code: str) -> NoReturn:
    """Raises InvalidDefinition with a single error at the JSON Pointer `at`."""
    raise InvalidDefinition(errors=[FieldError(at, message, code)])


def check_schema(schema: Any) -> None:
    """Raises InvalidDefinition unless `schema` can be the schema of records."""
    if not isinstance(schema, dict):
        wrong("/schema", "must be a JSON Schema object", "invalid_schema")
    if str(schema.get("$schema", DIALECT)).rstrip("#") != DIALECT:
        wrong("/schema/$schema", f"must be {DIALECT}", "unsupported_dialect")
    if "object" not in _as_list(schema.get("type", "object")):
        wrong("/schema/type", "must be object: a record is one", "invalid_schema")
    for at, reference in _references(schema, "/schema"):
        if not reference.startswith("#"):
            wrong(at, "must refer into this schema (#…)", "remote_reference")
    _check_cost(schema)
    try:
        RecordValidator(schema)
    except jsonschema_rs.ValidationError as error:
        message = error.message.partition("\n")[0]
        wrong("/schema" + pointer(*error.instance_path), message, "invalid_schema")
    except (ValueError, jsonschema_rs.ReferencingError) as error:
        wrong("/schema", str(error).partition("\n")[0], "invalid_schema")
    for at, message, code in misplaced(schema):
        wrong("/schema" + at, message, code)
    for at, keyword in unheeded(schema):
        wrong("/schema" + at, f"{keyword} is for a record's own fields", "unheeded_keyword")


def _check_cost(schema: dict[str, Any]) -> None:
    """Called before the schema is compiled: compiling can cost as much as checking a value."""
    if _objects(schema) > MAX_OBJECTS:
        wrong("/schema", f"has more than {MAX_OBJECTS:,} objects", "schema_too_costly")
    weights = Weights(schema)
    if weights.loops:
        wrong("/schema", "refers to itself for the same value, without end", "invalid_schema")
    if weights.longest_chain > MAX_LONGEST:
        message = f"has more than {MAX_LONGEST} schemas upon one another for the same value"
        wrong("/schema", message, "schema_too_costly")
    if weights.evaluations > MAX_TIMES:
        message = f"would look at one value more than {MAX_TIMES:,} times"
        wrong("/schema", message, "schema_too_costly")
    if weights.patterns > MAX_PATTERNS:
        message = f"has patterns of more than {MAX_PATTERNS:,} characters, repetitions written out"
        wrong("/schema", message, "schema_too_costly")


def _objects(schema: Any) -> int:
    count, waiting = 0, [schema]
    while waiting and count <= MAX_OBJECTS:
        each = waiting.pop()
        count += isinstance(each, dict)
        if isinstance(each, dict | list):
            waiting += each.values() if isinstance(each, dict) else each
    return count


def _references(schema: Any, at: str) -> Iterator[tuple[str, str]]:
    if isinstance(schema, dict):
        for key, value in schema.items():
            if key in ("const", "enum", "default", "examples"):
                continue
            if key in ("$ref", "$dynamicRef") and isinstance(value, str):
                yield at + pointer(key), value
            yield from _references(value, at + pointer(key))
    elif isinstance(schema, list):
        for index, item in enumerate(schema):
            yield from _references(item, at + pointer(index))


def _as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]
