"""A collection's JSON Schema (2020-12): checked when it is defined, compiled to check records."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Any, NoReturn

import jsonschema_rs

from app.collections.errors import InvalidDefinition
from app.core.errors import FieldError
from app.core.json import pointer
from app.filters.fields import did_you_mean
from app.filters.formats import CHECKS
from app.filters.paths import SYSTEM_TYPES

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

RESERVED = tuple(SYSTEM_TYPES)
DIALECT = "https://json-schema.org/draft/2020-12/schema"

# Linear-time matching only: a pattern must not be a way to stop the server.
_PATTERNS = jsonschema_rs.RegexOptions(size_limit=1 << 20, dfa_size_limit=1 << 21)
_AT_MOST = 20
# Faults are made all at once, each with a copy of its value: megabytes of them stop the server.
_EXPLAINED_IN_FULL = 16_384
# The one fault of these holds those of every branch, or all that is too much.
_WIDE = ("anyOf", "oneOf", "unevaluatedItems", "unevaluatedProperties")
# That of closed properties names all that are too many, which is little in smaller values.
_NAMED = 4096
_TOO_MANY = (
    jsonschema_rs.ValidationErrorKind.AdditionalProperties,
    jsonschema_rs.ValidationErrorKind.UnevaluatedProperties,
)


class RecordValidator:
    """Checks records against a schema. `format` is asserted, not only noted."""

    def __init__(self, schema: dict[str, Any]) -> None:
        self._schema = schema
        parts = list(_parts(schema))
        self._wide = any(keyword in part for part in parts for keyword in _WIDE)
        self._closed = any(part.get("additionalProperties") is False for part in parts)
        self._validator = jsonschema_rs.Draft202012Validator(
            schema,
            validate_formats=True,
            formats=CHECKS,
            pattern_options=_PATTERNS,
            retriever=_refuse,
        )

    def errors(self, data: dict[str, Any]) -> list[FieldError]:
        """What is wrong with `data`, empty if nothing is.

        At most 20 faults; of a value above 16 KiB the first one, or only that there is one where
        the schema has `anyOf`, `oneOf` or `unevaluated…`, or closed properties for many members.
        """
        if self._validator.is_valid(data):
            return []
        if _size(data, _EXPLAINED_IN_FULL) <= _EXPLAINED_IN_FULL:
            faults = islice(self._validator.iter_errors(data), _AT_MOST)
            return [self._field_error(fault) for fault in faults]
        if self._wide or (self._closed and _count(data, _NAMED) > _NAMED):
            message = "does not match the schema; it is too large to say where"
            return [FieldError("", message, "schema")]
        try:
            self._validator.validate(data)
        except jsonschema_rs.ValidationError as error:
            return [self._field_error(error)]
        return []

    def _field_error(self, error: jsonschema_rs.ValidationError) -> FieldError:
        keyword = str(error.schema_path[-1]) if error.schema_path else "false"
        path = list(error.instance_path)
        kind, hint = error.kind, ""
        if isinstance(kind, jsonschema_rs.ValidationErrorKind.Required):
            # The fault is at the member that is missing, not at the object it is missing from.
            path.append(str(kind.property).strip('"'))
        elif isinstance(kind, _TOO_MANY) and kind.unexpected:
            path.append(str(kind.unexpected[0]))
            hint = did_you_mean(kind.unexpected[0], self._declared(error.schema_path[:-1]))
        message = error.message if len(error.message) <= 300 else error.message[:299] + "…"  # noqa: PLR2004
        return FieldError(pointer(*path), message + hint, keyword)

    def _declared(self, path: Sequence[str | int]) -> Iterable[str]:
        """The members that the part of the schema at `path` declares."""
        part: Any = self._schema
        try:
            for step in path:
                part = part[step]
            return [*part["properties"]]
        except (KeyError, IndexError, TypeError):
            return []


def wrong(at: str, message: str, code: str) -> NoReturn:
    """Raises InvalidDefinition with the one fault at the JSON Pointer `at`."""
    raise InvalidDefinition(errors=[FieldError(at, message, code)])


def check_schema(schema: Any) -> None:
    """Raises InvalidDefinition unless `schema` is one that records can have."""
    if not isinstance(schema, dict):
        wrong("/schema", "must be a JSON Schema object", "invalid_schema")
    if str(schema.get("$schema", DIALECT)).rstrip("#") != DIALECT:
        wrong("/schema/$schema", f"must be {DIALECT}", "unsupported_dialect")
    if "object" not in _as_list(schema.get("type", "object")):
        wrong("/schema/type", "must be object: a record is one", "invalid_schema")
    for at, reference in _references(schema, "/schema"):
        if not reference.startswith("#"):
            wrong(at, "must refer into this schema (#…)", "remote_reference")
    try:
        RecordValidator(schema)
    except jsonschema_rs.ValidationError as error:
        message = error.message.partition("\n")[0]
        wrong("/schema" + pointer(*error.instance_path), message, "invalid_schema")
    except (ValueError, jsonschema_rs.ReferencingError) as error:
        wrong("/schema", str(error).partition("\n")[0], "invalid_schema")
    for name in RESERVED:
        if name in schema.get("properties", {}):
            wrong("/schema" + pointer("properties", name), "is a reserved name", "reserved_name")


def _size(value: Any, enough: int) -> int:
    """About how long `value` is as JSON; counting ends once it is more than `enough`."""
    size, waiting = 0, [value]
    while waiting and size <= enough:
        each = waiting.pop()
        size += 2
        if isinstance(each, str):
            size += len(each)
        elif isinstance(each, dict):
            size += sum(map(len, each))
            waiting += each.values()
        elif isinstance(each, list):
            waiting += each
        elif isinstance(each, int):
            size += each.bit_length() // 3
    return size


def _count(value: Any, enough: int) -> int:
    """How many values there are within `value`; counting ends once they are more than `enough`."""
    count, waiting = 0, [value]
    while waiting and count <= enough:
        each = waiting.pop()
        if isinstance(each, dict | list):
            count += len(each)
            waiting += each.values() if isinstance(each, dict) else each
    return count


def _parts(schema: Any) -> Iterator[dict[str, Any]]:
    """All objects within the schema, be they schemas or not."""
    if isinstance(schema, dict):
        yield schema
        schema = list(schema.values())
    if isinstance(schema, list):
        for each in schema:
            yield from _parts(each)


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


def _refuse(uri: str) -> NoReturn:
    raise ValueError(f"{uri} is not part of this schema")


def _as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]
