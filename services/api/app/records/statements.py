"""The SQL of one collection's records, built once per definition.

A record leaves PostgreSQL as finished JSON text. Each rule is part of the statement that it guards;
a statement that finds no row does not say why, `service` asks afterwards.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from app.collections.repository import table
from app.filters.compiler import compile_filter
from app.filters.params import Params
from app.filters.paths import sql_literal

if TYPE_CHECKING:
    from collections.abc import Sequence

    from app.collections.models import Collection, Operation
    from app.core.actor import Actor

# Text is put together, since building JSON values only to print them costs several times as much.
SYSTEM_FIELDS = {
    "id": "'\"id\":\"' || id || '\"'",
    "version": "'\"version\":' || version",
    "created_at": "'\"created_at\":\"' || listo.rfc3339(created_at) || '\"'",
    "updated_at": "'\"updated_at\":\"' || listo.rfc3339(updated_at) || '\"'",
    "owner": "'\"owner\":' || coalesce('\"' || owner || '\"', 'null')",
}
RECORD = (
    "'{' || "
    + " || ',' || ".join(SYSTEM_FIELDS.values())
    + " || CASE WHEN data = '{}' THEN '}' ELSE ',' || right(data::text, -1) END"
)


def record(hidden: Sequence[str]) -> str:
    """SQL text of a record without those fields."""
    if not hidden:
        return RECORD
    names = ", ".join(map(sql_literal, hidden))
    return re.sub(r"\bdata\b", lambda _: f"(data - ARRAY[{names}])", RECORD)


_EVENT = (
    "INSERT INTO listo.events (type, collection, subject, version, actor)"
    " SELECT 'record.{verb}', '{name}', id, version, {actor} FROM changed"
)


@dataclass(frozen=True, slots=True)
class Statement:
    """SQL and the values of its rule, which come after the statement's own."""

    sql: str
    rule: Params

    def args(self, actor: Actor, *own: object) -> tuple[object, ...]:
        return (*own, *self.rule.bind(actor.id, actor.roles))


class Statements:
    """All statements on single records of one collection."""

    def __init__(self, collection: Collection) -> None:
        self._collection = collection
        self._record = record(collection.annotations.write_only)
        self._built: dict[tuple[str, bool], Statement] = {}

    def get(self, name: str, actor: Actor) -> Statement:
        """The statement of that name: with its rule, or for an admin without one."""
        key = (name, actor.is_admin)
        statement = self._built.get(key)
        if statement is None:
            build = getattr(self, f"_{name}")
            statement = self._built[key] = build(unrestricted=actor.is_admin)
        return statement

    def _guard(self, operation: Operation, start: int, *, unrestricted: bool) -> tuple[str, Params]:
        """The condition for an operation: what may be changed must be seen as well."""
        params = Params(start)
        operations: tuple[Operation, ...] = (operation,)
        if operation in ("update", "delete"):
            operations = ("read", operation)
        conditions = []
        for rule in (self._collection.rules[each] for each in operations):
            if unrestricted or rule is True:
                continue
            conditions.append(
                "false" if rule is False else compile_filter(rule, self._collection.fields, params)
            )
        return " AND ".join(conditions) or "true", params

    def _read(self, *, unrestricted: bool) -> Statement:
        guard, params = self._guard("read", 2, unrestricted=unrestricted)
        return Statement(
            f"SELECT version, {self._record} FROM {self._table} WHERE id = $1 AND {guard}", params
        )

    def _create(self, *, unrestricted: bool) -> Statement:
        """$1 id, $2 data, $3 owner, $4 version of the definition."""
        guard, params = self._guard("create", 5, unrestricted=unrestricted)
        return Statement(
            f"WITH changed AS (INSERT INTO {self._table} (id, data, owner)"
            " SELECT id, data, owner FROM (SELECT $1::uuid AS id, 1::bigint AS version,"
            " now() AS created_at, now() AS updated_at, $3::uuid AS owner, $2::jsonb AS data)"
            f" AS new WHERE {guard} AND {self._current(4)}"
            " ON CONFLICT (id) DO NOTHING RETURNING *),"
            f" event AS ({self._event('created', '$3')})"
            f" SELECT version, {self._record} FROM changed",
            params,
        )

    def _create_many(self, *, unrestricted: bool) -> Statement:
        """$1 ids, $2 data, $3 owner, $4 version of the definition; rows in no special order."""
        guard, params = self._guard("create", 5, unrestricted=unrestricted)
        return Statement(
            f"WITH changed AS (INSERT INTO {self._table} (id, data, owner)"
            " SELECT id, data, owner FROM (SELECT id, 1::bigint AS version,"
            " now() AS created_at, now() AS updated_at, $3::uuid AS owner, data"
            " FROM unnest($1::uuid[], $2::jsonb[]) AS given (id, data))"
            f" AS new WHERE {guard} AND {self._current(4)}"
            " ON CONFLICT (id) DO NOTHING RETURNING *),"
            f" event AS ({self._event('created', '$3')})"
            " SELECT id, version FROM changed",
            params,
        )

    def _replace(self, *, unrestricted: bool) -> Statement:
        """$1 id, $2 data, $3 version or null, $4 version of the definition, $5 the actor's id."""
        guard, params = self._guard("update", 6, unrestricted=unrestricted)
        return Statement(
            f"WITH changed AS (UPDATE {self._table} SET data = $2::jsonb, version = version + 1,"
            " updated_at = now() WHERE id = $1 AND ($3::bigint IS NULL OR version = $3)"
            f" AND {guard} AND {self._current(4)} RETURNING *),"
            f" event AS ({self._event('updated', '$5::uuid')})"
            f" SELECT version, {self._record} FROM changed",
            params,
        )

    def _merge(self, *, unrestricted: bool) -> Statement:
        """$1 id, $2 merge patch: what the record would be, and its version now."""
        guard, params = self._guard("update", 3, unrestricted=unrestricted)
        return Statement(
            "SELECT version, listo.merge_patch(data, $2::jsonb)::text AS data"
            f" FROM {self._table} WHERE id = $1 AND {guard}",
            params,
        )

    def _delete(self, *, unrestricted: bool) -> Statement:
        """$1 id, $2 version or null, $3 the actor's id, $4 version of the definition."""
        guard, params = self._guard("delete", 5, unrestricted=unrestricted)
        return Statement(
            f"WITH changed AS (DELETE FROM {self._table} WHERE id = $1"
            f" AND ($2::bigint IS NULL OR version = $2) AND {guard} AND {self._current(4)}"
            " RETURNING id, version),"
            f" event AS ({self._event('deleted', '$3::uuid')})"
            " SELECT version FROM changed",
            params,
        )

    def _delete_owned(self, *, unrestricted: bool) -> Statement:
        """$1 owner, $2 id or null, $3 how many records to look at, $4 version of the definition, $5
        the actor's id: whatever of the owner is among so many records after that id.

        None at all where the definition is another one by now.
        """
        assert unrestricted
        return Statement(
            f"WITH part AS (SELECT id, owner FROM {self._table} WHERE ($2::uuid IS NULL OR id > $2)"
            f" AND {self._current(4)} ORDER BY id LIMIT $3),"
            f" changed AS (DELETE FROM {self._table} WHERE owner = $1"
            " AND id IN (SELECT id FROM part WHERE owner = $1) RETURNING id, version),"
            f" event AS ({self._event('deleted', '$5::uuid')})"
            f" SELECT {self._current(4)} AS current, (SELECT count(*) FROM part) AS seen,"
            " (SELECT count(*) FROM changed) AS deleted,"
            " (SELECT id FROM part ORDER BY id DESC LIMIT 1) AS last",
            Params(6),
        )

    def _look(self, *, unrestricted: bool) -> Statement:
        """$1 id: the version of a record that the caller may read."""
        guard, params = self._guard("read", 2, unrestricted=unrestricted)
        return Statement(f"SELECT version FROM {self._table} WHERE id = $1 AND {guard}", params)

    @property
    def _table(self) -> str:
        return table(self._collection.name)

    def _current(self, number: int) -> str:
        # The data was checked against one version of the schema; this makes it the present one,
        # also where another process changed it a moment ago. And who knows of no cache tells none.
        return (
            "(SELECT version FROM listo.collections"
            f" WHERE id = '{self._collection.id}') = ${number}::bigint"
        )

    def _event(self, verb: str, actor: str) -> str:
        return _EVENT.format(verb=verb, name=self._collection.name, actor=actor)


_statements: WeakKeyDictionary[Collection, Statements] = WeakKeyDictionary()


def of(collection: Collection) -> Statements:
    """The statements of a collection, built when first asked for."""
    known = _statements.get(collection)
    if known is None:
        known = _statements[collection] = Statements(collection)
    return known
