"""A schema's keywords beyond validity (`default`, `readOnly`, `writeOnly`), and its uses of names
that only the server sets.

For keywords, only schemas that apply to every record count: the schema itself, the schemas in its
`allOf`, and the targets of their references; alternatives do not. Reserved names are looked for in
alternatives as well.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import msgspec

from app.collections.json_schema.weights import target
from app.core.errors import ContentTooLarge
from app.core.json import pointer
from app.filters.paths import SYSTEM_TYPES

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

RESERVED = tuple(SYSTEM_TYPES)
_LISTS_OF_SCHEMAS = ("allOf", "anyOf", "oneOf")
_CONDITIONS = ("if", "then", "else")
_VALUES = ("const", "enum", "default", "examples")
# Their members are schemas, whatever the names.
_BY_NAME = ("properties", "patternProperties", "dependentSchemas", "$defs", "definitions")
# Their members apply only where a reference leads to them.
_DEFINITIONS = ("$defs", "definitions")
# Maximum bytes of defaults added to a record, in which each `{}` could grow by a long default.
MAX_FILLED = 65_536
_STRING_OR_OBJECT = re.compile(r'"[^"\\]*+(?:\\.[^"\\]*+)*+"|\{', re.DOTALL)


# The role of a schema: for the record, for an own field, for another value, or only defined.
_Role = Literal["record", "own", "other", "defined"]


class _Level(NamedTuple):
    """For the objects at one location: the JSON text of each member with a default, and the schemas
    of members that may be objects with defaults."""

    defaults: dict[str, str]
    within: dict[str, list[Any]]


class Annotations:
    """The annotations of one collection's schema."""

    def __init__(self, schema: dict[str, Any]) -> None:
        self._root = schema
        members = self._members([schema])
        # The ids of all schemas for a record's own fields.
        self.own = {id(each) for schemas in members.values() for each in self._applying(schemas)}
        self.read_only = self._with_keyword("readOnly", members)
        self.write_only = self._with_keyword("writeOnly", members)
        self._has_defaults = '"default"' in json.dumps(schema)
        # Indexed by the ids of the schemas at one location.
        self._levels: dict[tuple[int, ...], _Level] = {}

    def filled(self, text: str, value: dict[str, Any]) -> str:
        """The record's JSON text with defaults for absent members, also within its objects; digits
        stay as the client wrote them. Raises ContentTooLarge (413)."""
        missing = dict(self._missing(value)) if self._has_defaults else {}
        return _with_members(text, value, missing) if missing else text

    def _missing(self, value: dict[str, Any]) -> Iterator[tuple[int, str]]:
        """The id of each object that lacks members with a default, and these members as text."""
        left = MAX_FILLED
        waiting: list[tuple[dict[str, Any], list[Any]]] = [(value, [self._root])]
        while waiting:
            each, schemas = waiting.pop()
            level = self._level(schemas)
            absent = [text for name, text in level.defaults.items() if name not in each]
            if absent:
                members = ",".join(absent)
                left -= len(members)
                if left < 0:
                    raise ContentTooLarge(
                        f"The defaults of what the record lacks are more than {MAX_FILLED} bytes."
                    )
                yield id(each), members
            waiting += (
                (each[name], declared)
                for name, declared in level.within.items()
                if isinstance(each.get(name), dict)
            )

    def _level(self, schemas: list[Any]) -> _Level:
        key = tuple(map(id, schemas))
        level = self._levels.get(key)
        if level is None:
            level = self._levels[key] = _Level({}, {})
            for name, declared in self._members(schemas).items():
                applying = list(self._applying(declared))
                if given := [each["default"] for each in applying if "default" in each]:
                    member = json.dumps(name, ensure_ascii=False)
                    level.defaults[name] = f"{member}:{json.dumps(given[0], ensure_ascii=False)}"
                if any("properties" in each for each in applying):
                    level.within[name] = declared
        return level

    def _members(self, schemas: list[Any]) -> dict[str, list[Any]]:
        members: dict[str, list[Any]] = {}
        for each in self._applying(schemas):
            properties = each.get("properties")
            for name, member in properties.items() if isinstance(properties, dict) else ():
                members.setdefault(name, []).append(member)
        return members

    def _with_keyword(self, keyword: str, members: dict[str, list[Any]]) -> tuple[str, ...]:
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


def _with_members(text: str, value: Any, members: dict[int, str]) -> str:
    """`text` with members inserted into its objects: `members` has them by Python's `id()` of the
    object in `value`."""
    parts: list[str] = []
    done = 0
    # Objects begin in the text in the order in which `_objects` yields them.
    starts = (match.end() for match in _STRING_OR_OBJECT.finditer(text) if match[0] == "{")
    for each, start in zip(_objects(value), starts, strict=True):
        if (given := members.get(id(each))) is not None:
            parts += (text[done:start], given, "," if each else "")
            done = start
    return "".join((*parts, text[done:]))


def _objects(value: Any) -> Iterator[dict[str, Any]]:
    waiting = [value]
    while waiting:
        each = waiting.pop()
        if isinstance(each, dict):
            yield each
            waiting += reversed(each.values())
        elif isinstance(each, list):
            waiting += reversed(each)


def replaced(text: str, members: dict[str, str]) -> str:
    """The object `text` with `members` replaced or added; all others keep their exact text."""
    raw = msgspec.json.decode(text, type=dict[str, msgspec.Raw])
    parts = {name: bytes(value).decode() for name, value in raw.items()} | members
    listed = (f"{json.dumps(name, ensure_ascii=False)}:{value}" for name, value in parts.items())
    return "{" + ",".join(listed) + "}"


def keeping(given: str, stored: str, names: Iterable[str]) -> str:
    """The object `given`, but with the members `names` as `stored` has them."""
    stored_members = msgspec.json.decode(stored, type=dict[str, msgspec.Raw])
    kept = {name: bytes(stored_members[name]).decode() for name in names if name in stored_members}
    return replaced(given, kept) if kept else given


def misplaced(schema: dict[str, Any]) -> Iterator[tuple[str, str, str]]:
    """Pointers into the schema, with message and code, to parts that no record could satisfy."""
    waiting: list[tuple[Any, str]] = [(schema, "")]
    known = set[int]()
    while waiting:
        node, at = waiting.pop(0)
        if not isinstance(node, dict) or id(node) in known:
            continue
        known.add(id(node))
        yield from _reserved(node, at)
        for key in _LISTS_OF_SCHEMAS:
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
    def reserved_in(names: Any, *path: str) -> Iterator[tuple[str, str, str]]:
        for index, name in enumerate(names if isinstance(names, list) else ()):
            if isinstance(name, str) and name in RESERVED:
                yield at + pointer(*path, index), f"{name} is set by the server", "reserved_name"

    yield from reserved_in(node.get("required"), "required")
    for key in ("dependentRequired", "properties", "dependentSchemas", "const"):
        members = node.get(key)
        for name, names in members.items() if isinstance(members, dict) else ():
            if name in RESERVED:
                yield at + pointer(key, name), "is a reserved name", "reserved_name"
            elif key == "dependentRequired":
                yield from reserved_in(names, key, name)


def unheeded(schema: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Pointers to `readOnly` and `writeOnly` outside the schemas of own fields, with the keyword.

    A definition shared by an own field and any other schema is reported, too.
    """
    own = Annotations(schema).own
    waiting: list[tuple[Any, str, _Role]] = [(schema, "", "record")]
    known = set[tuple[int, str]]()
    while waiting:
        node, at, role = waiting.pop()
        if isinstance(node, list):
            waiting += ((each, at + pointer(index), role) for index, each in enumerate(node))
        elif isinstance(node, dict) and (id(node), role) not in known:
            known.add((id(node), role))
            if role == "other" or (role == "defined" and id(node) not in own):
                for keyword in ("readOnly", "writeOnly"):
                    if node.get(keyword) is True:
                        yield at + pointer(keyword), keyword
            waiting += _parts_of(schema, node, at, role)


def _parts_of(
    schema: dict[str, Any], node: dict[str, Any], at: str, role: _Role
) -> Iterator[tuple[Any, str, _Role]]:
    """The schemas within `node`, and those that it refers to, each with its place and role."""
    for key, value in node.items():
        key_at = at + pointer(key)
        keeps_role = key == "allOf"
        if key in ("$ref", "$dynamicRef") and isinstance(value, str):
            keeps_role = key == "$ref"
            # An unused definition refers to nothing.
            if role != "defined":
                yield target(schema, value), _place(value, at), role if keeps_role else "other"
        elif key in _BY_NAME and isinstance(value, dict):
            is_own = key == "properties" and role == "record"
            inner: _Role = "own" if is_own else "other"
            if key in _DEFINITIONS or role == "defined":
                inner = "defined"
            for name, each in value.items():
                yield each, key_at + pointer(name), inner
        elif key not in _VALUES:
            yield value, key_at, role if keeps_role or role == "defined" else "other"


def _place(reference: str, at: str) -> str:
    return reference[1:] if reference.startswith("#/") or reference == "#" else at + pointer("$ref")
