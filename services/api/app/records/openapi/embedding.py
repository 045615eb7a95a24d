"""A collection's JSON Schema as a part of the OpenAPI document.

The names that a schema gives itself by `$id` and `$anchor` hold in the whole document, where
another collection may use them too, and few generators know of them. Few follow a pointer into
another schema, either. So every schema that is referred to becomes a component of the document, and
all references are to components.
"""

from __future__ import annotations

import re
from contextlib import suppress
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from app.core.json import pointer
from app.records.openapi.plain import component, plain

if TYPE_CHECKING:
    from collections.abc import Iterator

COMPONENTS = "#/components/schemas/"

# Keywords whose members are schemas under any names.
_BY_NAME = frozenset(
    {"properties", "patternProperties", "dependentSchemas", "$defs", "definitions"}
)
_VALUES = frozenset({"const", "enum", "default", "examples"})
_ANCHORS = frozenset({"$anchor", "$dynamicAnchor"})
_REFERENCES = frozenset({"$ref", "$dynamicRef"})
_DROPPED = _ANCHORS | _REFERENCES | {"$id", "$schema"}
_ODD = re.compile(r"[^A-Za-z0-9_]+")


class Embedded:
    """`schema` as a component called `root`, and `parts`: the schemas within that it refers to, by
    the names of components, which begin with `prefix` and avoid those that are `taken`."""

    def __init__(
        self, schema: dict[str, Any], root: str, prefix: str, taken: frozenset[str]
    ) -> None:
        self._root, self._prefix = root, prefix
        # Without the characters that generators leave out of names.
        self._taken = {_alike(name) for name in taken}
        # By the pointer to the innermost schema with an `$id` around the anchor, and by its name.
        self._anchors: dict[tuple[str, str], str] = {}
        self._waiting: list[tuple[dict[str, Any], str, str]] = []
        self._moved_root = self._moved(schema, (), "")
        # By the pointer to the schema that is referred to.
        self._names = {"": root}
        for moved, base, reference in self._waiting:
            target = {"$ref": COMPONENTS + self._name(self._target(base, reference))}
            if "$ref" in moved:
                moved["allOf"] = [*moved.get("allOf", ()), target]
            else:
                moved.update(target)
        # A record is an object, also where its schema would take something else.
        self.schema = component(plain({**self._moved_root, "type": "object"}))
        self.parts = {
            name: component(plain(self._at(where))) for where, name in self._names.items() if where
        }

    def applying(self, schema: Any) -> Iterator[dict[str, Any]]:
        """The schemas that hold wherever `schema` holds: itself, its `$ref`, its `allOf`."""
        waiting, known = [schema], set[int]()
        while waiting:
            each = waiting.pop(0)
            if isinstance(each, dict) and id(each) not in known:
                known.add(id(each))
                yield each
                waiting += each.get("allOf", ())
                if "$ref" in each:
                    waiting.append(self._find(each["$ref"]))

    def members(self, schema: Any) -> tuple[dict[str, Any], list[str]]:
        """The known schemas of an object's members, and the members that it must have."""
        found: dict[str, list[Any]] = {}
        required: list[str] = []
        for each in self.applying(schema):
            for name, member in each.get("properties", {}).items():
                found.setdefault(name, []).append(member)
            required += each.get("required", ())
        properties = {
            name: members[0] if len(members) == 1 else {"allOf": members}
            for name, members in found.items()
        }
        return properties, required

    def _find(self, reference: str) -> Any:
        name = reference.removeprefix(COMPONENTS)
        return self.schema if name == self._root else self.parts[name]

    def _moved(self, given: Any, path: tuple[str | int, ...], base: str) -> Any:
        if isinstance(given, list):
            return [self._moved(each, (*path, index), base) for index, each in enumerate(given)]
        if not isinstance(given, dict):
            return given
        if isinstance(given.get("$id"), str):
            base = pointer(*path)
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
                self._anchors[base, value] = pointer(*path)
            elif key in _REFERENCES:
                self._waiting.append((moved, base, value))
        return moved

    def _target(self, base: str, reference: str) -> str:
        """The pointer to the target of a reference."""
        name = reference.removeprefix("#")
        if name and not name.startswith("/"):
            return self._anchors.get((base, name), "")
        # An `$id` can be a mere member's name, and a reference stand where no validator looks.
        for target in (base + unquote(name), unquote(name)):
            with suppress(LookupError, TypeError, ValueError):
                self._at(target)
                return target
        return ""

    def _at(self, where: str) -> Any:
        found: Any = self._moved_root
        for part in where.split("/")[1:]:
            key = part.replace("~1", "/").replace("~0", "~")
            found = found[int(key)] if isinstance(found, list) else found[key]
        return found

    def _name(self, where: str) -> str:
        """The component's name for the schema there: that of the definition, where it is free."""
        if where in self._names:
            return self._names[where]
        *_, last = where.split("/")
        short = _ODD.sub("_", last).strip("_") or "part"
        name, number = short, 1
        while _alike(name) in self._taken:
            number += 1
            name = f"{short}_{number}"
        self._taken.add(_alike(name))
        self._names[where] = self._prefix + name
        return self._names[where]


def _alike(name: str) -> str:
    return name.replace("_", "").lower()
