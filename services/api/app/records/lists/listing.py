"""Pages of records: one statement each, keyset cursors, finished JSON.

A page has at most `limit` records, and ends early with the record that reaches its limit of bytes.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal
from uuid import UUID

import orjson

from app.collections.repository import table
from app.core.errors import InvalidParameter, QueryTooSlow
from app.db.pool.pooled import LONGEST_PREPARED
from app.filters import spelling
from app.filters.compiler import compile_filter
from app.filters.errors import FilterError, InvalidCursor
from app.filters.language.parser import parse_filter
from app.filters.params import Params
from app.filters.sort import SortKey, after, key_columns, order_by, parse_sort
from app.observability.metrics import CURSOR_REJECTIONS, FILTER_REJECTIONS
from app.records.lists import repository
from app.records.lists.fields import record_columns
from app.records.text import rendered

if TYPE_CHECKING:
    from collections.abc import Sequence

    from app.collections.models import Collection
    from app.core.actor import Actor
    from app.db.session import ReadSession
    from app.filters.cursor import Cursor, CursorCodec
    from app.records.access import Access

MAX_LIMIT = 500
DEFAULT_LIMIT = 50
# The place in a row at which its sort values begin.
_KEYS = 2
# The number of plans kept for all collections: any client makes plans, and a plan can take 30 KB.
_PLANS_KEPT = 500

Count = Literal["none", "estimated", "exact"]


@dataclass(frozen=True, slots=True)
class Query:
    """The parameters of a list, as the client wrote them."""

    filter: str = ""
    sort: str = ""
    fields: str = ""
    limit: int = DEFAULT_LIMIT
    count: Count = "none"
    cursor: str | None = None


@dataclass(frozen=True, slots=True)
class Page:
    """Records as JSON text with commas between, and the cursors of the pages around them."""

    items: bytes
    next: str | None
    prev: str | None
    total: int | None

    def dump(self) -> bytes:
        tail: dict[str, Any] = {"next": self.next, "prev": self.prev}
        if self.total is not None:
            tail["total"] = self.total
        return b'{"items":[' + self.items + b"]," + orjson.dumps(tail)[1:]


@dataclass(frozen=True, slots=True)
class RawPage:
    """A page that all callers of these records share, with positions in place of cursors."""

    items: bytes
    next: Sequence[str] | None
    prev: Sequence[str] | None
    total: int | None


@dataclass(frozen=True, slots=True)
class Plan:
    """The parts that all pages of a query share."""

    table: str
    columns: str
    where: str
    # The maximum weight of a record, see `Collection.largest`.
    largest: int
    keys: tuple[SortKey, ...]
    params: Params

    @property
    def read_as(self) -> str:
        """The formats of the sort keys: the same values under other formats mean another place."""
        formats = [key.format.name if key.format else "" for key in self.keys]
        return "\n" + ",".join(formats) if any(formats) else ""

    def page(self, query: Query, cursor: Cursor | None) -> tuple[str, Params]:
        params = self.params.copy()
        backward = cursor is not None and cursor.backward
        where = self.where
        if cursor is not None:
            where += " AND " + after(self.keys, params, cursor.position, reverse=backward)
        # A record beyond the limit shows that there is a further page.
        limit = params.add(query.limit + 1, "bigint")
        page = (
            f"SELECT {self.columns} FROM {self.table} WHERE {where}"
            f" ORDER BY {order_by(self.keys, reverse=backward)} LIMIT {limit}"
        )
        if query.count == "exact":
            count = f"SELECT count(*) AS total FROM {self.table} WHERE {self.where}"
            page = (
                f"SELECT page.*, counted.total FROM ({count}) AS counted"
                f" LEFT JOIN ({page}) AS page ON true"
            )
        return page, params


def check_query(access: Access, query: Query) -> Query:
    """The query that the caller is allowed, checked without PostgreSQL.

    Raises InvalidParameter, and as `Access.require` does.
    """
    access.require("list")
    if not 1 <= query.limit <= MAX_LIMIT:
        raise InvalidParameter(f"limit must be 1 to {MAX_LIMIT}.")
    if query.count == "estimated" and not (
        access.actor.is_admin or access.collection.rules["list"] is True
    ):
        # The planner's statistics cover all records, so they reveal records out of sight, too.
        return replace(query, count="exact")
    return query


@dataclass(frozen=True, slots=True)
class PreparedQuery:
    """A query with everything that its answer depends on, except the stored data."""

    query: Query
    plan: Plan
    cursor: Cursor | None
    sql: str
    args: list[object]
    # The text that cursors are bound to.
    binding: str

    def key(self, version: int) -> str:
        """The cache key of the answer: the same for all callers who get the same answer."""
        parts = (self.sql, self.args, self.query.count, self.query.limit, self._backward, version)
        return hashlib.sha256(repr(parts).encode("utf-8", "surrogatepass")).hexdigest()

    @property
    def _backward(self) -> bool:
        return self.cursor is not None and self.cursor.backward

    async def fetch(self, reading: ReadSession) -> RawPage:
        """Raises QueryTooSlow, with advice."""
        try:
            return await self._fetch(reading)
        except QueryTooSlow as slow:
            raise QueryTooSlow(f"{slow.detail} {_advice(self.query)}") from slow

    async def _fetch(self, reading: ReadSession) -> RawPage:
        query, plan, backward = self.query, self.plan, self._backward
        rows, full = await repository.page(
            reading, self.sql, self.args, limit=query.limit, largest=plan.largest
        )
        total = None
        if query.count == "exact":
            total = rows[0]["total"]
            # A page without records has one row, with only the count.
            rows = [row for row in rows if row[0] is not None]
        elif query.count == "estimated":
            sql = f"SELECT 1 FROM {plan.table} WHERE {plan.where}"
            total = await repository.estimate(reading, sql, self.args[: len(plan.params)])
        more = full or len(rows) > query.limit
        rows = rows[: query.limit]
        if backward:
            rows = rows[::-1]
        # A page that was reached from one side has records on that side.
        after_it = bool(rows) and (more or backward)
        before_it = bool(rows) and (more if backward else self.cursor is not None)
        end = _KEYS + len(plan.keys)
        return RawPage(
            ",".join([rendered(row[0], row[1]) for row in rows]).encode(),
            tuple(rows[-1])[_KEYS:end] if after_it else None,
            tuple(rows[0])[_KEYS:end] if before_it else None,
            total,
        )

    def page(self, found: RawPage, cursors: CursorCodec) -> Page:
        def encode(position: Sequence[str] | None, *, back: bool) -> str | None:
            if position is None:
                return None
            return cursors.encode(position, backward=back, binding=self.binding)

        return Page(
            found.items,
            encode(found.next, back=False),
            encode(found.prev, back=True),
            found.total,
        )


async def prepare(
    access: Access, query: Query, *, reading: ReadSession, cursors: CursorCodec
) -> PreparedQuery:
    """Compile a query that `check_query` gave, for its caller.

    Raises FilterError and InvalidCursor (400) with the position of the error.
    """
    actor, collection = access.actor, access.collection
    plan = plan_of(collection, actor, query)
    binding = (
        f"{collection.id}\n{query.filter}\n{query.sort}\n{actor.kind}:{actor.id}{plan.read_as}"
    )
    cursor = await _cursor(reading, plan, query.cursor, cursors, binding)
    sql, params = plan.page(query, cursor)
    return PreparedQuery(query, plan, cursor, sql, params.bind(actor.id, actor.roles), binding)


def _advice(query: Query) -> str:
    """Ways to make the list cheaper."""
    ways = []
    if query.filter:
        ways.append("an index on a field that the filter compares with = < > or in")
    if query.sort:
        ways.append("an index on the fields of the sort, in its order")
    if query.filter:
        ways.append("a smaller filter")
    if query.count != "none":
        ways.append("count=none")
    if query.limit > DEFAULT_LIMIT or not ways:
        ways.append("a lower limit, or fewer fields")
    return f"What helps: {'; '.join(ways)}."


async def list_records(
    access: Access, query: Query, *, reading: ReadSession, cursors: CursorCodec
) -> Page:
    """A page of the records that the caller may list. Raises as `prepare` does."""
    prepared = await prepare(access, query, reading=reading, cursors=cursors)
    return prepared.page(await prepared.fetch(reading), cursors)


async def _cursor(
    reading: ReadSession, plan: Plan, text: str | None, codec: CursorCodec, binding: str
) -> Cursor | None:
    """The query's cursor with its values; values too long for a URL are looked up."""
    if text is None:
        return None
    try:
        cursor = codec.decode(text, binding=binding)
        if cursor.record is None:
            return cursor
        columns = ", ".join(key_columns(plan.keys))
        sql = f"SELECT {columns} FROM {plan.table} WHERE id = $1"
        rows, _ = await repository.page(
            reading, sql, [UUID(cursor.record)], limit=1, largest=plan.largest
        )
        return cursor.resolve(tuple(rows[0]) if rows else None)
    except InvalidCursor:
        CURSOR_REJECTIONS.inc()
        raise


_plans: OrderedDict[tuple[object, ...], Plan] = OrderedDict()


def plan_of(collection: Collection, actor: Actor, query: Query) -> Plan:
    """The plan of a query; the plans of the latest queries are kept."""
    definition = (collection.id, collection.version, collection.largest)
    key = (*definition, actor.is_admin, query.filter, query.sort, query.fields)
    plan = _plans.get(key)
    if plan is not None:
        _plans.move_to_end(key)
        return plan
    try:
        plan = _build(collection, query, unrestricted=actor.is_admin)
    except FilterError:
        FILTER_REJECTIONS.inc()
        raise
    if len(plan.page(query, None)[0]) <= LONGEST_PREPARED:
        _plans[key] = plan
        if len(_plans) > _PLANS_KEPT:
            _plans.popitem(last=False)
    return plan


def _build(collection: Collection, query: Query, *, unrestricted: bool) -> Plan:
    params = Params()
    keys = parse_sort(query.sort, collection.readable)
    conditions = []
    rule = collection.rules["list"]
    if not unrestricted and rule is not True:
        conditions.append(
            "false" if rule is False else compile_filter(rule, collection.fields, params)
        )
    if query.filter:
        expression = parse_filter(query.filter)
        conditions.append(compile_filter(expression, collection.readable, params))
        spelling.check_filter(expression, collection.readable)
    spelling.check_names(query.sort, collection.readable)
    head, data = record_columns(query.fields, collection)
    columns = [f"{head} AS head", f"{data} AS own"]
    spelling.check_names(query.fields, collection.readable)
    columns += [f"{sql} AS k{number}" for number, sql in enumerate(key_columns(keys))]
    return Plan(
        table=table(collection.name),
        columns=", ".join(columns),
        where=" AND ".join(conditions) or "true",
        largest=collection.largest,
        keys=keys,
        params=params,
    )
