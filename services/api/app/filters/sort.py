"""Sort keys: their SQL order, and the keyset condition that goes on after a given record."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from app.filters.compiler import SYSTEM_TYPES, field_sql
from app.filters.errors import FilterError
from app.filters.parser import parse_path

if TYPE_CHECKING:
    from collections.abc import Sequence

    from app.filters.compiler import Params
    from app.filters.fields import Fields
    from app.filters.syntax import Path

MAX_KEYS = 5
MAX_LENGTH = 1024


class InvalidSort(FilterError):
    """The sort is not a list of fields like -created_at,title."""

    code = "invalid_sort"


@dataclass(frozen=True, slots=True)
class SortKey:
    path: Path
    descending: bool

    @property
    def sql(self) -> str:
        return field_sql(self.path)

    @property
    def cast(self) -> str:
        return SYSTEM_TYPES.get(self.path[0], "jsonb")


def parse_sort(text: str, fields: Fields) -> tuple[SortKey, ...]:
    """The keys of `-created_at,title`, with `id` as the last one.

    Raises InvalidSort or UnknownField (400) with the position of the fault.
    """
    if len(text) > MAX_LENGTH:
        raise InvalidSort(f"The sort is longer than {MAX_LENGTH} characters.", position=MAX_LENGTH)
    keys: list[SortKey] = []
    for start, part in _split(text):
        descending = part.startswith("-")
        name = part[1:] if descending else part
        path = parse_path(name, start + descending)
        if any(key.path == path for key in keys):
            raise InvalidSort(f"{name} is sorted by twice.", position=start)
        if keys and keys[-1].path == ("id",):
            raise InvalidSort("Nothing can be sorted by after id.", position=start)
        if path[0] not in SYSTEM_TYPES:
            fields.types(path, start)
        elif len(path) > 1:
            raise InvalidSort(f"{path[0]} has no fields of its own.", position=start)
        keys.append(SortKey(path, descending))
    if len(keys) > MAX_KEYS:
        raise InvalidSort(f"A sort has at most {MAX_KEYS} keys.")
    if not keys or keys[-1].path != ("id",):
        # In the direction of the last key, so that one index can give the whole order.
        keys.append(SortKey(("id",), bool(keys) and keys[-1].descending))
    return tuple(keys)


def order_by(keys: Sequence[SortKey], *, reverse: bool = False, parenthesised: bool = False) -> str:
    """The keys as an ORDER BY list, or parenthesised as an index's key list."""
    parts = []
    for key in keys:
        sql = f"({key.sql})" if parenthesised else key.sql
        parts.append(sql + (" DESC" if key.descending != reverse else ""))
    return ", ".join(parts)


def key_columns(keys: Sequence[SortKey]) -> list[str]:
    """SQL that gives a record's key values as text, exact."""
    return [f"({key.sql})::text" for key in keys]


def after(
    keys: Sequence[SortKey], params: Params, values: Sequence[str], *, reverse: bool = False
) -> str:
    """The condition for records behind the one whose key values are `values`."""
    bound = [
        f"{params.add(value, 'text')}::{key.cast}" for key, value in zip(keys, values, strict=True)
    ]
    greater = ["<" if key.descending != reverse else ">" for key in keys]
    if len(set(greater)) == 1:
        # One row comparison is one range of an index.
        left = ", ".join(key.sql for key in keys)
        return f"({left}) {greater[0]} ({', '.join(bound)})"
    alternatives = []
    for number, key in enumerate(keys):
        same = [f"{keys[i].sql} = {bound[i]}" for i in range(number)]
        alternatives.append(" AND ".join([*same, f"{key.sql} {greater[number]} {bound[number]}"]))
    # Redundant, but a range that an index can start from.
    lead = f"{keys[0].sql} {greater[0]}= {bound[0]}"
    return f"({lead} AND (({') OR ('.join(alternatives)})))"


def _split(text: str) -> list[tuple[int, str]]:
    parts, start, quoted = [], 0, False
    for at, character in enumerate(text):
        quoted ^= character == "`"
        if character == "," and not quoted:
            parts.append((start, text[start:at]))
            start = at + 1
    if text:
        parts.append((start, text[start:]))
    return parts
