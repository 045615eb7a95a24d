"""The keys of groups: a field, or the year, month, … of a time."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from app.core.errors import InvalidParameter
from app.filters.language.parser import parse_path
from app.filters.paths import SYSTEM_TYPES, field_sql, plain_sql

if TYPE_CHECKING:
    from app.filters.fields import Fields
    from app.filters.language.syntax import Path
    from app.filters.params import Params

# The patterns of to_char for the parts of a time, from ISO 8601 where it has the part.
PARTS: Final = {
    "year": "YYYY",
    "quarter": 'YYYY-"Q"Q',
    "month": "YYYY-MM",
    "week": 'IYYY-"W"IW',
    "day": "YYYY-MM-DD",
    "hour": 'YYYY-MM-DD"T"HH24',
}
_CALL = re.compile(r"\s*(\w+)\((.*)\)\s*", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Key:
    """`name` as the client wrote it, and SQL of the value."""

    name: str
    sql: str


def parse_key(text: str, position: int, fields: Fields, params: Params, zone: str) -> Key:
    """Raises InvalidParameter, FilterError and UnknownField (400)."""
    name = text.strip()
    call = _CALL.fullmatch(text)
    if call is None:
        path = parse_path(name, position + text.index(name))
        return Key(name, _value(path, position, fields))
    pattern = PARTS.get(call[1])
    if pattern is None:
        raise InvalidParameter(f"group takes a field, or {', '.join(PARTS)} of a field.")
    path = parse_path(call[2].strip(), position + call.start(2))
    moment = _moment(path, position, fields, params, zone, hours=call[1] == "hour")
    return Key(name, f"to_char({moment}, '{pattern}')")


def _value(path: Path, position: int, fields: Fields) -> str:
    if path[0] in SYSTEM_TYPES:
        field_sql(path, position)
        time = SYSTEM_TYPES[path[0]] == "timestamptz"
        return f"listo.rfc3339({path[0]})" if time else path[0]
    fields.types(path, position)
    return field_sql(path, position)


def _moment(
    path: Path, position: int, fields: Fields, params: Params, zone: str, *, hours: bool
) -> str:
    """SQL of a field's time as a local `timestamp`; NULL where it has none."""
    if SYSTEM_TYPES.get(path[0]) == "timestamptz":
        return f"({field_sql(path, position)} AT TIME ZONE {params.add(zone, 'text')})"
    format_ = None if path[0] in SYSTEM_TYPES else fields.format(path)
    value = plain_sql(path)
    if format_ is not None and format_.name == "date-time":
        # PostgreSQL's own type has no year 0 and no offset of a day; see the form's function.
        form = (
            f"(SELECT CASE jsonb_typeof({value}) WHEN 'string' THEN"
            f" {field_sql(path, position, format_)} #>> '{{}}' END AS form OFFSET 0) AS formed"
        )
        numbers = ", ".join(f"substr(form, {start}, 2)::int" for start in (7, 10, 13, 16))
        return (
            f"(SELECT make_timestamp(substr(form, 2, 4)::int, {numbers}, 0)"
            f" AT TIME ZONE 'UTC' AT TIME ZONE {params.add(zone, 'text')} FROM {form}"
            " WHERE form >= '10001' AND form < '2')"
        )
    if format_ is not None and format_.name == "date" and not hours:
        date = f"({value} #>> '{{}}')"
        return (
            f"CASE WHEN jsonb_typeof({value}) = 'string' AND {date} !~ '^0000'"
            f" THEN {date}::date::timestamp END"
        )
    raise InvalidParameter(
        f"{'.'.join(path)} has no {'hours' if hours else 'date'}: its schema's format is neither"
        f" date-time{'' if hours else ' nor date'}.",
        position=position,
    )
