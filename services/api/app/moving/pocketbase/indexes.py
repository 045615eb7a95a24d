"""Indexes of PocketBase, which are SQL of SQLite, as declared indexes."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from app.filters.paths import SYSTEM_TYPES

if TYPE_CHECKING:
    from collections.abc import Callable

    from app.moving.pocketbase.names import Naming
    from app.moving.pocketbase.source import SourceCollection

# As many as a collection may declare, one of them for the former ids.
_MOST = 15
_INDEX = re.compile(
    r"\s*CREATE\s+(?P<unique>UNIQUE\s+)?INDEX\s+(?:IF\s+NOT\s+EXISTS\s+)?\S+\s+ON\s+\S+\s*"
    r"\((?P<columns>[^()]+)\)\s*(?:WHERE\s+(?P<where>.+?))?\s*;?\s*",
    re.IGNORECASE | re.DOTALL,
)
_COLUMN = re.compile(
    r"\s*[`\"\[]?(?P<name>\w+)[`\"\]]?(?P<nocase>\s+COLLATE\s+NOCASE)?(?P<desc>\s+DESC|\s+ASC)?\s*",
    re.IGNORECASE,
)
_NOT_EMPTY = re.compile(r"[`\"\[]?(\w+)[`\"\]]?\s*(?:!=|<>)\s*''", re.IGNORECASE)
_SYSTEM = ("tokenKey", "email")


def indexes_of(
    collection: SourceCollection, naming: Naming, tell: Callable[[str], None]
) -> list[Any]:
    """The declared indexes; `tell` is told of those that have no counterpart."""
    found: list[Any] = []
    for sql in collection.indexes:
        if collection.is_auth and any(f"`{name}`" in sql for name in _SYSTEM):
            # PocketBase's own, for what is the user's here.
            continue
        index = _index(sql, collection, naming)
        if index is None or len(found) == _MOST:
            tell(f"index left out: {' '.join(sql.split())}")
        elif index not in found:
            found.append(index)
    return found


def _index(sql: str, collection: SourceCollection, naming: Naming) -> Any:
    match = _INDEX.fullmatch(sql)
    columns = [_COLUMN.fullmatch(part) for part in match["columns"].split(",")] if match else []
    known = [column for column in columns if column is not None]
    if match is None or len(known) < len(columns):
        return None
    unique = bool(match["unique"])
    fields = _fields([column["name"] for column in known], collection, naming, unique=unique)
    where = match["where"]
    if fields is None or (
        where and not (unique and _is_about_empty(where, {column["name"] for column in known}))
    ):
        return None
    if unique:
        nocase = any(column["nocase"] for column in known)
        return {"fields": fields, "unique": True, **({"case_insensitive": True} if nocase else {})}
    signs = ["-" if (column["desc"] or "").strip().upper() == "DESC" else "" for column in known]
    signed = [f"{sign}{name}" for sign, name in zip(signs, fields, strict=True)]
    return signed[0] if len(signed) == 1 else signed


def _fields(
    columns: list[str], collection: SourceCollection, naming: Naming, *, unique: bool
) -> list[str] | None:
    """The names here of the columns that an index is on; None if there is no such index here."""
    names = naming.fields(collection)
    for column in columns:
        field = collection.field(column)
        if field is None or column not in names:
            return None
        if field.is_multiple and (unique or len(columns) > 1):
            return None
        if unique and names[column] in SYSTEM_TYPES and names[column] != "owner":
            return None
    return [names[column] for column in columns]


def _is_about_empty(where: str, columns: set[str]) -> bool:
    """Whether the condition only leaves out empty values, as a unique index here does anyway."""
    parts = re.split(r"\s+AND\s+", where, flags=re.IGNORECASE)
    matches = [_NOT_EMPTY.fullmatch(part.strip()) for part in parts]
    return all(match and match[1] in columns for match in matches)
