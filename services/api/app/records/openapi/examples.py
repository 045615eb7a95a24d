"""An example of a record: an example in the schema, else an example made from the schema where that
is simple. The document shows only examples that the collection accepts."""

from __future__ import annotations

import math
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from app.collections.checking import pool as checking
from app.collections.json_schema.keywords import RESERVED

if TYPE_CHECKING:
    from collections.abc import Iterator

    from app.collections.models import Collection
    from app.records.openapi.embedding import Embedded

_ID = "019b3c2e-7f00-7a61-8c1d-2f9e4b6a7c50"
_TIME = "2026-01-31T12:00:00Z"
SYSTEM = {"id": _ID, "version": 1, "created_at": _TIME, "updated_at": _TIME, "owner": None}
_FORMATS = {
    "date-time": _TIME, "date": _TIME[:10], "time": _TIME[11:], "duration": "P1D", "uuid": _ID,
    "email": "ada@example.com", "hostname": "example.com", "uri": "https://example.com/",
    "ipv4": "192.0.2.1", "ipv6": "2001:db8::1",
}  # fmt: skip
_DEEPEST = 8
# The limit of values in one example, since references can multiply a few properties.
_MOST = 200
_LONGEST = 100


class _Unknown(Exception):
    """There is no simple value."""


def example_of(collection: Collection, embedded: Embedded) -> dict[str, Any] | None:
    """A record as a client may send it; None if no example is surely valid."""
    unsent = {*RESERVED, *collection.annotations.read_only}
    for candidate in _candidates(embedded):
        if not isinstance(candidate, dict) or not candidate.keys().isdisjoint(RESERVED):
            continue
        sent = {key: value for key, value in candidate.items() if key not in unsent}
        if checking.is_surely_valid(collection, sent):
            return sent
    return None


def _candidates(embedded: Embedded) -> Iterator[Any]:
    yield from embedded.schema.get("examples", ())
    for sparse in (False, True):
        # The target of a reference was not checked as a schema, and can be anything.
        with suppress(_Unknown, ArithmeticError, LookupError, TypeError, ValueError):
            yield _Maker(embedded, sparse=sparse).object(embedded.schema, 0)


class _Maker:
    def __init__(self, embedded: Embedded, *, sparse: bool) -> None:
        self._embedded = embedded
        self._sparse = sparse
        self._left = _MOST

    def object(self, schema: dict[str, Any], depth: int) -> dict[str, Any]:
        properties, required = self._embedded.members(schema)
        made = {}
        for name in dict.fromkeys(required if self._sparse else [*properties, *required]):
            try:
                made[name] = self._value(properties.get(name), depth + 1)
            except _Unknown:
                if name in required:
                    raise
        return made

    def _value(self, schema: Any, depth: int) -> Any:
        self._left -= 1
        if self._left < 0 or depth > _DEEPEST:
            raise _Unknown
        known: dict[str, Any] = {}
        for each in self._embedded.applying(schema):
            known = {**each, **known}
        given = [known[keyword] for keyword in ("default", "const") if keyword in known]
        for values in (given, known.get("examples"), known.get("enum")):
            # The target of a reference may stand where schemas are not checked.
            if isinstance(values, list) and values:
                return values[0]
        if branches := known.get("anyOf") or known.get("oneOf"):
            return self._value(branches[0], depth + 1)
        kinds = known.get("type", "object" if "properties" in known else None)
        kind = kinds[0] if isinstance(kinds, list) else kinds
        if kind == "object":
            return self.object(schema, depth)
        if kind == "array":
            return [self._value(known.get("items"), depth + 1)]
        return _scalar(kind, known)


def _scalar(kind: str | None, schema: dict[str, Any]) -> Any:
    if kind == "string" and "pattern" not in schema and schema.get("minLength", 0) <= _LONGEST:
        text = _FORMATS.get(schema.get("format", ""), "text")
        padded = text.ljust(int(schema.get("minLength", 0)), ".")
        return padded[: int(schema.get("maxLength", _LONGEST))]
    if kind in ("integer", "number"):
        least = schema.get("minimum", schema.get("exclusiveMinimum", 0) + 1)
        number = min(least, schema.get("maximum", least))
        return math.ceil(number) if kind == "integer" else number
    if kind == "boolean":
        return True
    raise _Unknown
