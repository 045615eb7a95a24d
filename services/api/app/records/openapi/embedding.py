"""A collection's JSON Schema as a part of the OpenAPI document.

`$id` and `$anchor` name schemas for the whole OpenAPI document. Two collections may use the same
name, and few generators support these keywords or follow a pointer into another schema.
So every schema that is referred to becomes a component of the document, and all references are to
components.
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
    """`schema` is the component `root`. `parts` are the subschemas it refers to, by component name.
    Their names begin with `prefix`; the rest of a name is never in `taken`."""

    def __init__(
        self, schema: dict[str, Any], root: str, prefix: str, taken: frozenset[str]
    ) -> None:
        self._root, self._prefix = root, prefix
        # Compared as generators see names: without `_`, in lower case.
        self._taken = {_fold(name) for name in taken}
        # Pointers to anchored schemas, by (pointer to the nearest enclosing schema with `$id`,
        # anchor).
        self._anchors: dict[tuple[str, str], str] = {}
        self._unresolved_references: list[tuple[dict[str, Any], str, str]] = []
        self._rewritten_root = self._rewritten(schema, (), "")
        # Component names, by the pointer to the schema that is referred to.
        self._names = {"": root}
        for rewritten, base, reference in self._unresolved_references:
            target = {"$ref": COMPONENTS + self._name(self._target(base, reference))}
            if "$ref" in rewritten:
                rewritten["allOf"] = [*rewritten.get("allOf", ()), target]
            else:
                rewritten.update(target)
        # A record is an object, also where its schema would accept something else.
        self.schema = component(plain({**self._rewritten_root, "type": "object"}))
        self.parts = {
            name: component(plain(self._at(pointer)))
            for pointer, name in self._names.items()
            if pointer
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

    def _rewritten(self, given: Any, path: tuple[str | int, ...], base: str) -> Any:
        if isinstance(given, list):
            return [self._rewritten(each, (*path, index), base) for index, each in enumerate(given)]
        if not isinstance(given, dict):
            return given
        if isinstance(given.get("$id"), str):
            base = pointer(*path)
        rewritten: dict[str, Any] = {}
        for key, value in given.items():
            if key in _VALUES:
                rewritten[key] = value
            elif key in _BY_NAME and isinstance(value, dict):
                rewritten[key] = {
                    name: self._rewritten(each, (*path, key, name), base)
                    for name, each in value.items()
                }
            elif key not in _DROPPED or not isinstance(value, str):
                rewritten[key] = self._rewritten(value, (*path, key), base)
            elif key in _ANCHORS:
                self._anchors[base, value] = pointer(*path)
            elif key in _REFERENCES:
                self._unresolved_references.append((rewritten, base, value))
        return rewritten

    def _target(self, base: str, reference: str) -> str:
        """The pointer to the target of a reference."""
        name = reference.removeprefix("#")
        if name and not name.startswith("/"):
            return self._anchors.get((base, name), "")
        # `base` is wrong where `$id` is just a property's name, so try relative to it, then to the
        # root. A reference that validators ignore may have no target: the root stands in for it.
        for target in (base + unquote(name), unquote(name)):
            with suppress(LookupError, TypeError, ValueError):
                self._at(target)
                return target
        return ""

    def _at(self, pointer: str) -> Any:
        found: Any = self._rewritten_root
        for part in pointer.split("/")[1:]:
            key = part.replace("~1", "/").replace("~0", "~")
            found = found[int(key)] if isinstance(found, list) else found[key]
        return found

    def _name(self, pointer: str) -> str:
        """The component name for the schema at the pointer: the pointer's last part, numbered if
        taken."""
        if pointer in self._names:
            return self._names[pointer]
        *_, last = pointer.split("/")
        short = _ODD.sub("_", last).strip("_") or "part"
        name, number = short, 1
        while _fold(name) in self._taken:
            number += 1
            name = f"{short}_{number}"
        self._taken.add(_fold(name))
        self._names[pointer] = self._prefix + name
        return self._names[pointer]


def _fold(name: str) -> str:
    return name.replace("_", "").lower()
