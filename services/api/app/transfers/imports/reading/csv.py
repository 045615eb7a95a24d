"""From lines of CSV (RFC 4180) to records that are not checked yet, typed as the schema says."""

from __future__ import annotations

import json
import re
from collections import Counter
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import orjson

from app.collections.json_schema.keywords import RESERVED
from app.core.errors import FieldError
from app.core.json import pointer
from app.filters.errors import FilterError
from app.filters.fields import did_you_mean
from app.transfers.exports.formats import FORMULA, REST, unused
from app.transfers.imports.errors import Refusal, UnreadableFile
from app.transfers.imports.reading.lines import Lines
from app.transfers.imports.reading.ndjson import Given, read_object

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from app.collections.models import Collection

    # From a cell's text to JSON text, None for an absent field. Raises _WrongType.
    Typed = Callable[[str], str | None]

_CELL = re.compile(r'(?:"((?:[^"]|"")*+)"|([^",]*+))(,|\Z)')
_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*+)(?:\.[0-9]++)?+(?:[eE][-+]?[0-9]++)?+")
_INTEGER = re.compile(r"-?(?:0|[1-9][0-9]*+)")
_BOOLEANS = {"true": "true", "false": "false", "TRUE": "true", "FALSE": "false"}
_MOST_COLUMNS = 10_000
_OTHER_DELIMITERS = {";": "a semicolon", "\t": "a tab"}


class _WrongType(Exception):
    """The cell's text is no value of the field's types."""


class Csv:
    """A header with the names of fields, then a record in each row. An empty cell is an absent
    field, an empty cell in quotes is an empty text.

    Unless `raw`, an apostrophe before what spreadsheets would run is taken away.
    """

    def __init__(
        self, collection: Collection, longest: int, columns: Mapping[str, str | None], *, raw: bool
    ) -> None:
        self.head = ""
        self._collection = collection
        self._longest = longest
        self._renamed = columns
        self._raw_formulas = raw
        self._lines = Lines(longest)
        # The rows of a row that goes on in the next line, since a quote is open.
        self._open: list[bytes] = []
        self._open_octets = 0
        self._begins_at = 0
        # The field of each column, its JSON name and how its cells are read; None: left out.
        self._columns: list[tuple[str, str, Typed] | None] = []
        self._rest: int | None = None

    def feed(self, part: bytes) -> Iterator[Given | Refusal]:
        for number, line in self._lines.feed(part):
            yield from self._line(number, line)

    def end(self) -> Iterator[Given | Refusal]:
        for number, line in self._lines.end():
            yield from self._line(number, line)
        if self._open:
            raise UnreadableFile(
                f"The quote that opens in line {self._begins_at} is not closed; "
                "nothing was imported."
            )
        if not self.head:
            raise UnreadableFile("The file is empty; a header is expected.")

    def _line(self, number: int, line: bytes | None) -> Iterator[Given | Refusal]:
        if line is None:
            # Where the row ends can no longer be told.
            raise UnreadableFile(
                f"Line {number} is longer than the {self._longest} bytes that a line may have."
            )
        if not self._open:
            self._begins_at = number
        self._open_octets += len(line) + 1
        if line.count(b'"') % 2 != bool(self._open):
            self._open.append(line)
            if self._open_octets > self._longest:
                raise UnreadableFile(
                    f"The row that begins in line {self._begins_at} is longer than "
                    f"{self._longest} bytes; is a quote not closed?"
                )
            return
        row = b"\n".join([*self._open, line])
        self._open, self._open_octets = [], 0
        row = row.removesuffix(b"\r")
        if row:
            yield from self._row(self._begins_at, row)

    def _row(self, number: int, row: bytes) -> Iterator[Given | Refusal]:
        if not self.head:
            self._begin(row)
            return
        made = self._record(number, row)
        yield made if isinstance(made, Given) else replace(made, raw=row)

    def _record(self, number: int, row: bytes) -> Given | Refusal:
        try:
            text = row.decode()
        except UnicodeDecodeError as error:
            message = f"is not UTF-8 at byte {error.start}"
            return Refusal(number, [FieldError("", message, "invalid_utf8")])
        cells = _cells(text)
        if cells is None:
            message = "has a quote within a cell that does not stand in quotes as a whole"
            return Refusal(number, [FieldError("", message, "invalid_csv")])
        if len(cells) != len(self._columns):
            message = f"has {len(cells)} cells, and the header has {len(self._columns)}"
            return Refusal(number, [FieldError("", message, "invalid_csv")])
        members, faults = [], []
        for column, (cell, quoted) in zip(self._columns, cells, strict=True):
            if column is None or (not cell and not quoted):
                continue
            name, key, typed = column
            try:
                value = typed(cell)
            except _WrongType as error:
                faults.append(FieldError(pointer(name), str(error), "type"))
                continue
            if value is not None:
                members.append(f"{key}:{value}")
        if self._rest is not None and (rest := cells[self._rest][0]):
            # An object of further members; whatever else it is, reading refuses it.
            members.append(rest.strip().removeprefix("{").removesuffix("}"))
        if faults:
            return Refusal(number, faults)
        return read_object(number, f"{{{','.join(filter(None, members))}}}".encode(), row)

    def _begin(self, row: bytes) -> None:
        """Raises UnreadableFile for a header that does not fit."""
        try:
            text = row.decode()
        except UnicodeDecodeError:
            raise UnreadableFile("The header is not UTF-8.") from None
        cells = _cells(text)
        if cells is None:
            raise UnreadableFile("The header has a quote in the middle of a name.")
        self.head = text
        if len(cells) > _MOST_COLUMNS:
            raise UnreadableFile(f"The header has more than {_MOST_COLUMNS:,} columns.")
        names = [self._text(cell) for cell, _ in cells]
        if absent := [name for name in self._renamed if name not in set(names)]:
            raise UnreadableFile(f"The header has no column {absent[0]!r}, which columns names.")
        fields = [self._renamed.get(name, name) for name in names]
        counts = Counter(fields)
        repeated = next((name for name in fields if name and counts[name] > 1), None)
        if repeated is not None:
            raise UnreadableFile(f"The header has the column {repeated!r} more than once.")
        for number, name in enumerate(fields):
            if name == REST and self._is_rest(fields):
                self._rest = number
                self._columns.append(None)
            else:
                self._columns.append(None if name is None else self._column(name, text))

    def _is_rest(self, fields: Sequence[str | None]) -> bool:
        others = [name for name in fields if name is not None and name != REST]
        known = self._collection.fields
        return not known.is_closed and unused(REST, [*others, *known.names(())]) == REST

    def _column(self, name: str, header: str) -> tuple[str, str, Typed]:
        key = json.dumps(name, ensure_ascii=False)
        if name in RESERVED:
            return name, key, _integer if name == "version" else _as_it_is
        if not name:
            raise UnreadableFile("The header has a column without a name.")
        try:
            types = self._collection.fields.types((name,))
        except FilterError:
            hint = did_you_mean(name, self._collection.fields.names(())) or "."
            raise UnreadableFile(
                f"The collection has no field for the column {name[:64]!r}{hint}"
                f"{_delimiter_hint(header)}"
            ) from None
        return name, key, partial(_typed, types, self._text)

    def _text(self, cell: str) -> str:
        """The cell without the apostrophe that an export puts before a formula."""
        if self._raw_formulas or cell[:1] != "'" or not cell.startswith(FORMULA, 1):
            return cell
        return cell[1:]


def _cells(row: str) -> list[tuple[str, bool]] | None:
    """The cells of a row, each with whether it stands in quotes; None for misplaced quotes."""
    if '"' not in row:
        return [(cell, False) for cell in row.split(",")]
    cells, at = [], 0
    while True:
        match = _CELL.match(row, at)
        if match is None:
            return None
        quoted, plain, end = match.groups()
        if quoted is None:
            cells.append((plain, False))
        else:
            cells.append((quoted.replace('""', '"') if '""' in quoted else quoted, True))
        if not end:
            return cells
        at = match.end()


def _typed(types: frozenset[str], text_of: Callable[[str], str], cell: str) -> str | None:
    if types <= {"string", "null"}:
        return orjson.dumps(text_of(cell)).decode()
    bare = cell.strip()
    if value := _other_than_text(types, bare):
        return value
    if "string" in types:
        return orjson.dumps(text_of(cell)).decode()
    if not bare:
        return None
    raise _WrongType(f"must be of type {' or '.join(sorted(types - {'null'}))}")


def _other_than_text(types: frozenset[str], cell: str) -> str | None:
    """The cell as a value that is no text, if it can be one of these types."""
    if "number" in types and _NUMBER.fullmatch(cell):
        return cell
    if "boolean" in types and cell in _BOOLEANS:
        return _BOOLEANS[cell]
    if cell[:1] in ("[", "{") and _is_json(cell, types):
        return cell
    if cell == "null" and "null" in types and "string" not in types:
        return cell
    return None


def _is_json(text: str, types: frozenset[str]) -> bool:
    if ("array" if text[0] == "[" else "object") not in types:
        return False
    try:
        orjson.loads(text)
    except ValueError:
        return False
    return True


def _as_it_is(cell: str) -> str | None:
    return orjson.dumps(cell).decode() if cell else None


def _integer(cell: str) -> str | None:
    if cell and not _INTEGER.fullmatch(cell):
        raise _WrongType("must be of type integer")
    return cell or None


def _delimiter_hint(header: str) -> str:
    if "," in header:
        return ""
    other = next((name for sign, name in _OTHER_DELIMITERS.items() if sign in header), None)
    return f" Cells are separated by commas, and the header has {other}." if other else ""
