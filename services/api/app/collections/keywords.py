"""What a schema says of fields beyond what is valid: `default`, `readOnly`, `writeOnly`, and which
names it asks for that only the server sets.

Only of schemas that hold for every record: the schema itself, what it has in `allOf`, and what
those refer to; not of branches.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import msgspec

from app.collections.weights import target
from app.core.json import pointer
from app.filters.paths import SYSTEM_TYPES

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

RESERVED = tuple(SYSTEM_TYPES)
_BRANCHES = ("allOf", "anyOf", "oneOf")
_CONDITIONS = ("if", "then", "else")
_VALUES = ("const", "enum", "default", "examples")
# Their members are schemas, whatever these are called.
_BY_NAME = ("properties", "patternProperties", "dependentSchemas", "$defs", "definitions")


class Annotations:
    """Of one collection's schema."""

    def __init__(self, schema: dict[str, Any]) -> None:
        self._root = schema
        members = self._members([schema])
        # Of all schemas that say something of a record's own fields.
        self.own = {id(each) for schemas in members.values() for each in self._applying(schemas)}
        self.read_only = self._said("readOnly", members)
        self.write_only = self._said("writeOnly", members)
        self._has_defaults = '"default"' in json.dumps(schema)

    def filled(self, text: str, value: dict[str, Any]) -> str:
        """The record as JSON text with the defaults of what is absent, also within objects that are
        there; digits stay as they came."""
        return self._filled([self._root], text, value) if self._has_defaults else text

    def _filled(self, schemas: list[Any], text: str, value: dict[str, Any]) -> str:
        changed: dict[str, str] = {}
        raw: dict[str, msgspec.Raw] | None = None
        for name, declared in self._members(schemas).items():
            if name not in value:
                defaults = [
                    each["default"] for each in self._applying(declared) if "default" in each
                ]
                if defaults:
                    changed[name] = json.dumps(defaults[0], ensure_ascii=False)
            elif isinstance(value[name], dict):
                raw = raw or msgspec.json.decode(text, type=dict[str, msgspec.Raw])
                within = bytes(raw[name]).decode()
                filled = self._filled(declared, within, value[name])
                if filled is not within:
                    changed[name] = filled
        return replaced(text, changed) if changed else text

    def _members(self, schemas: list[Any]) -> dict[str, list[Any]]:
        members: dict[str, list[Any]] = {}
        for each in self._applying(schemas):
            properties = each.get("properties")
            for name, member in properties.items() if isinstance(properties, dict) else ():
                members.setdefault(name, []).append(member)
        return members

    def _said(self, keyword: str, members: dict[str, list[Any]]) -> tuple[str, ...]:
        return tuple(
            name
            for name, schemas in members.items()
            if any(each.get(keyword) is True for each in self._applying(schemas))
        )

    def _applying(self, schemas: Iterable[Any]) -> Iterator[dict[str, Any]]:
        waiting, known = list(schemas), set[int]()
        while waiting:
            each = waiting.pop(0)
            if isinstance(each, dict) and id(each) not in known:
                known.add(id(each))
                yield each
                all_of = each.get("allOf")
                waiting += all_of if isinstance(all_of, list) else ()
                if isinstance(each.get("$ref"), str):
                    waiting.append(target(self._root, each["$ref"]))


def replaced(text: str, members: dict[str, str]) -> str:
    """The object `text` with those members, all others as they are written."""
    raw = msgspec.json.decode(text, type=dict[str, msgspec.Raw])
    parts = {name: bytes(value).decode() for name, value in raw.items()} | members
    listed = (f"{json.dumps(name, ensure_ascii=False)}:{value}" for name, value in parts.items())
    return "{" + ",".join(listed) + "}"


def keeping(given: str, stored: str, names: Iterable[str]) -> str:
    """The object `given` with those members as `stored` has them."""
    there = msgspec.json.decode(stored, type=dict[str, msgspec.Raw])
    kept = {name: bytes(there[name]).decode() for name in names if name in there}
    return replaced(given, kept) if kept else given


def misplaced(schema: dict[str, Any]) -> Iterator[tuple[str, str, str]]:
    """Pointers into the schema, with message and code, to what no record could ever satisfy."""
    waiting: list[tuple[Any, str]] = [(schema, "")]
    known = set[int]()
    while waiting:
        node, at = waiting.pop(0)
        if not isinstance(node, dict) or id(node) in known:
            continue
        known.add(id(node))
        yield from _reserved(node, at)
        for key in _BRANCHES:
            branches = node.get(key)
            for index, each in enumerate(branches if isinstance(branches, list) else ()):
                waiting.append((each, at + pointer(key, index)))
        waiting += ((node[key], at + pointer(key)) for key in _CONDITIONS if key in node)
        dependent = node.get("dependentSchemas")
        for name, each in dependent.items() if isinstance(dependent, dict) else ():
            waiting.append((each, at + pointer("dependentSchemas", name)))
        if isinstance(reference := node.get("$ref"), str):
            waiting.append((target(schema, reference), _place(reference, at)))


def _reserved(node: dict[str, Any], at: str) -> Iterator[tuple[str, str, str]]:
    def named(names: Any, *path: str) -> Iterator[tuple[str, str, str]]:
        for index, name in enumerate(names if isinstance(names, list) else ()):
            if isinstance(name, str) and name in RESERVED:
                yield at + pointer(*path, index), f"{name} is set by the server", "reserved_name"

    yield from named(node.get("required"), "required")
    for key in ("dependentRequired", "properties", "dependentSchemas", "const"):
        members = node.get(key)
        for name, names in members.items() if isinstance(members, dict) else ():
            if name in RESERVED:
                yield at + pointer(key, name), "is a reserved name", "reserved_name"
            elif key == "dependentRequired":
                yield from named(names, key, name)


def unheeded(schema: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Pointers to `readOnly` and `writeOnly` of what is no record's own field, and which it is."""
    heeded = Annotations(schema).own
    waiting: list[tuple[Any, str, bool]] = [(schema, "", False)]
    while waiting:
        node, at, by_name = waiting.pop()
        if isinstance(node, list):
            waiting += ((each, at + pointer(index), False) for index, each in enumerate(node))
        elif isinstance(node, dict):
            if not by_name and id(node) not in heeded:
                for keyword in ("readOnly", "writeOnly"):
                    if node.get(keyword) is True:
                        yield at + pointer(keyword), keyword
            for key, value in node.items():
                if by_name or key not in _VALUES:
                    waiting.append((value, at + pointer(key), not by_name and key in _BY_NAME))


def _place(reference: str, at: str) -> str:
    return reference[1:] if reference.startswith("#/") or reference == "#" else at + pointer("$ref")
