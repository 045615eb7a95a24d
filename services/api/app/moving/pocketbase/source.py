"""PocketBase's data as of one moment: its SQLite file, read in one transaction, never written."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from app.moving.errors import CannotMove
from app.moving.pocketbase.ids import Ids

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

FILE = "data.db"
SUPERUSERS = "_superusers"
# PocketBase's own words for what Listo calls operations.
RULES = {"list": "listRule", "read": "viewRule", "create": "createRule", "update": "updateRule",
         "delete": "deleteRule"}  # fmt: skip
_WAIT_SECONDS = 30.0


@dataclass(frozen=True)
class Field:
    """A field of a collection; `options` has whatever its type knows."""

    name: str
    type: str
    options: dict[str, Any]

    @property
    def required(self) -> bool:
        return bool(self.options.get("required"))

    @property
    def is_hidden(self) -> bool:
        return bool(self.options.get("hidden"))

    @property
    def target(self) -> str:
        """The id of the collection that a relation leads to."""
        return str(self.options.get("collectionId", ""))

    @property
    def is_multiple(self) -> bool:
        """Whether a select, a file or a relation takes several values."""
        return self.type in ("select", "file", "relation") and (self.number("maxSelect") or 0) > 1

    def number(self, option: str) -> float | None:
        value = self.options.get(option)
        if isinstance(value, bool) or not isinstance(value, int | float):
            return None
        return value


@dataclass(frozen=True)
class SourceCollection:
    """A collection; a rule of None is for superusers only, "" for anyone."""

    id: str
    name: str
    type: str
    is_system: bool
    fields: tuple[Field, ...]
    indexes: tuple[str, ...]
    rules: dict[str, str | None]
    options: dict[str, Any]

    @property
    def is_auth(self) -> bool:
        return self.type == "auth"

    def field(self, name: str) -> Field | None:
        return next((field for field in self.fields if field.name == name), None)


class Source:
    """Collections, and their records as rows."""

    def __init__(
        self, connection: sqlite3.Connection, found: list[SourceCollection], ids: Ids
    ) -> None:
        self._connection = connection
        self.collections = found
        self.ids = ids

    def rows(self, collection: SourceCollection) -> Iterator[dict[str, Any]]:
        """The records, in the order of the ids that they get here."""
        return self.query(
            f"SELECT * FROM {quoted(collection.name)} ORDER BY listo_id(?, id)", [collection.id]
        )

    def count(self, table: str) -> int:
        (row,) = self.query(f"SELECT count(*) AS count FROM {quoted(table)}")
        return int(row["count"])

    def query(self, sql: str, args: Sequence[object] = ()) -> Iterator[dict[str, Any]]:
        """Raises CannotMove."""
        with _explained(), closing(self._connection.execute(sql, args)) as cursor:
            names = [column[0] for column in cursor.description]
            for row in cursor:
                yield dict(zip(names, map(_as_text, row), strict=True))


def _as_text(value: Any) -> Any:
    """PocketBase stores no bytes; whatever else wrote them meant a text."""
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value


def quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


@contextmanager
def opened(path: Path) -> Iterator[Source]:
    """The data of the folder `pb_data`, or of a `data.db`, as of now. PocketBase may run and write:
    nothing of what it writes from now on is seen. Raises CannotMove."""
    file = path / FILE if path.is_dir() else path
    if not file.is_file():
        raise CannotMove(f"{file} is missing: PocketBase keeps its data in a file of that name.")
    uri = f"{file.absolute().as_uri()}?mode=ro"
    with _explained(file):
        connection = sqlite3.connect(uri, uri=True, isolation_level=None, timeout=_WAIT_SECONDS)
    with closing(connection):
        with _explained(file):
            connection.text_factory = lambda raw: raw.decode("utf-8", "replace")
            ids = Ids()
            connection.create_function(
                "listo_id", 2, lambda collection, id_: str(ids.of(collection, str(id_)))
            )
            connection.create_function("listo_lower", 1, _lower, deterministic=True)
            connection.execute("BEGIN")
            found = _collections(connection, file)
        yield Source(connection, found, ids)


def _lower(text: object) -> str | None:
    return text.lower() if isinstance(text, str) else None


def _collections(connection: sqlite3.Connection, file: Path) -> list[SourceCollection]:
    columns = {row[1] for row in connection.execute("PRAGMA table_info(_collections)")}
    if "schema" in columns:
        raise CannotMove(
            f"{file} is of a PocketBase before 0.23: start a newer PocketBase on a copy once, "
            "which brings it up to date, and take that over."
        )
    if "fields" not in columns:
        raise CannotMove(f"{file} is no database of PocketBase's.")
    chosen = ", ".join(RULES.values())
    rows = connection.execute(
        f"SELECT id, name, type, system, fields, indexes, options, {chosen} FROM _collections"
        " ORDER BY created, rowid"
    )
    return [_collection(row) for row in rows]


def _collection(row: tuple[Any, ...]) -> SourceCollection:
    id_, name, type_, system, fields, indexes, options, *rules = row
    return SourceCollection(
        id_,
        name,
        type_,
        bool(system),
        tuple(Field(each["name"], each["type"], each) for each in json.loads(fields)),
        tuple(json.loads(indexes)),
        dict(zip(RULES, rules, strict=True)),
        json.loads(options),
    )


@contextmanager
def _explained(file: Path | None = None) -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        where = f"{file}: " if file else ""
        hint = (
            " (a database that PocketBase has open needs a folder that can be written to; else "
            "take over a copy of it, with its -wal)"
            if "unable to open" in str(error) or "readonly" in str(error)
            else ""
        )
        raise CannotMove(f"{where}SQLite says: {error}{hint}.") from None
    except (ValueError, KeyError, TypeError):
        raise CannotMove(f"{file}: the collections in it cannot be read.") from None
