"""The formats of an export: the SQL of a record's columns, and the bytes of rows of them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final, Protocol

import msgspec
import orjson

from app.filters.paths import SYSTEM_TYPES
from app.records.lists.fields import record_columns, top_level
from app.records.text import rendered

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from app.collections.models import Collection

    # The texts of a record's columns, some of them None.
    Row = Sequence[Any]

# The column of a CSV file for fields that the schema allows but does not name, as a JSON object.
REST: Final = "_rest"
# Spreadsheets run a cell that begins with one of these characters; the last four are full-width.
FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")
# A record's own fields, each as PostgreSQL's JSON text: parsed numbers would lose digits.
_members = msgspec.json.Decoder(dict[str, msgspec.Raw])


class Format(Protocol):
    """A format for the records of one collection."""

    media_type: str
    # SQL, each of text or `jsonb`.
    columns: list[str]
    # Before the first record.
    head: bytes

    def write(self, rows: Sequence[Row], *, first: bool) -> bytes:
        """The records of these rows; `first` where none came before."""
        ...

    def tail(self, *, any_records: bool) -> bytes:
        """The bytes after the last record."""
        ...


class Ndjson:
    """A JSON object in each line."""

    media_type = "application/x-ndjson"
    head = b""

    def __init__(self, collection: Collection, fields: str) -> None:
        self.columns = record_columns(fields, collection)

    @staticmethod
    def write(rows: Sequence[Row], *, first: bool) -> bytes:  # noqa: ARG004
        return "".join([f"{rendered(head, data)}\n" for head, data in rows]).encode()

    @staticmethod
    def tail(*, any_records: bool) -> bytes:  # noqa: ARG004
        return b""


class Json:
    """One array of objects, a line each."""

    media_type = "application/json"
    head = b"["

    def __init__(self, collection: Collection, fields: str) -> None:
        self.columns = record_columns(fields, collection)

    @staticmethod
    def write(rows: Sequence[Row], *, first: bool) -> bytes:
        text = ",\n".join([rendered(head, data) for head, data in rows])
        return f"{'' if first else ','}\n{text}".encode()

    @staticmethod
    def tail(*, any_records: bool) -> bytes:
        return b"\n]\n" if any_records else b"]\n"


class Csv:
    """RFC 4180 with a header, in UTF-8; `id` is the first column. An absent field and null are an
    empty cell, an empty text is an empty cell in quotes, arrays and objects are JSON.

    Unless `raw`, texts that spreadsheets would run begin with an apostrophe.
    """

    media_type = "text/csv; charset=utf-8; header=present"

    def __init__(self, collection: Collection, fields: str, *, raw: bool = False) -> None:
        readable = collection.readable
        names = [*top_level(fields)] if fields else readable.names(())
        self._raw = raw
        system = ["id", *(name for name in names if name in SYSTEM_TYPES and name != "id")]
        self._own = [name for name in names if name not in SYSTEM_TYPES]
        self._rest = not fields and not readable.is_closed
        _, own = record_columns("", collection)
        self.columns = [*map(_system_column, system), own]
        header = [*system, *self._own]
        if self._rest:
            header.append(unused(REST, self._own))
        self.head = _line([self._text(name) for name in header]).encode()

    def write(self, rows: Sequence[Row], *, first: bool) -> bytes:  # noqa: ARG002
        return "".join([_line([*row[:-1], *self._cells(row[-1])]) for row in rows]).encode()

    @staticmethod
    def tail(*, any_records: bool) -> bytes:  # noqa: ARG004
        return b""

    def _cells(self, data: str | None) -> list[str | None]:
        members = _members.decode(data or "{}")
        cells = [self._cell(members.pop(name, None)) for name in self._own]
        if self._rest:
            rest = ", ".join([f"{_dumped(name)}: {_str(raw)}" for name, raw in members.items()])
            cells.append(f"{{{rest}}}" if rest else None)
        return cells

    def _cell(self, value: msgspec.Raw | None) -> str | None:
        if value is None:
            return None
        text = _str(value)
        if text[0] == '"':
            return self._text(json.loads(text) if "\\" in text else text[1:-1])
        return None if text == "null" else text

    def _text(self, text: str) -> str:
        return text if self._raw or not text.startswith(FORMULA) else f"'{text}"


NAMES: Final = ("ndjson", "csv", "json")


def format_of(name: str, collection: Collection, fields: str, *, raw_formulas: bool) -> Format:
    """The format of that name, one of NAMES."""
    match name:
        case "ndjson":
            return Ndjson(collection, fields)
        case "json":
            return Json(collection, fields)
    return Csv(collection, fields, raw=raw_formulas)


def end_mark(count: int, sha256: str) -> bytes:
    """The last line of an NDJSON file that tells its records and the digest of all lines before."""
    return orjson.dumps({"_end": {"count": count, "sha256": sha256}}) + b"\n"


def _system_column(name: str) -> str:
    return f"listo.rfc3339({name})" if SYSTEM_TYPES[name] == "timestamptz" else f"{name}::text"


def unused(name: str, taken: Sequence[str]) -> str:
    while name in taken:
        name = f"_{name}"
    return name


def _str(raw: msgspec.Raw) -> str:
    return bytes(raw).decode()


def _dumped(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def _line(cells: Sequence[str | None]) -> str:
    return ",".join(["" if cell is None else _written(cell) for cell in cells]) + "\r\n"


def _written(cell: str) -> str:
    if not cell or '"' in cell or "," in cell or "\n" in cell or "\r" in cell:
        return f'"{cell.replace(chr(34), chr(34) * 2)}"'
    return cell
