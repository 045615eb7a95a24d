"""Parts that records' statements are made of, and how a statement's values are put in order.

A record leaves PostgreSQL as finished JSON in two parts: its head is text, its own fields are
`jsonb`, whose output is text as well. Joining them in PostgreSQL would copy a large record ten
times.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from app.filters.paths import sql_literal

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from app.collections.models import Collection
    from app.core.actor import Actor
    from app.filters.params import Params, RowParams

# Text is put together, since building JSON values only to print them costs several times as much.
SYSTEM_FIELDS = {
    "id": "'\"id\":\"' || id || '\"'",
    "version": "'\"version\":' || version",
    "created_at": "'\"created_at\":\"' || listo.rfc3339(created_at) || '\"'",
    "updated_at": "'\"updated_at\":\"' || listo.rfc3339(updated_at) || '\"'",
    "owner": "'\"owner\":' || coalesce('\"' || owner || '\"', 'null')",
}
_HEAD = "'{' || " + " || ',' || ".join(SYSTEM_FIELDS.values())


def head(collection: Collection) -> str:
    """SQL of a record's head."""
    return "head" if collection.stores_head else _HEAD


def shown(hidden: Sequence[str], data: str = "data") -> str:
    """SQL of a record's own fields without the hidden ones."""
    if not hidden:
        return data
    return f"{data} - ARRAY[{', '.join(map(sql_literal, hidden))}]"


# The maximum size of a stored `jsonb` value once unpacked, according to its compression.
UNPACKED = (
    "pg_column_size(data)::bigint * CASE pg_column_compression(data)"
    " WHEN 'pglz' THEN 90 WHEN 'lz4' THEN 255 ELSE 1 END"
)


def unpackings(sql: str) -> int:
    """The maximum number of times that a statement unpacks a record, each time into new memory."""
    return sql.count("data")


@dataclass(frozen=True, slots=True)
class Statement:
    """SQL and the values of its rule, which come after the statement's own."""

    sql: str
    rule: Params
    # Whether the record is not stored yet.
    new: bool = False

    @property
    def unpackings(self) -> int:
        return 0 if self.new else unpackings(self.sql)

    def args(self, actor: Actor, *own: object) -> tuple[object, ...]:
        return (*own, *self.rule.bind(actor.id, actor.roles))


@dataclass(frozen=True, slots=True)
class JointStatement:
    """SQL on many rows, each with its own caller: the values of the rule come first, then an
    array for each column of `_asked`, then the rest."""

    sql: str
    rule: RowParams
    # Whether the records are not stored yet.
    new: bool = False

    @property
    def unpackings(self) -> int:
        """As of a `Statement`, for each row."""
        return 0 if self.new else unpackings(self.sql)

    def args(
        self, actors: Sequence[Actor], *own: Sequence[object], rest: Sequence[object] = ()
    ) -> tuple[object, ...]:
        return (*self.rule.bind(None, ()), *own, *self.rule.columns(actors), *rest)


def asked(rule: RowParams, own: Mapping[str, str]) -> str:
    """SQL of a numbered row per question: the question's columns, then those of its caller."""
    columns = {**own, **{each.column: each.kind for each in rule.callers}}
    arrays = [f"${number}::{kind}[]" for number, kind in enumerate(columns.values(), len(rule) + 1)]
    return f"unnest({', '.join(arrays)}) WITH ORDINALITY AS _asked ({', '.join(columns)}, number)"
