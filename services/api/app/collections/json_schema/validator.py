"""Checks records against a collection's schema, and estimates the cost of a check beforehand."""

from __future__ import annotations

from functools import cached_property
from itertools import islice
from typing import TYPE_CHECKING, Any, NoReturn

import jsonschema_rs

from app.collections.json_schema import exact
from app.collections.json_schema.weights import BOUNDLESS, LEVELS, Weights
from app.core.errors import FieldError
from app.core.json import depth, long_numbers, pointer
from app.filters.fields import did_you_mean
from app.filters.formats import CHECKS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

# Matching takes linear time only: a pattern must not be a way to stop the server.
_PATTERNS = jsonschema_rs.RegexOptions(size_limit=1 << 20, dfa_size_limit=1 << 21)
_MOST_FAULTS = 20
# All errors are made together, each with a copy of its value: megabytes of copies stop the server.
_EXPLAINED_IN_FULL = 16_384
# A single error of these keywords contains the errors of every branch, or all unexpected members.
_WIDE = ("anyOf", "oneOf", "unevaluatedItems", "unevaluatedProperties")
# An `additionalProperties` error lists every unexpected member; this many members are still few.
_FEW = 4096
_TOO_MANY = (
    jsonschema_rs.ValidationErrorKind.AdditionalProperties,
    jsonschema_rs.ValidationErrorKind.UnevaluatedProperties,
)
# Deepest nesting of schema evaluations that fits the stack; 30,000 of the simplest overflow it.
_DEEPEST = 8000
# Above this estimate in nanoseconds, measuring the record's depth is worth its cost.
_DEPTH_PAYS = 2_000_000
# Nanoseconds per squared number of digits, for each comparison of a long number.
_PER_SQUARED_DIGIT = 0.1


class RecordValidator:
    """Checks records against a schema, `format` included."""

    def __init__(self, schema: dict[str, Any]) -> None:
        self._schema = schema
        parts = self._parts = list(_parts(schema))
        self._wide = any(keyword in part for part in parts for keyword in _WIDE)
        self._closed = any(part.get("additionalProperties") is False for part in parts)
        self._validator = self._compile()

    def is_valid(self, data: Any, text: str) -> bool:
        """Whether `data` is valid; `text` is the same value as JSON."""
        return self._validator_for(text).is_valid(data)

    def errors(self, data: Any, text: str) -> list[FieldError]:
        """The errors of `data`, empty if it is valid.

        Up to 16 KiB: at most 20 errors. Above: only the first, which has no location if the schema
        uses `anyOf`, `oneOf` or `unevaluated…`, or forbids additional properties and the value has
        more than 4096 members.
        """
        validator = self._validator_for(text)
        if validator.is_valid(data):
            return []
        if len(text) <= _EXPLAINED_IN_FULL:
            found = list(islice(validator.iter_errors(data), _MOST_FAULTS))
            # Only one error has a hint: to find the intended name takes longer than all else.
            first = next((e for e in found if isinstance(e.kind, _TOO_MANY)), None)
            return [self._field_error(e, hinted=e is first) for e in found]
        if self._wide or (self._closed and _count(data, _FEW) > _FEW):
            return [unexplained("it is too large to say where")]
        try:
            validator.validate(data)
        except jsonschema_rs.ValidationError as error:
            return [self._field_error(error, hinted=True)]
        return []

    def cost(self, text: str, *, faults: bool = False) -> float:
        """Upper bound in nanoseconds for checking a record; with `faults`, for reporting errors."""
        weights = self._weights
        values = 1 + text.count(",") + text.count("[") + text.count("{")
        each = weights.per_fault if faults else weights.per_value
        cost = values * each[-1] + len(text) * weights.per_byte[-1]
        levels = 0
        if weights.loops:
            return BOUNDLESS
        if faults or cost > _DEPTH_PAYS or weights.longest_chain > _DEEPEST // LEVELS:
            levels = depth(text)
            if weights.longest_chain * (levels + 1) > _DEEPEST:
                return BOUNDLESS
            cost = values * _at(each, levels) + len(text) * _at(weights.per_byte, levels)
        if faults:
            # Each error has a copy of its value, and is reported again at each level above.
            cost += len(text) * (levels + 1) * _at(each, levels) / 6000
        if numbers := long_numbers(text):
            squared = sum(digits * digits for digits in numbers)
            cost += squared * _PER_SQUARED_DIGIT * _at(each, levels) / 1000
        return cost

    def _validator_for(self, text: str) -> jsonschema_rs.Draft202012Validator:
        return self._exact if long_numbers(text) else self._validator

    @cached_property
    def _weights(self) -> Weights:
        return Weights(self._schema)

    @cached_property
    def _exact(self) -> jsonschema_rs.Draft202012Validator:
        """The validator for records with large numbers: two built-in keywords take too long."""
        return self._compile(keywords=exact.KEYWORDS)

    def _field_error(self, error: jsonschema_rs.ValidationError, *, hinted: bool) -> FieldError:
        keyword = str(error.schema_path[-1]) if error.schema_path else "false"
        path = list(error.instance_path)
        kind, hint = error.kind, ""
        if isinstance(kind, jsonschema_rs.ValidationErrorKind.Required):
            # The error points to the missing member, not to the object that lacks it.
            path.append(str(kind.property).strip('"'))
        elif isinstance(kind, _TOO_MANY) and kind.unexpected:
            path.append(str(kind.unexpected[0]))
            if hinted:
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

    def _compile(self, **options: Any) -> jsonschema_rs.Draft202012Validator:
        return jsonschema_rs.Draft202012Validator(
            self._schema,
            validate_formats=True,
            formats=CHECKS,
            pattern_options=_PATTERNS,
            retriever=_refuse,
            # Errors must not show values that are hidden from clients.
            mask="the value"
            if any(part.get("writeOnly") is True for part in self._parts)
            else None,
            **options,
        )


def unexplained(why: str) -> FieldError:
    return FieldError("", f"does not match the schema; {why}", "schema")


def _at(levels: Sequence[float], depth: int) -> float:
    return levels[min(depth, len(levels) - 1)]


def _count(value: Any, enough: int) -> int:
    """The number of values within `value`; counting stops above `enough`."""
    count, waiting = 0, [value]
    while waiting and count <= enough:
        each = waiting.pop()
        if isinstance(each, dict | list):
            count += len(each)
            waiting += each.values() if isinstance(each, dict) else each
    return count


def _parts(schema: Any) -> Iterator[dict[str, Any]]:
    """All objects within the schema, also those that are no schemas."""
    if isinstance(schema, dict):
        yield schema
        schema = list(schema.values())
    if isinstance(schema, list):
        for each in schema:
            yield from _parts(each)


def _refuse(uri: str) -> NoReturn:
    raise ValueError(f"{uri} is not part of this schema")
