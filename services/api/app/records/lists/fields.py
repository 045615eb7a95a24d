"""Sparse records: the SQL that prints only the fields that were asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from app.core.errors import InvalidParameter
from app.filters.errors import FilterError
from app.filters.language.parser import parse_path, split_list
from app.filters.paths import sql_literal
from app.records.sql.statement import SYSTEM_FIELDS, head, shown

if TYPE_CHECKING:
    from app.collections.models import Collection

MAX_FIELDS = 50
MAX_LENGTH = 1024


def record_columns(names: str, collection: Collection) -> list[str]:
    """SQL of a record's head and its own fields, see `text.rendered`, with the fields that
    `names` lists (`title,size`), or with all if the list is empty.

    `id` is always there; a record's absent fields are left out. Raises InvalidParameter or
    UnknownField (400) with the position of the error.
    """
    fields = collection.readable
    if not names:
        return [head(collection), shown(fields.hidden)]
    parts = [SYSTEM_FIELDS["id"]]
    for name, position in top_level(names).items():
        if name == "id":
            continue
        if name in SYSTEM_FIELDS:
            parts.append(SYSTEM_FIELDS[name])
            continue
        fields.types((name,), position)
        key = sql_literal(name)
        # concat_ws leaves out NULL, the value of an absent field.
        parts.append(f"to_json({key}::text)::text || ':' || (data->{key})::text")
    return [f"'{{' || concat_ws(',', {', '.join(parts)})", "NULL::jsonb"]


def top_level(names: str) -> dict[str, int]:
    """The names in a comma-separated list, and where each starts; backticks quote any name."""
    if len(names) > MAX_LENGTH:
        raise InvalidParameter(f"fields has at most {MAX_LENGTH} characters.", position=MAX_LENGTH)
    found = {}
    listed = split_list(names)
    if len(listed) > MAX_FIELDS:
        raise InvalidParameter(f"fields takes at most {MAX_FIELDS} names.")
    for start, part in listed:
        name = part.strip()
        position = start + part.index(name)
        try:
            path = parse_path(name, position)
        except FilterError as error:
            raise InvalidParameter(error.detail, position=error.position) from None
        if len(path) != 1:
            raise InvalidParameter(
                f"fields takes top-level names, not {name!r}.", position=position
            )
        found[path[0]] = position
    return found
