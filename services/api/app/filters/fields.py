"""What a JSON Schema promises of a field: the types that its value can have."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from app.filters.errors import UnknownField

if TYPE_CHECKING:
    from app.filters.syntax import Path

JSON_TYPES: Final = frozenset({"null", "string", "number", "boolean", "array", "object"})

# Keywords that may declare properties elsewhere, so that a level with one is never closed to us.
_OPENING = ("patternProperties", "$ref", "$dynamicRef", "allOf", "anyOf", "oneOf", "if")


class Fields:
    """The fields of a collection. Only plain `properties`, `type` and `required` are trusted."""

    def __init__(self, schema: dict[str, Any] | bool) -> None:  # noqa: FBT001 - JSON Schema's own
        self._schema = schema

    def types(self, path: Path, position: int | None = None) -> frozenset[str]:
        """The JSON types that the value at `path` may have; "null" stands for absent too.

        Raises UnknownField (400) where the schema allows no such member.
        """
        schema: Any = self._schema
        # Records are objects, whether their schema says so or not.
        types = frozenset({"object"})
        present = True
        for key in path:
            if "object" not in types:
                return frozenset({"null"})
            if not isinstance(schema, dict):
                return JSON_TYPES
            present = present and types == {"object"} and key in schema.get("required", ())
            properties = schema.get("properties", {})
            if key not in properties:
                if _closed(schema):
                    raise UnknownField(
                        f"The collection has no field {'.'.join(path)!r}.", position=position
                    )
                return JSON_TYPES
            schema = properties[key]
            types = _declared(schema)
        return types if present else types | {"null"}


def _closed(schema: dict[str, Any]) -> bool:
    return schema.get("additionalProperties") is False and not any(
        keyword in schema for keyword in _OPENING
    )


def _declared(schema: Any) -> frozenset[str]:
    given = schema.get("type") if isinstance(schema, dict) else None
    if given is None:
        return JSON_TYPES
    names = given if isinstance(given, list) else [given]
    return frozenset("number" if name == "integer" else name for name in names)
