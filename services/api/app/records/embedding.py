"""A collection's JSON Schema as a part of the OpenAPI document.

What a schema calls itself by `$id` and `$anchor` is a name in the whole document, where another
collection may use it too, and few generators know of it. So all that is left are plain pointers.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, unquote

from app.core.json import pointer

if TYPE_CHECKING:
    from collections.abc import Iterator

# Their members are schemas, whatever these are called.
_BY_NAME = frozenset(
    {"properties", "patternProperties", "dependentSchemas", "$defs", "definitions"}
)
_VALUES = frozenset({"const", "enum", "default", "examples"})
_ANCHORS = frozenset({"$anchor", "$dynamicAnchor"})
_REFERENCES = frozenset({"$ref", "$dynamicRef"})
_DROPPED = _ANCHORS | _REFERENCES | {"$id", "$schema"}


class Embedded:
    """`schema` as it can stand at `at`, a pointer like `#/components/schemas/books`."""

    def __init__(self, schema: dict[str, Any], at: str) -> None:
        self._at = at
        # By the pointer to what it is a name within, the innermost schema with an `$id`.
        self._anchors: dict[tuple[str, str], str] = {}
        self._waiting: list[tuple[dict[str, Any], str, str]] = []
        self.schema: dict[str, Any] = self._moved(schema, (), at)
        for moved, base, reference in self._waiting:
            target = {"$ref": self._target(base, reference)}
            if "$ref" in moved:
                moved["allOf"] = [*moved.get("allOf", ()), target]
            else:
                moved.update(target)

    def find(self, reference: str) -> Any:
        """What a reference within `schema` is to."""
        found: Any = self.schema
        for part in unquote(reference.removeprefix(self._at)).split("/")[1:]:
            key = part.replace("~1", "/").replace("~0", "~")
            found = found[int(key)] if isinstance(found, list) else found[key]
        return found

    def applying(self, schema: Any) -> Iterator[dict[str, Any]]:
        """The schemas that hold for whatever `schema` does: itself, its `$ref`, its `allOf`."""
        waiting, known = [schema], set[int]()
        while waiting:
            each = waiting.pop(0)
            if isinstance(each, dict) and id(each) not in known:
                known.add(id(each))
                yield each
                waiting += each.get("allOf", ())
                if "$ref" in each:
                    waiting.append(self.find(each["$ref"]))

    def members(self, schema: Any) -> tuple[dict[str, Any], list[str]]:
        """What is known of an object's members, and which of them it must have."""
        properties: dict[str, Any] = {}
        required: list[str] = []
        for each in self.applying(schema):
            for name, member in each.get("properties", {}).items():
                known = properties.get(name)
                properties[name] = member if known is None else {"allOf": [known, member]}
            required += each.get("required", ())
        return properties, required

    def _moved(self, given: Any, path: tuple[str | int, ...], base: str) -> Any:
        if isinstance(given, list):
            return [self._moved(each, (*path, index), base) for index, each in enumerate(given)]
        if not isinstance(given, dict):
            return given
        if isinstance(given.get("$id"), str):
            base = self._pointer(path)
        moved: dict[str, Any] = {}
        for key, value in given.items():
            if key in _VALUES:
                moved[key] = value
            elif key in _BY_NAME and isinstance(value, dict):
                moved[key] = {
                    name: self._moved(each, (*path, key, name), base)
                    for name, each in value.items()
                }
            elif key not in _DROPPED or not isinstance(value, str):
                moved[key] = self._moved(value, (*path, key), base)
            elif key in _ANCHORS:
                self._anchors[base, value] = self._pointer(path)
            elif key in _REFERENCES:
                self._waiting.append((moved, base, value))
        return moved

    def _pointer(self, path: tuple[str | int, ...]) -> str:
        return self._at + quote(pointer(*path), safe="/~$")

    def _target(self, base: str, reference: str) -> str:
        name = reference.removeprefix("#")
        if name and not name.startswith("/"):
            return self._anchors.get((base, name), self._at)
        # An `$id` can be one in name only, and a reference stand where no validator looks.
        for target in (base + name, self._at + name):
            with suppress(LookupError, TypeError, ValueError):
                self.find(target)
                return target
        return self._at
