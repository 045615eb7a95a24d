"""Comparisons of PocketBase's rules, said here; what means another thing here is not said at all.

An empty value is a text to PocketBase and absent here, and nobody has an empty id there and none
here. Where that would let more callers through, the filter has a condition more.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from app.filters.paths import SYSTEM_TYPES
from app.moving.pocketbase.names import quoted
from app.moving.pocketbase.rules.parser import Constant, Name, Untranslatable
from app.moving.pocketbase.rules.times import compared_time

if TYPE_CHECKING:
    from app.moving.pocketbase.names import Naming
    from app.moving.pocketbase.rules.parser import Operand
    from app.moving.pocketbase.source import Field, SourceCollection

_CALLER = "@request.auth."
_ID = f"{_CALLER}id"
_SENT = re.compile(r"@request\.(?:body|data)\.(\w+)")
_MIRRORED = {">": "<", "<": ">", ">=": "<=", "<=": ">="}
_EQUAL = ("=", "!=")
_TEXTS = ("text", "email", "url", "editor", "select", "file")
_TIMES = ("date", "autodate")
# Fields that a client which leaves them out does not send as another value.
_SENDABLE = ("text", "email", "url", "editor", "select", "relation")


@dataclass(frozen=True)
class _Place:
    """A field of the record, by its name here; `each` is for an element of several."""

    name: str
    field: Field
    each: bool = False

    @property
    def is_system(self) -> bool:
        return self.name in SYSTEM_TYPES


class Comparisons:
    """Says the comparisons of one rule of a collection."""

    def __init__(self, collection: SourceCollection, naming: Naming, operation: str) -> None:
        self._collection, self._naming = collection, naming
        self._names = naming.fields(collection)
        self._operation = operation

    def say(self, left: Operand, operator: str, right: Operand) -> str:
        """Raises Untranslatable."""
        if isinstance(left, Constant) or (_is_caller(left) and not isinstance(right, Constant)):
            left, operator, right = right, _mirrored(operator), left
        if isinstance(left, Constant):
            raise Untranslatable(f"{left.text} is compared with no field")
        if _is_caller(left):
            if not isinstance(right, Constant):
                raise Untranslatable("the caller is compared with no field")
            return self._caller(left.text, operator.removeprefix("?"), right)
        place = self._place(left.text, operator)
        any_of, operator = operator.startswith("?"), operator.removeprefix("?")
        if place.each or (place.field.is_multiple and operator in ("~", "!~")):
            return self._element(place, operator, right, any_of=any_of)
        if place.field.is_multiple:
            raise Untranslatable(f"{left.text} has several values, which no text equals")
        if isinstance(right, Constant):
            return self._constant(place, operator, right)
        if right.text == _ID:
            return self._is_caller(place, operator)
        return self._both(place, operator, self._place(right.text, operator))

    def _place(self, text: str, operator: str) -> _Place:
        sent = _SENT.fullmatch(text)
        if sent is not None and self._operation != "create":
            raise Untranslatable(f"{text} is known before the change only")
        path, _, modifier = (sent[1] if sent else text).partition(":")
        name, _, rest = path.partition(".")
        field = self._collection.field(name)
        if path.startswith("@") or modifier not in ("", "each") or field is None:
            raise Untranslatable(f"{text} has no counterpart")
        if name not in self._names:
            raise Untranslatable(f"{text} is no field of the records here")
        if sent and (field.type not in _SENDABLE or field.is_multiple or operator not in _EQUAL):
            raise Untranslatable(f"{text} cannot be told from the record that is made of it")
        # Only `=`: the record may be gone, and have no id then.
        if rest and not (rest == "id" and field.type == "relation" and operator in ("=", "?=")):
            raise Untranslatable(f"{text} leads to another record, or into one")
        each = field.is_multiple and bool(rest or modifier)
        if modifier and not each:
            raise Untranslatable(f"{text} has one value")
        return _Place(quoted(self._names[name]), field, each)

    def _caller(self, text: str, operator: str, right: Constant) -> str:
        if operator not in _EQUAL:
            raise Untranslatable(f"{text} {operator} has no counterpart")
        known = text in (_ID, f"{_CALLER}collectionName", f"{_CALLER}collectionId")
        if known and right.value in ("", None):
            return "@user.id is null" if operator == "=" else "@user.id is not null"
        roles = self._naming.roles
        role = None
        if text == f"{_CALLER}collectionName":
            role = next(
                (roles[each.id] for each in self._naming.taken
                 if each.id in roles and each.name == right.value), None,
            )  # fmt: skip
        elif text == f"{_CALLER}collectionId":
            role = roles.get(str(right.value))
        if role is None:
            raise Untranslatable(
                f"{text} {operator} {right.text}: of the caller, id and roles are known here"
            )
        condition = f'@user.roles has "{role}"'
        return condition if operator == "=" else f"not ({condition})"

    def _is_caller(self, place: _Place, operator: str) -> str:
        """The field and the caller's id."""
        own = place.name == "id" and self._collection.is_auth
        if operator not in _EQUAL or not (own or self._naming.leads_to_users(place.field)):
            raise Untranslatable(f"{place.field.name} holds no id of a user")
        if operator == "=" or own:
            return f"{place.name} {operator} @user.id"
        # PocketBase takes nobody for the user with an empty id.
        return f"({place.name} != @user.id and (@user.id is not null or {place.name} is not null))"

    def _element(self, place: _Place, operator: str, right: Operand, *, any_of: bool) -> str:
        """Whether an element of several values is like that."""
        field, users = place.field, self._naming.leads_to_users(place.field)
        if isinstance(right, Name):
            if right.text != _ID or not users:
                raise Untranslatable(f"{field.name} is compared with {right.text}")
            if any_of and operator == "=":
                return f"{place.name} has @user.id"
            # The text of all ids holds the caller's only as one of them.
            if not place.each and operator in ("~", "!~") and not any_of:
                if operator == "~":
                    return f"{place.name} has @user.id"
                return f"(not ({place.name} has @user.id) and @user.id is not null)"
        elif (
            place.each
            and any_of
            and operator == "="
            and isinstance(right.value, str)
            and right.value
        ):
            value = right.value
            if field.type == "relation":
                value = str(self._naming.ids.of(field.target, value))
            return f"{place.name} has {_text(value)}"
        raise Untranslatable(f"{field.name} has several values, and has and in are all there is")

    def _constant(self, place: _Place, operator: str, right: Constant) -> str:
        field, value = place.field, right.value
        if place.name == "id" or field.type == "relation":
            return self._id_constant(place, operator, right)
        if field.type in _TEXTS:
            return _text_constant(place, operator, right)
        is_empty = value is None or (value == "" and field.type in _TIMES)
        if is_empty and operator in _EQUAL and field.type in (*_TIMES, "json"):
            return _absent(place.name, operator)
        if field.type in _TIMES and isinstance(value, str):
            return compared_time(place.name, operator, value, may_be_absent=not place.is_system)
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        if (field.type == "number" and is_number and operator not in ("~", "!~")) or (
            field.type == "bool" and isinstance(value, bool) and operator in _EQUAL
        ):
            return f"{place.name} {operator} {right.text}"
        raise Untranslatable(f"{field.name} {operator} {right.text} means another thing here")

    def _id_constant(self, place: _Place, operator: str, right: Constant) -> str:
        if operator not in _EQUAL:
            raise Untranslatable(f"ids are other ones here, so {operator} means another thing")
        if right.value in ("", None):
            return _absent(place.name, operator)
        if not isinstance(right.value, str):
            raise Untranslatable(f"{right.text} is no id")
        target = self._collection.id if place.name == "id" else place.field.target
        return f"{place.name} {operator} {_text(str(self._naming.ids.of(target, right.value)))}"

    def _both(self, place: _Place, operator: str, other: _Place) -> str:
        kinds = {_kind(place.field), _kind(other.field)}
        system = place.is_system or other.is_system
        if operator != "=" or len(kinds) > 1 or kinds & {"", "time"} or system:
            raise Untranslatable(
                f"{place.field.name} {operator} {other.field.name} has no counterpart"
            )
        return f"{place.name} = {other.name}"


def _text_constant(place: _Place, operator: str, right: Constant) -> str:
    value = right.value
    if value in ("", None) and operator in _EQUAL:
        if operator == "=":
            return f'({place.name} is null or {place.name} = "")'
        return f'({place.name} is not null and {place.name} != "")'
    if not isinstance(value, str):
        raise Untranslatable(f"{place.field.name} is a text, and {right.text} is none")
    if operator in _EQUAL:
        return f"{place.name} {operator} {_text(value)}"
    if operator not in ("~", "!~"):
        raise Untranslatable(f"texts have another order here, so {operator} means another thing")
    if not value or not value.isascii():
        # SQLite knows upper and lower case of ASCII alone.
        raise Untranslatable(f"{right.text} is compared without regard to case otherwise here")
    if "%" not in value:
        value = f"%{value.replace('_', chr(92) + '_')}%"
    word = "ilike" if operator == "~" else "not ilike"
    return f"{place.name} {word} {_text(value)}"


def _absent(name: str, operator: str) -> str:
    return f"{name} is null" if operator == "=" else f"{name} is not null"


def _kind(field: Field) -> str:
    if field.type in _TEXTS:
        return "text"
    if field.type in _TIMES:
        return "time"
    if field.type == "relation":
        return f"relation {field.target}"
    return field.type if field.type in ("number", "bool") else ""


def _is_caller(operand: Operand) -> bool:
    return isinstance(operand, Name) and operand.text.startswith(_CALLER)


def _mirrored(operator: str) -> str:
    any_of, bare = operator.startswith("?"), operator.removeprefix("?")
    if bare in ("~", "!~"):
        raise Untranslatable(f"{operator} has the text on its left")
    return f"{'?' if any_of else ''}{_MIRRORED.get(bare, bare)}"


def _text(value: str) -> str:
    return json.dumps(value, ensure_ascii=False)
