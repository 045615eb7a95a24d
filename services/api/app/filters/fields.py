"""The promises of a JSON Schema about a field: the types of its value, and its format."""

from __future__ import annotations

import difflib
from functools import cached_property
from itertools import islice
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote

from app.filters.errors import UnknownField
from app.filters.formats import FORMATS
from app.filters.paths import SYSTEM_TYPES

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from app.filters.formats import Format
    from app.filters.language.syntax import Path

JSON_TYPES: Final = frozenset({"null", "string", "number", "boolean", "array", "object"})
_NULL: Final = frozenset({"null"})

# Beside one of these keywords, a `$ref`, `allOf`, `anyOf` or `oneOf` is not read.
_OWN: Final = ("type", "properties", "format")
_MOST_STEPS: Final = 16
_MOST_NAMES: Final = 200
_LONGEST_NAME: Final = 64


class Fields:
    """The fields of a collection.

    Plain `properties`, `type`, `format`, `items` and `required` are trusted, also behind a local
    `$ref`, an `allOf` of one schema, and an `anyOf` or `oneOf` of one schema and null.
    """

    def __init__(
        self,
        schema: dict[str, Any] | bool,  # noqa: FBT001 - JSON Schema's own
        *,
        hidden: Sequence[str] = (),
    ) -> None:
        self._schema = schema
        # Fields that callers may neither read nor compare: a comparison would reveal them too.
        self.hidden = hidden

    def types(self, path: Path, position: int | None = None) -> frozenset[str]:
        """The JSON types that the value at `path` may have; "null" also stands for absent.

        Raises UnknownField (400) where the schema allows no such member.
        """
        return self._descend(path, position)[1]

    def format(self, path: Path) -> Format | None:
        """The format of all strings at `path`; None where strings are compared as text."""
        return _format(self._descend(path, None)[0])

    def items_format(self, path: Path) -> Format | None:
        """The format of all strings in a list at `path`."""
        schema = self._descend(path, None)[0]
        if not isinstance(schema, dict) or "prefixItems" in schema:
            return None
        return _format(self._plain(schema.get("items"))[0])

    def names(self, path: Path) -> list[str]:
        """The names that the schema declares at `path`; a record's system columns come first."""
        schema = self._descend(path, None)[0]
        return self._readable(
            schema.get("properties", {}) if isinstance(schema, dict) else {}, path
        )

    def names_along(self, path: Path) -> Iterator[list[str]]:
        """The `names` of each object on the path, as far as the schema declares objects."""
        schema, _ = self._plain(self._schema)
        for number, key in enumerate(path):
            if not isinstance(schema, dict):
                return
            declared = schema.get("properties", {})
            yield self._readable(declared, path[:number])
            if key not in declared:
                return
            schema, _ = self._plain(declared[key])
            if "object" not in _declared_types(schema):
                return

    def _readable(self, declared: Iterable[str], path: Path) -> list[str]:
        if path:
            return [*declared]
        return [*SYSTEM_TYPES, *(name for name in declared if name not in self.hidden)]

    def _descend(self, path: Path, position: int | None) -> tuple[Any, frozenset[str]]:
        """The schema of the value at `path`, None if unknown, and the types of the value."""
        if path and path[0] in self.hidden:
            raise UnknownField(f"The field {path[0]!r} cannot be read.", position=position)
        # Records are objects, whether their schema says so or not.
        schema, nullable = self._plain(self._schema)
        types = frozenset({"object"})
        present = True
        for number, key in enumerate(path):
            if "object" not in types:
                return None, _NULL
            if not isinstance(schema, dict):
                return None, JSON_TYPES
            present = present and types == {"object"} and key in schema.get("required", ())
            properties = schema.get("properties", {})
            if key not in properties:
                if _is_closed(schema):
                    name, hint = ".".join(path), did_you_mean(key, self.names(path[:number]))
                    raise UnknownField(
                        f"The collection has no field {name!r}{hint or '.'}", position=position
                    )
                return None, JSON_TYPES
            schema, nullable = self._plain(properties[key])
            types = _declared_types(schema) | (_NULL if nullable else frozenset())
        return schema, types if present else types | _NULL

    def _plain(self, schema: Any) -> tuple[Any, bool]:
        """The schema that `schema` stands for, and whether the value can be null instead."""
        nullable = False
        for _ in range(_MOST_STEPS):
            if not isinstance(schema, dict) or any(keyword in schema for keyword in _OWN):
                return schema, nullable
            target = self._target(schema)
            if target is None:
                return schema, nullable
            schema, also_null = target
            nullable = nullable or also_null
        return None, True

    def _target(self, schema: dict[str, Any]) -> tuple[Any, bool] | None:
        if isinstance(reference := schema.get("$ref"), str):
            return self._resolve(reference), False
        if len(schema.get("allOf", ())) == 1:
            return schema["allOf"][0], False
        for keyword in ("anyOf", "oneOf"):
            branches = schema.get(keyword, ())
            others = [branch for branch in branches if not _is_null(branch)]
            if len(others) == 1:
                return others[0], len(branches) > 1
        return None

    def _resolve(self, reference: str) -> Any:
        """The target of a JSON Pointer into the schema, None if unknown."""
        found: Any = self._schema
        start, *steps = reference.split("/")
        if start != "#" or not self._one_resource:
            return None
        for step in steps:
            key = unquote(step).replace("~1", "/").replace("~0", "~")
            if not isinstance(found, dict) or key not in found:
                return None
            found = found[key]
        return found

    @property
    def is_closed(self) -> bool:
        """Whether records have declared fields only."""
        schema, _ = self._plain(self._schema)
        return isinstance(schema, dict) and _is_closed(schema)

    @cached_property
    def _one_resource(self) -> bool:
        """Whether all references start at the same root: no subschema has an `$id`."""
        waiting: list[Any] = [self._schema]
        while waiting:
            each = waiting.pop()
            if isinstance(each, dict):
                if "$id" in each and each is not self._schema:
                    return False
                waiting += each.values()
            elif isinstance(each, list):
                waiting += each
        return True


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """The end of a sentence about an unknown name: a similar known name, or nothing."""
    # Any stranger can cause the search, so its cost is bounded.
    candidates = [each for each in islice(known, _MOST_NAMES) if len(each) <= _LONGEST_NAME]
    similar = difflib.get_close_matches(name[:_LONGEST_NAME], candidates, n=1)
    return f"; did you mean {similar[0]}?" if similar else ""


def _is_null(schema: Any) -> bool:
    return isinstance(schema, dict) and (
        schema.get("type") in ("null", ["null"]) or ("const" in schema and schema["const"] is None)
    )


def _is_closed(schema: dict[str, Any]) -> bool:
    # Keywords beside additionalProperties, like allOf, can only restrict an object further.
    return schema.get("additionalProperties") is False and not schema.get("patternProperties")


def _declared_types(schema: Any) -> frozenset[str]:
    given = schema.get("type") if isinstance(schema, dict) else None
    if given is None:
        return JSON_TYPES
    names = given if isinstance(given, list) else [given]
    return frozenset("number" if name == "integer" else name for name in names)


def _format(schema: Any) -> Format | None:
    if not isinstance(schema, dict) or "string" not in _declared_types(schema):
        return None
    name = schema.get("format")
    return FORMATS.get(name) if isinstance(name, str) else None
