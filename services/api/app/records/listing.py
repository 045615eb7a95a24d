"""Pages of records: one statement each, keyset cursors, finished JSON."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal
from weakref import WeakKeyDictionary

import orjson

from app.collections.repository import table
from app.core.errors import InvalidParameter
from app.core.metrics import CURSOR_REJECTIONS, FILTER_REJECTIONS
from app.filters.compiler import Params, compile_filter
from app.filters.errors import FilterError, InvalidCursor
from app.filters.parser import parse_filter
from app.filters.sort import SortKey, after, key_columns, order_by, parse_sort
from app.records import access, repository
from app.records.fields import record_sql

if TYPE_CHECKING:
    from collections.abc import Sequence

    from app.collections.models import Collection
    from app.core.actor import Actor
    from app.db.session import Session
    from app.filters.cursor import Cursor, CursorCodec

MAX_LIMIT = 500
DEFAULT_LIMIT = 50
_PLANS_KEPT = 200

Count = Literal["none", "estimated", "exact"]


@dataclass(frozen=True, slots=True)
class Query:
    """What a client asks a list for, as it wrote it."""

    filter: str = ""
    sort: str = ""
    fields: str = ""
    limit: int = DEFAULT_LIMIT
    count: Count = "none"
    cursor: str | None = None


@dataclass(frozen=True, slots=True)
class Page:
    """Records as JSON text, and the cursors of the pages around them."""

    items: Sequence[str]
    next: str | None
    prev: str | None
    total: int | None

    def dump(self) -> bytes:
        tail: dict[str, Any] = {"next": self.next, "prev": self.prev}
        if self.total is not None:
            tail["total"] = self.total
        return b'{"items":[' + ",".join(self.items).encode() + b"]," + orjson.dumps(tail)[1:]


@dataclass(frozen=True, slots=True)
class _Plan:
    """What is the same for every page of a query."""

    table: str
    columns: str
    where: str
    keys: tuple[SortKey, ...]
    params: Params

    def page(self, query: Query, cursor: Cursor | None) -> tuple[str, Params]:
        params = self.params.copy()
        backward = cursor is not None and cursor.backward
        where = self.where
        if cursor is not None:
            where += " AND " + after(self.keys, params, cursor.position, reverse=backward)
        # One more than asked for tells whether there is a further page.
        limit = params.add(query.limit + 1, "bigint")
        page = (
            f"SELECT {self.columns} FROM {self.table} WHERE {where}"
            f" ORDER BY {order_by(self.keys, reverse=backward)} LIMIT {limit}"
        )
        if query.count == "exact":
            count = f"SELECT count(*) AS total FROM {self.table} WHERE {self.where}"
            page = f"SELECT page.*, counted.total FROM ({count}) AS counted LEFT JOIN ({page}) AS page ON true"
        return page, params


async def list_records(
    session: Session, actor: Actor, *, collection: Collection, query: Query, cursors: CursorCodec
) -> Page:
    """A page of the records that the caller may list.

    Raises InvalidParameter, FilterError and InvalidCursor (400) with the position of the fault.
    """
    access.check(actor, collection, "list")
    if not 1 <= query.limit <= MAX_LIMIT:
        raise InvalidParameter(f"limit must be 1 to {MAX_LIMIT}.")
    plan = plan_of(collection, actor, query)
    binding = f"{collection.id}\n{query.filter}\n{query.sort}\n{actor.kind}:{actor.id}"
    cursor = _decode(cursors, query.cursor, binding, plan)
    sql, params = plan.page(query, cursor)
    rows = await repository.page(session, sql, params.bind(actor.id, actor.roles))
    total = None
    if query.count == "exact":
        total = rows[0]["total"]
        rows = [row for row in rows if row["record"] is not None]
    elif query.count == "estimated":
        total = await repository.estimate(
            session,
            f"SELECT 1 FROM {plan.table} WHERE {plan.where}",
            plan.params.bind(actor.id, actor.roles),
        )
    return _page(rows, query, cursor, cursors, binding, total)


def _page(
    rows: Sequence[Any],
    query: Query,
    cursor: Cursor | None,
    cursors: CursorCodec,
    binding: str,
    total: int | None,
) -> Page:
    more = len(rows) > query.limit
    rows = rows[: query.limit]
    backward = cursor is not None and cursor.backward
    if backward:
        rows = rows[::-1]

    def encode(row: Any, *, back: bool) -> str:
        return cursors.encode(tuple(row)[1 : 1 + keys], backward=back, binding=binding)

    following = preceding = None
    if rows:
        keys = len(rows[0]) - (2 if query.count == "exact" else 1)
        # A page that was come to from one side has something on that side.
        if more or backward:
            following = encode(rows[-1], back=False)
        if more if backward else cursor is not None:
            preceding = encode(rows[0], back=True)
    return Page([row["record"] for row in rows], following, preceding, total)


def _decode(codec: CursorCodec, text: str | None, binding: str, plan: _Plan) -> Cursor | None:
    if text is None:
        return None
    try:
        cursor = codec.decode(text, binding=binding)
        if len(cursor.position) != len(plan.keys):
            raise InvalidCursor
    except InvalidCursor:
        CURSOR_REJECTIONS.inc()
        raise
    return cursor


_plans: WeakKeyDictionary[Collection, OrderedDict[tuple[object, ...], _Plan]] = WeakKeyDictionary()


def plan_of(collection: Collection, actor: Actor, query: Query) -> _Plan:
    """The plan of a query, kept for the queries that were asked last."""
    plans = _plans.setdefault(collection, OrderedDict())
    key = (actor.is_admin, query.filter, query.sort, query.fields)
    plan = plans.get(key)
    if plan is None:
        try:
            plan = plans[key] = _build(collection, query, unrestricted=actor.is_admin)
        except FilterError:
            FILTER_REJECTIONS.inc()
            raise
        if len(plans) > _PLANS_KEPT:
            plans.popitem(last=False)
    else:
        plans.move_to_end(key)
    return plan


def _build(collection: Collection, query: Query, *, unrestricted: bool) -> _Plan:
    params = Params()
    keys = parse_sort(query.sort, collection.fields)
    conditions = []
    rule = collection.rules["list"]
    if not unrestricted and not isinstance(rule, bool):
        conditions.append(compile_filter(rule, collection.fields, params))
    if query.filter:
        conditions.append(compile_filter(parse_filter(query.filter), collection.fields, params))
    columns = [f"{record_sql(query.fields, collection.fields)} AS record"]
    columns += [f"{sql} AS k{number}" for number, sql in enumerate(key_columns(keys))]
    return _Plan(
        table=table(collection.name),
        columns=", ".join(columns),
        where=" AND ".join(conditions) or "true",
        keys=keys,
        params=params,
    )
