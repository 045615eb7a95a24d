"""The SQL of a field, the same in all statements, so that PostgreSQL finds an index on it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final
from uuid import UUID

from app.filters.errors import FilterError

if TYPE_CHECKING:
    from app.filters.formats import Format
    from app.filters.language.syntax import Path

# The columns of a record's table that are not its data, and their SQL types.
SYSTEM_TYPES: Final = {
    "id": "uuid",
    "version": "bigint",
    "created_at": "timestamptz",
    "updated_at": "timestamptz",
    "owner": "uuid",
}

# Stands for an absent owner: never NULL, and first in order, like a null in jsonb.
NO_OWNER: Final = UUID(int=0)


def field_sql(path: Path, position: int | None = None, format_: Format | None = None) -> str:
    """SQL of the value at `path`, never NULL: a system column or jsonb.

    With a format, strings have the form that they are compared by. Absent and null are the same.
    Raises FilterError (400) for a path into a system column.
    """
    if path[0] in SYSTEM_TYPES:
        if len(path) > 1:
            raise FilterError(f"{path[0]} has no fields of its own.", position=position)
        return f"coalesce(owner, '{NO_OWNER}'::uuid)" if path[0] == "owner" else path[0]
    if format_ is not None and format_.function is not None:
        return f"listo.{format_.function}({plain_sql(path)})"
    return f"coalesce({plain_sql(path)}, 'null'::jsonb)"


def elements_sql(path: Path, format_: Format | None) -> str:
    """SQL of the list at `path`, whose strings have the form that they are compared by."""
    if format_ is not None and format_.function is not None:
        return f"listo.each({plain_sql(path)}, '{format_.name}')"
    return field_sql(path)


def plain_sql(path: Path) -> str:
    """SQL of the value at `path` within the data; NULL if it is absent."""
    return "data" + "".join(f"->{sql_literal(key)}" for key in path)


def sql_literal(text: str) -> str:
    """`text` as an SQL string constant, for keys that must stand in index expressions."""
    quoted = text.replace("'", "''")
    if "\\" in quoted:
        # This constant means the same under any standard_conforming_strings.
        return "E'" + quoted.replace("\\", "\\\\") + "'"
    return f"'{quoted}'"
