"""What a JSON Schema promises of a field: the types that its value can have."""

from __future__ import annotations

from typing import Any

from app.filters.errors import UnknownField

JSON_TYPES = frozenset({"null", "string", "number", "boolean", "array", "object"})

# Keywords that may declare properties elsewhere, so that a level with one is never closed to us.
_OPENING = ("patternProperties", "$ref", "$dynamicRef", "allOf", "anyOf", "oneOf", "if")


class Fields:
    """The fields of a collection. Only plain `properties` and `type` are trusted."""

    def __init__(self, schema: dict[str, Any] | bool) -> None:  # noqa: FBT001 - JSON Schema's own
        self._schema = schema
        self._known: dict[tuple[str, ...], frozenset[str]] = {}

    def types(self, path: tuple[str, ...], position: int | None = None) -> frozenset[str]:
        """The JSON types that the value at `path` may have; "null" stands for absent too.

        Raises UnknownField where the schema allows no such member.
        """
        known = self._known.get(path)
        if known is None:
            known = self._types(path, position)
            if len(self._known) < 1000:  # noqa: PLR2004 - bounds what filters can make it keep
                self._known[path] = known
        return known

    def _types(self, path: tuple[str, ...], position: int | None) -> frozenset[str]:
        schema: Any = self._schema
        required = True
        for key in path:
            if not isinstance(schema, dict):
                return JSON_TYPES
            properties = schema.get("properties") or {}
            required = required and key in (schema.get("required") or ())
            if key not in properties:
                closed = schema.get("additionalProperties") is False
                if closed and not any(keyword in schema for keyword in _OPENING):
                    raise UnknownField(
                        f"The collection has no field {'.'.join(path)!r}.", position=position
                    )
                return JSON_TYPES
            schema = properties[key]
        declared = _declared(schema)
        return declared if required else declared | {"null"}


def _declared(schema: Any) -> frozenset[str]:
    given = schema.get("type") if isinstance(schema, dict) else None
    if given is None:
        return JSON_TYPES
    names = given if isinstance(given, list) else [given]
    return frozenset("number" if name == "integer" else name for name in names)
