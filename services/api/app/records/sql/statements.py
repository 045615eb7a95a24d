"""The SQL of one collection's records, built once per definition.

Each rule is part of the statement that it guards; where a statement finds no row, `service` asks
for the reason afterwards.
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from app.collections.repository import table
from app.filters.compiler import compile_filter
from app.filters.params import Params, RowParams
from app.records.sql.statement import UNPACKED, JointStatement, Statement, asked, head, shown

if TYPE_CHECKING:
    from app.collections.declared_index import Index
    from app.collections.models import Collection, Operation
    from app.core.actor import Actor

_HEAD_COLUMNS = "id, version, created_at, updated_at, owner"
# Exact to the digit: 1.0 differs from 1. The order of members and escapes in strings are ignored.
SAME = "record_image_eq(ROW(data), ROW({}))"

# A record that is not stored yet, of $1 id, $2 data, $3 owner, as a row that rules can read.
_NEW = (
    "(SELECT $1::uuid AS id, 1::bigint AS version, now() AS created_at, now() AS updated_at,"
    " $3::uuid AS owner, $2::jsonb AS data) AS new"
)
_EVENT = (
    "INSERT INTO listo.events (type, collection, subject, version, actor)"
    " SELECT 'record.{verb}', '{name}', id, version, {actor} FROM changed"
)


class Statements:
    """All statements on single records of a collection: with its rules, or without them for admins.
    Each statement is built when it is first needed."""

    def __init__(self, collection: Collection, *, unrestricted: bool) -> None:
        # Holds no reference to the collection, so that `_statements` can drop its entry.
        self._id, self.table = collection.id, table(collection.name)
        self._name = collection.name
        self._rules, self._fields = collection.rules, collection.fields
        self._unique = collection.unique_indexes
        self._unrestricted = unrestricted
        self._head = head(collection)
        self._returned = f"{_HEAD_COLUMNS}, head" if collection.stores_head else _HEAD_COLUMNS
        self._hidden = collection.annotations.write_only
        self._shown = shown(self._hidden)
        self._given = shown(self._hidden, "$2::jsonb")

    def _guard(self, operation: Operation, start: int) -> tuple[str, Params]:
        """The condition for an operation, and its values from number `start` on."""
        params = Params(start)
        return self.condition(operation, params), params

    def condition(self, operation: Operation, params: Params) -> str:
        """SQL of whether the caller may do this to a record, by the rules."""
        # A caller must see the records that they may change.
        operations: tuple[Operation, ...] = (operation,)
        if operation in ("update", "delete"):
            operations = ("read", operation)
        conditions = []
        for rule in (self._rules[each] for each in operations):
            if self._unrestricted or rule is True:
                continue
            conditions.append(
                "false" if rule is False else compile_filter(rule, self._fields, params)
            )
        return " AND ".join(conditions) or "true"

    @cached_property
    def read(self) -> Statement:
        guard, params = self._guard("read", 2)
        return Statement(
            f"SELECT version, {self._head}, {self._shown} FROM {self.table}"
            f" WHERE id = $1 AND {guard}",
            params,
        )

    @cached_property
    def read_together(self) -> JointStatement:
        return self._records("read", self._shown)

    def _records(self, operation: Operation, data: str) -> JointStatement:
        """Rows of number, version, head and data for a column of ids."""
        rule = RowParams()
        guard = self.condition(operation, rule)
        return JointStatement(
            f"SELECT number, version, {self._head}, {data}"
            f" FROM {asked(rule, {'asked_id': 'uuid'})}"
            f" JOIN {self.table} ON id = asked_id WHERE {guard}",
            rule,
        )

    @cached_property
    def read_small(self) -> Statement:
        """$1 id, $2 bytes: the data if it fits into these, and the upper bound of its bytes."""
        guard, params = self._guard("read", 3)
        return Statement(
            f"SELECT version, {self._head},"
            f" CASE WHEN {UNPACKED} <= $2::bigint THEN {self._shown} END,"
            f" {UNPACKED} FROM {self.table} WHERE id = $1 AND {guard}",
            params,
        )

    @cached_property
    def create(self) -> Statement:
        """$1 id, $2 data, $3 owner, $4 version of the definition.

        No row, and no error, for an id or a unique value that another record has.
        """
        guard, params = self._guard("create", 5)
        return Statement(
            f"WITH changed AS (INSERT INTO {self.table} (id, data, owner)"
            f" SELECT id, data, owner FROM {_NEW} WHERE {guard} AND {self._current(4)}"
            f" ON CONFLICT DO NOTHING RETURNING {self._returned}),"
            f" event AS ({self._event('created', '$3')})"
            # The given data, since PostgreSQL would keep a copy of the inserted data.
            f" SELECT version, {self._head}, {self._given} FROM changed",
            params,
            new=True,
        )

    @cached_property
    def taken(self) -> Statement:
        """$1 id, $2 data, $3 owner: whether at most unique values keep the caller from creating the
        record; if so, for each unique index whether another record has the values."""
        guard, params = self._guard("create", 4)
        columns = "".join(
            # An index that is still being built does not make this quick.
            f", CASE WHEN free THEN EXISTS (SELECT FROM {self.table} WHERE {_has_same(index)}) END"
            for index in self._unique
        )
        return Statement(
            f"WITH new AS MATERIALIZED (SELECT * FROM {_NEW})"
            f" SELECT free{columns} FROM (SELECT {guard} AND NOT EXISTS"
            f" (SELECT FROM {self.table} WHERE id = $1) AS free FROM new) AS asked",
            params,
            new=True,
        )

    @cached_property
    def find(self) -> dict[str, Statement]:
        """By a unique index's name: the id of the record with the values that a new one would have,
        and whether the caller may read it. $1 null, $2 data, $3 owner."""
        return {index.name: self._find(index) for index in self._unique}

    def _find(self, index: Index) -> Statement:
        guard, params = self._guard("read", 4)
        return Statement(
            f"WITH new AS MATERIALIZED (SELECT * FROM {_NEW})"
            f" SELECT id, {guard} FROM {self.table} WHERE {_has_same(index)}",
            params,
        )

    @cached_property
    def create_together(self) -> JointStatement:
        """Rows of number, version, head and data for parallel columns of ids, data and owners.
        `rest` is the version of the definition."""
        rule = RowParams()
        guard = self.condition("create", rule)
        given_rows = asked(rule, {"new_id": "uuid", "new_data": "jsonb", "new_owner": "uuid"})
        callers = "".join(f", {each.column}" for each in rule.callers)
        last = len(rule) + 4 + len(rule.callers)
        given = shown(self._hidden, "new_data")
        return JointStatement(
            f"WITH _asked AS (SELECT * FROM {given_rows}),"
            f" changed AS (INSERT INTO {self.table} (id, data, owner)"
            " SELECT id, data, owner FROM (SELECT new_id AS id, 1::bigint AS version,"
            " now() AS created_at, now() AS updated_at, new_owner AS owner, new_data AS data"
            f"{callers} FROM _asked) AS new WHERE {guard} AND {self._current(last)}"
            f" ON CONFLICT DO NOTHING RETURNING {self._returned}),"
            f" event AS ({self._event('created', 'owner')})"
            f" SELECT number, version, {self._head}, {given}"
            " FROM changed JOIN _asked ON id = new_id",
            rule,
            new=True,
        )

    @cached_property
    def create_many(self) -> Statement:
        """$1 ids, $2 data, $3 owner, $4 version of the definition; rows in no special order."""
        guard, params = self._guard("create", 5)
        return Statement(
            f"WITH changed AS (INSERT INTO {self.table} (id, data, owner)"
            " SELECT id, data, owner FROM (SELECT id, 1::bigint AS version,"
            " now() AS created_at, now() AS updated_at, $3::uuid AS owner, data"
            " FROM unnest($1::uuid[], $2::jsonb[]) AS given (id, data))"
            f" AS new WHERE {guard} AND {self._current(4)}"
            # A statement that waits for another's record has no greater ids yet.
            " ORDER BY id ON CONFLICT DO NOTHING RETURNING id, version),"
            f" event AS ({self._event('created', '$3')})"
            " SELECT id, version FROM changed",
            params,
            new=True,
        )

    @cached_property
    def replace(self) -> Statement:
        """$1 id, $2 data, $3 version or null, $4 version of the definition, $5 the actor's id.

        A record with just that data stays as it is, unless that would reveal hidden fields.
        """
        return self._replace("{}")

    @cached_property
    def replace_free(self) -> Statement:
        """As `replace`, but a record that another transaction has locked is not waited for."""
        return self._replace(
            f"id = (SELECT id FROM {self.table} WHERE {{}} FOR NO KEY UPDATE SKIP LOCKED)"
        )

    def _replace(self, which: str) -> Statement:
        guard, params = self._guard("update", 6)
        conditions = (
            f"id = $1 AND ($3::bigint IS NULL OR version = $3)"
            f" AND {guard} AND {self._current(4)} AND {self._differs('$2::jsonb')}"
        )
        return Statement(
            f"WITH changed AS (UPDATE {self.table} SET data = $2::jsonb, version = version + 1,"
            f" updated_at = now() WHERE {which.format(conditions)} RETURNING {self._returned}),"
            f" event AS ({self._event('updated', '$5::uuid')})"
            f" SELECT version, {self._head}, {self._given} FROM changed",
            params,
        )

    @cached_property
    def replace_together(self) -> JointStatement:
        """As `replace_free`: rows of number, version, head and data for parallel columns of ids,
        data, versions or nulls, and actors' ids. `rest` is the version of the definition."""
        rule = RowParams()
        guard = self.condition("update", rule)
        columns = {"asked_id": "uuid", "given": "jsonb", "known": "bigint", "actor": "uuid"}
        last = len(rule) + len(columns) + 1 + len(rule.callers)
        return JointStatement(
            f"WITH _asked AS MATERIALIZED (SELECT * FROM {asked(rule, columns)}),"
            # All conditions are here: a record that stays as it is must not be locked.
            f" free AS MATERIALIZED (SELECT id AS free_id, number AS free_number"
            f" FROM {self.table} AS present JOIN _asked ON id = asked_id"
            f" WHERE (known IS NULL OR version = known) AND {guard} AND {self._current(last)}"
            f" AND {self._differs('given')} FOR NO KEY UPDATE OF present SKIP LOCKED),"
            f" changed AS (UPDATE {self.table} SET data = given, version = version + 1,"
            " updated_at = now() FROM free JOIN _asked ON number = free_number WHERE id = free_id"
            f" RETURNING {self._returned}, number, actor),"
            f" event AS ({self._event('updated', 'changed.actor')})"
            f" SELECT changed.number, version, {self._head}, {shown(self._hidden, 'given')}"
            " FROM changed JOIN _asked ON changed.number = _asked.number",
            rule,
        )

    def _differs(self, data: str) -> str:
        """The condition for a change; without it a caller could guess hidden fields."""
        return "true" if self._hidden else f"NOT {SAME.format(data)}"

    @cached_property
    def unchanged(self) -> Statement:
        """$1 id, $2 data, $3 version or null: the record, if that is its data."""
        guard, params = self._guard("update", 4)
        return Statement(
            f"SELECT version, {self._head}, {self._shown} FROM {self.table}"
            f" WHERE id = $1 AND ($3::bigint IS NULL OR version = $3) AND {guard}"
            f" AND {SAME.format('$2::jsonb')}",
            params,
        )

    @cached_property
    def before(self) -> Statement:
        """$1 id: the record that is to be changed, with its hidden fields."""
        guard, params = self._guard("update", 2)
        return Statement(
            f"SELECT version, {self._head}, data FROM {self.table} WHERE id = $1 AND {guard}",
            params,
        )

    @cached_property
    def before_together(self) -> JointStatement:
        return self._records("update", "data")

    @cached_property
    def lock(self) -> Statement:
        """$1 ids to update, $2 ids to delete: locks them against other writers until the end."""
        update, params = self._guard("update", 3)
        delete = self.condition("delete", params)
        return Statement(
            f"SELECT FROM {self.table} WHERE id = ANY($1::uuid[]) AND {update}"
            f" OR id = ANY($2::uuid[]) AND {delete} ORDER BY id FOR UPDATE",
            params,
        )

    @cached_property
    def delete(self) -> Statement:
        """$1 id, $2 version or null, $3 the actor's id, $4 version of the definition."""
        guard, params = self._guard("delete", 5)
        return Statement(
            f"WITH changed AS (DELETE FROM {self.table} WHERE id = $1"
            f" AND ($2::bigint IS NULL OR version = $2) AND {guard} AND {self._current(4)}"
            " RETURNING id, version),"
            f" event AS ({self._event('deleted', '$3::uuid')})"
            " SELECT version FROM changed",
            params,
        )

    @cached_property
    def delete_owned(self) -> Statement:
        """$1 owner, $2 id or null, $3 how many records to look at, $4 version of the definition, $5
        the actor's id: deletes the owner's records among the next $3 records after id $2.

        All records stay if the definition has changed.
        """
        return Statement(
            f"WITH part AS (SELECT id, owner FROM {self.table} WHERE ($2::uuid IS NULL OR id > $2)"
            f" AND {self._current(4)} ORDER BY id LIMIT $3),"
            f" changed AS (DELETE FROM {self.table} WHERE owner = $1"
            " AND id IN (SELECT id FROM part WHERE owner = $1) RETURNING id, version),"
            f" event AS ({self._event('deleted', '$5::uuid')})"
            f" SELECT {self._current(4)} AS current, (SELECT count(*) FROM part) AS seen,"
            " (SELECT count(*) FROM changed) AS deleted,"
            " (SELECT id FROM part ORDER BY id DESC LIMIT 1) AS last",
            Params(6),
        )

    @cached_property
    def visible_version(self) -> Statement:
        """$1 id: the version of a record that the caller may read."""
        guard, params = self._guard("read", 2)
        return Statement(f"SELECT version FROM {self.table} WHERE id = $1 AND {guard}", params)

    def _current(self, number: int) -> str:
        # The data was checked against one version of the schema; this condition holds only if
        # that version is current, even if another process has just changed it. So a process that is
        # unaware of a new cache cannot leave stale lists in it.
        return (
            f"(SELECT version FROM listo.collections WHERE id = '{self._id}') = ${number}::bigint"
        )

    def _event(self, verb: str, actor: str) -> str:
        return _EVENT.format(verb=verb, name=self._name, actor=actor)


def _has_same(index: Index) -> str:
    """The condition for a record whose unique values are those of `new`."""
    assert index.key is not None
    condition, values = index.key.condition, ", ".join(index.key.values)
    # The condition itself stands here, too, so that the index serves the statement.
    return f"{condition} AND ({values}) = (SELECT {values} FROM new WHERE {condition})"


_statements: WeakKeyDictionary[Collection, tuple[Statements, Statements]] = WeakKeyDictionary()


def statements_of(collection: Collection, actor: Actor) -> Statements:
    """The statements that this caller runs on records of the collection."""
    known = _statements.get(collection)
    if known is None:
        known = _statements[collection] = (
            Statements(collection, unrestricted=False),
            Statements(collection, unrestricted=True),
        )
    return known[actor.is_admin]
