"""Sparse records: the SQL that prints only the fields that were asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from app.core.errors import InvalidParameter
from app.filters.compiler import sql_literal
from app.filters.parser import parse_path
from app.records.statements import RECORD, SYSTEM_FIELDS

if TYPE_CHECKING:
    from app.filters.fields import Fields

MAX_FIELDS = 50


def record_sql(names: str, fields: Fields) -> str:
    """SQL text of a record with the fields that `names` lists (`title,size`), all if it is empty.

    `id` is always there; a field that a record lacks is left out of it. Raises InvalidParameter.
    """
    if not names:
        return RECORD
    wanted = split(names)
    parts = [SYSTEM_FIELDS["id"]]
    for name in dict.fromkeys(wanted):
        if name == "id":
            continue
        if name in SYSTEM_FIELDS:
            parts.append(SYSTEM_FIELDS[name])
            continue
        fields.types((name,))
        key = sql_literal(name)
        # concat_ws leaves out what is NULL, and a field that is not there is.
        parts.append(f"to_json({key}::text)::text || ':' || (data->{key})::text")
    return f"'{{' || concat_ws(',', {', '.join(parts)}) || '}}'"


def split(names: str) -> list[str]:
    """The top-level names in a comma-separated list; backticks quote any name."""
    found = []
    for part in _parts(names):
        path = parse_path(part.strip())
        if len(path) != 1:
            raise InvalidParameter(f"fields takes top-level names, not {part.strip()!r}.")
        found.append(path[0])
    if len(found) > MAX_FIELDS:
        raise InvalidParameter(f"fields takes at most {MAX_FIELDS} names.")
    return found


def _parts(names: str) -> list[str]:
    parts, current, quoted = [], "", False
    for character in names:
        quoted ^= character == "`"
        if character == "," and not quoted:
            parts.append(current)
            current = ""
        else:
            current += character
    return [*parts, current]
