"""Records of PocketBase as the JSON of a record's own fields.

PocketBase stores an empty text for an absent value, and here an absent value is absent.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import orjson

from app.core.errors import Problem
from app.core.json import parse_strict
from app.moving.pocketbase.names import FORMER_ID
from app.moving.pocketbase.schema import zero_fits

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from app.moving.pocketbase.ids import Ids
    from app.moving.pocketbase.names import Naming
    from app.moving.pocketbase.source import Field, SourceCollection

# `2022-01-01 10:00:00.123Z`
_TIME = re.compile(r"(\d{4}-\d\d-\d\d)[ T](\d\d:\d\d:\d\d)(?:\.(\d{1,6})\d*)?Z")


class Converter:
    """Makes lines of records for one collection."""

    def __init__(self, collection: SourceCollection, naming: Naming, moment: datetime) -> None:
        names = naming.fields(collection)
        self._collection, self._ids = collection, naming.ids
        self._moment = moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        self._system = {name: own for own, name in naming.system(collection).items()}
        self._owner = collection.field("owner") if "owner" in self._system else None
        self._fields: list[tuple[str, bytes, Callable[[Any], bytes | None]]] = [
            (field.name, orjson.dumps(names[field.name]), _converter(field, naming.ids))
            for field in naming.kept(collection)
        ]
        self._former = orjson.dumps(FORMER_ID)

    def data(self, row: dict[str, Any]) -> bytes:
        """The record's own fields."""
        members = [
            b"%s:%s" % (name, value)
            for column, name, convert in self._fields
            if (value := convert(row.get(column))) is not None
        ]
        members.append(b"%s:%s" % (self._former, orjson.dumps(str(row["id"]))))
        return b"{" + b",".join(members) + b"}"

    def line(self, row: dict[str, Any], data: bytes) -> bytes:
        """The record as a line of a dump, with its own fields `data`."""
        id_ = self._ids.of(self._collection.id, str(row["id"]))
        created = self._time(row, "created_at")
        updated = self._time(row, "updated_at") if "updated_at" in self._system else created
        owner = b"null"
        if self._owner is not None and row.get("owner"):
            owner = b'"%s"' % str(self._ids.of(self._owner.target, row["owner"])).encode()
        elif self._collection.is_auth:
            # A user's own profile.
            owner = b'"%s"' % str(id_).encode()
        head = f'{{"id":"{id_}","version":1,"created_at":"{created}","updated_at":"{updated}"'
        return b'%s,"owner":%s,%s\n' % (head.encode(), owner, data[1:])

    def _time(self, row: dict[str, Any], name: str) -> str:
        return time_of(row.get(self._system.get(name, ""))) or self._moment


def time_of(value: Any) -> str | None:
    """A time of PocketBase's in the form of a dump; None for none."""
    found = _TIME.fullmatch(value) if isinstance(value, str) else None
    if found is None:
        return None
    return f"{found[1]}T{found[2]}.{(found[3] or '').ljust(6, '0')}Z"


def _converter(field: Field, ids: Ids) -> Callable[[Any], bytes | None]:
    if field.type == "relation":
        return _relations(field, ids)
    if field.is_multiple:
        return _list
    if field.type == "number" and zero_fits(field) and not field.required:
        return _zero
    if field.type == "bool" and field.required:
        return _required_bool
    return _BY_TYPE.get(field.type, _text)


def _text(value: Any) -> bytes | None:
    return None if value in (None, "") else orjson.dumps(value)


def _zero(value: Any) -> bytes | None:
    return b"0" if value in (None, "") else orjson.dumps(value)


def _number(value: Any) -> bytes | None:
    return None if value in (None, "", 0) else orjson.dumps(value)


def _bool(value: Any) -> bytes | None:
    return b"true" if value else b"false"


def _required_bool(value: Any) -> bytes | None:
    return b"true" if value else None


def _date(value: Any) -> bytes | None:
    found = _TIME.fullmatch(value) if isinstance(value, str) else None
    if found is None:
        return _text(value)
    fraction = f".{found[3]}" if found[3] else ""
    return orjson.dumps(f"{found[1]}T{found[2]}{fraction}Z")


def _json(value: Any) -> bytes | None:
    """The text as it is, so that numbers keep their digits."""
    if value in (None, "", "null"):
        return None
    if not isinstance(value, str):
        return orjson.dumps(value)
    try:
        parse_strict(value.encode())
    except Problem:
        return orjson.dumps(value)
    return re.sub(rb"[\r\n\t]", b" ", value.encode())


def _list(value: Any) -> bytes | None:
    items = _items(value)
    return orjson.dumps(items) if items else None


def _relations(field: Field, ids: Ids) -> Callable[[Any], bytes | None]:
    def one(value: Any) -> bytes | None:
        return None if value in (None, "") else orjson.dumps(str(ids.of(field.target, str(value))))

    def several(value: Any) -> bytes | None:
        items = [str(ids.of(field.target, str(each))) for each in _items(value)]
        return orjson.dumps(items) if items else None

    return several if field.is_multiple else one


def _items(value: Any) -> list[Any]:
    """The items of a list, which is JSON; a single value from before the field took several."""
    if value in (None, ""):
        return []
    if not isinstance(value, str):
        return [value]
    try:
        found = orjson.loads(value)
    except orjson.JSONDecodeError:
        return [value]
    return found if isinstance(found, list) else [value]


_BY_TYPE = {
    "number": _number,
    "bool": _bool,
    "date": _date,
    "autodate": _date,
    "json": _json,
    "geoPoint": _json,
}
