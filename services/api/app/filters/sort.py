"""Sort keys: their SQL order, and the keyset condition for the records after a given record."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final
from uuid import UUID

from app.filters.errors import FilterError, InvalidSort
from app.filters.language.parser import parse_path, split_list
from app.filters.paths import SYSTEM_TYPES, field_sql

if TYPE_CHECKING:
    from collections.abc import Sequence

    from app.filters.fields import Fields
    from app.filters.formats import Format
    from app.filters.language.syntax import Path
    from app.filters.params import Params

MAX_KEYS = 5
MAX_LENGTH = 1024

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class SortKey:
    """A field, its direction, and the format by whose values its strings are sorted."""

    path: Path
    descending: bool
    format: Format | None = None

    @property
    def sql(self) -> str:
        return field_sql(self.path, format_=self.format)

    @property
    def cast(self) -> str:
        return SYSTEM_TYPES.get(self.path[0], "jsonb")

    def value(self, text: str) -> object:
        """The exact value that asyncpg binds for a text of `key_columns`."""
        match self.cast:
            case "uuid":
                return UUID(text)
            case "bigint":
                return int(text)
            case "timestamptz":
                return _EPOCH + timedelta(microseconds=int(text))
            case _:
                return text


def parse_sort(text: str, fields: Fields) -> tuple[SortKey, ...]:
    """The keys of `-created_at,title`, with `id` as the last key.

    Raises InvalidSort or UnknownField (400) with the position of the error.
    """
    if len(text) > MAX_LENGTH:
        raise InvalidSort(f"A sort has at most {MAX_LENGTH} characters.", position=MAX_LENGTH)
    keys: list[SortKey] = []
    for start, part in split_list(text):
        key = _key(part, start, fields)
        if any(key.path == other.path for other in keys):
            raise InvalidSort(f"{part} is sorted by twice.", position=start)
        if keys and keys[-1].path == ("id",):
            raise InvalidSort("No two records have the same id: end with it.", position=start)
        if len(keys) == MAX_KEYS:
            raise InvalidSort(f"A sort has at most {MAX_KEYS} keys.", position=start)
        keys.append(key)
    if not keys or keys[-1].path != ("id",):
        # The id has the last key's direction, so that one index can give the whole order.
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
    """SQL of a record's key values as exact text: times as microseconds since 1970."""
    return [
        f"((extract(epoch FROM {key.sql}) * 1000000)::bigint)::text"
        if key.cast == "timestamptz"
        else f"({key.sql})::text"
        for key in keys
    ]


def after(
    keys: Sequence[SortKey], params: Params, values: Sequence[str], *, reverse: bool = False
) -> str:
    """The condition for the records after the record whose key values are `values`."""
    bound = [params.add(key.value(text), key.cast) for key, text in zip(keys, values, strict=True)]
    signs = ["<" if key.descending != reverse else ">" for key in keys]
    if len(set(signs)) == 1:
        # A row comparison is a single range of an index.
        left = ", ".join(key.sql for key in keys)
        return f"(({left}) {signs[0]} ({', '.join(bound)}))"
    alternatives = []
    for number, key in enumerate(keys):
        same = [f"{keys[i].sql} = {bound[i]}" for i in range(number)]
        alternatives.append(" AND ".join([*same, f"{key.sql} {signs[number]} {bound[number]}"]))
    # This condition is redundant, but gives an index a range to start from.
    lead = f"{keys[0].sql} {signs[0]}= {bound[0]}"
    return f"({lead} AND (({') OR ('.join(alternatives)})))"


def _key(part: str, start: int, fields: Fields) -> SortKey:
    descending = part.startswith("-")
    name, position = part[descending:], start + descending
    try:
        path = parse_path(name, position)
        field_sql(path, position)
    except FilterError as error:
        raise InvalidSort(error.detail, position=error.position) from None
    if path[0] in SYSTEM_TYPES:
        return SortKey(path, descending)
    fields.types(path, position)
    return SortKey(path, descending, fields.format(path))
