"""Searches: the records that match a text, the best first."""

from __future__ import annotations

import asyncio
import struct
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID

import orjson

from app.collections import indexes
from app.core.errors import Forbidden, QueryTooSlow
from app.filters.errors import InvalidCursor
from app.observability.metrics import CURSOR_REJECTIONS
from app.records.lists import repository as lists
from app.records.lists.listing import Query, check_query, plan_of
from app.records.search import facets as faceting
from app.records.search import repository, words
from app.records.search.explain import explained, reason_of_first
from app.records.search.highlights import highlights
from app.records.search.statement import Bounds, Position, Search, bounds
from app.records.search.wording import (
    BEGUN,
    finds_begun,
    for_websearch,
    split_begun,
    wanted,
    with_begun,
)
from app.records.text import rendered

if TYPE_CHECKING:
    from collections.abc import Sequence

    from app.collections.declared_search import SearchIndex
    from app.db.session import ReadSession
    from app.filters.cursor import CursorCodec
    from app.filters.language.syntax import Path
    from app.filters.params import Params
    from app.records.access import Access
    from app.records.lists.listing import Count, Plan
    from app.records.search.parameters import Parameters

# The places in a row after head, own fields and id: rank, time, approximate, texts.
_RANK, _NOW, _APPROXIMATE, _TEXTS = 3, 4, 5, 6
# The characters of texts that are highlighted while other requests wait.
_AT_ONCE = 200_000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class Request:
    """A search that is checked, for its caller."""

    access: Access
    parameters: Parameters
    index: SearchIndex
    plan: Plan
    count: Count
    facets: dict[str, Path]
    # The text that cursors are bound to.
    binding: str

    def bind(self, params: Params) -> list[object]:
        actor = self.access.actor
        return params.bind(actor.id, actor.roles)

    @property
    def sees_all(self) -> bool:
        """Whether the caller may list all records, and so may be told of the counted words."""
        return self.access.actor.is_admin or self.access.collection.rules["list"] is True


@dataclass(slots=True)
class Found:
    """A page before its cursor is made; `q` is the text that was looked for."""

    q: str
    search: Search | None
    rows: Sequence[Any] = ()
    more: bool = False
    approximate: bool = False


async def prepare(access: Access, parameters: Parameters) -> Request:
    """Raises as `Access.require` does, InvalidParameter, FilterError and UnknownField (400),
    NotSearchable and IndexNotReady (409), and Forbidden (403) for `explain` to others than admins.
    """
    asked = Query(parameters.filter, limit=parameters.limit, count=parameters.count)
    query = check_query(access, asked)
    actor, collection = access.actor, access.collection
    if parameters.explain and not actor.is_admin:
        raise Forbidden("Only admins have searches explained.")
    facets = faceting.parse(parameters.facets, collection.readable)
    plan = plan_of(collection, actor, Query(parameters.filter))
    index = await indexes.serving(access.session, collection)
    binding = (
        f"search\n{collection.id}\n{parameters.q}\n{parameters.prefix}\n{parameters.filter}"
        f"\n{actor.kind}:{actor.id}"
    )
    return Request(access, parameters, index, plan, query.count, facets, binding)


async def answer(request: Request, reading: ReadSession, cursors: CursorCodec) -> bytes:
    """The JSON of the page. Raises InvalidCursor (400), and QueryTooSlow (503) with advice."""
    try:
        return await _answer(request, reading, cursors)
    except QueryTooSlow as slow:
        raise QueryTooSlow(
            f"{slow.detail} What helps: rarer words, a smaller filter, no count and no facets."
        ) from slow


async def _answer(request: Request, reading: ReadSession, cursors: CursorCodec) -> bytes:
    parameters = request.parameters
    position, q = None, parameters.q
    if parameters.cursor is not None:
        position, q = _position(request, cursors)
    found = await _find(request, reading, q, position, prefix=parameters.prefix)
    corrected = q if q != parameters.q else None
    if position is None and found.search is not None and not found.rows:
        other = await _correct(request, reading, found.search)
        if other is not None and other.rows:
            found, corrected = other, other.q
    given = len(found.rows) + (position.given if position else 0)
    tail: dict[str, Any] = {"next": _next(request, found, given, cursors)}
    tail["approximate"] = found.approximate
    if corrected is not None:
        tail["did_you_mean"] = corrected
    if request.count != "none":
        tail["total"] = await _total(request, reading, found)
    if parameters.explain:
        tail["explain"] = await _explain(request, reading, found, position)
    facets = await _facets(request, reading, found)
    items = await _items(request, found)
    return b'{"items":[' + items + b'],"facets":' + facets + b"," + orjson.dumps(tail)[1:]


async def _find(
    request: Request, reading: ReadSession, q: str, position: Position | None, *, prefix: bool
) -> Found:
    search = await _compiled(request, reading, q, prefix=prefix)
    if search is None:
        return Found(q, None)
    limit = request.parameters.limit
    sql, params = search.page(limit, _bounds(request, search, position), position)
    rows, full = await lists.page(
        reading, sql, request.bind(params), limit=limit + 1, largest=request.plan.largest
    )
    approximate = rows[0][_APPROXIMATE]
    records = [row for row in rows if row[0] is not None]
    return Found(q, search, records[:limit], full or len(records) > limit, approximate)


async def _compiled(
    request: Request, reading: ReadSession, q: str, *, prefix: bool
) -> Search | None:
    """None where the text names nothing to find."""
    index, language = request.index, request.index.spec.language
    finished, begun = split_begun(q, language) if prefix else (q, "")
    if begun:
        text = for_websearch(f"{finished} {BEGUN}", language)
        asked = await repository.query_of(reading, index, text)
        if asked.finds and finds_begun(asked.query):
            counted = request.access.collection.id if request.sees_all else None
            plain, lexemes = await repository.begun(reading, index, counted, begun)
            if plain:
                query = with_begun(asked.query, plain, lexemes)
                return Search(index, request.plan, wanted(query, language))
            q = finished
    asked = await repository.query_of(reading, index, for_websearch(q, language))
    return Search(index, request.plan, wanted(asked.query, language)) if asked.finds else None


async def _correct(request: Request, reading: ReadSession, search: Search) -> Found | None:
    """The page of a query with corrected words; a word that is only begun is left as it is. None
    without a correction, or one in time, and for callers who may not list all records."""
    if not request.sees_all:
        return None
    q, prefix = request.parameters.q, request.parameters.prefix
    finished = split_begun(q, request.index.spec.language)[0] if prefix else q
    collection, args = request.access.collection.id, request.bind(request.plan.params)
    try:
        other = await words.corrected(reading, search, collection, finished, args)
        if other is None:
            return None
        return await _find(request, reading, other + q[len(finished) :], None, prefix=prefix)
    except QueryTooSlow:
        # The query's own answer, with nothing in it, is there.
        return None


async def _items(request: Request, found: Found) -> bytes:
    def made() -> bytes:
        return b",".join(_item(request, found, row) for row in found.rows)

    letters = sum(len(text) for row in found.rows for text in tuple(row)[_TEXTS:])
    return made() if letters <= _AT_ONCE else await asyncio.to_thread(made)


def _item(request: Request, found: Found, row: Any) -> bytes:
    texts = tuple(row)[_TEXTS:]
    shown = {
        "_rank": row[_RANK],
        "_highlights": highlights(request.index, texts, found.q),
    }
    return rendered(row[0], row[1])[:-1].encode() + b"," + orjson.dumps(shown)[1:]


async def _total(request: Request, reading: ReadSession, found: Found) -> int:
    if found.search is None:
        return 0
    sql, params = found.search.matching(["1"])
    counting = lists.estimate if request.count == "estimated" else repository.count
    return await counting(reading, sql, request.bind(params))


async def _facets(request: Request, reading: ReadSession, found: Found) -> bytes:
    if not request.facets or found.search is None:
        return faceting.dump(request.facets, ())
    most, largest = _bounds(request, found.search, None).most, request.plan.largest
    sql, params = faceting.statement(found.search, request.facets, most, largest)
    rows, _ = await lists.page(
        reading, sql, request.bind(params), limit=faceting.MOST_ROWS, largest=largest
    )
    return faceting.dump(request.facets, rows)


async def _explain(
    request: Request, reading: ReadSession, found: Found, position: Position | None
) -> dict[str, Any]:
    if found.search is None:
        return {"query": "", "first": "The text names nothing to find: its words are left out."}
    parameters = request.parameters
    within = _bounds(request, found.search, position)
    sql, params = found.search.page(parameters.limit, within, position)
    page = (sql, request.bind(params))
    told = await explained(reading, found.search, page, parameters.q, found.q)
    if found.approximate:
        told["approximate"] = (
            f"Over {within.most} records match, so those with the words in heavier fields and more"
            " often, and then the newest, were ranked."
        )
    if found.rows:
        told["first"] = await reason_of_first(reading, found.search, found.rows[0])
    return told


def _bounds(request: Request, search: Search, position: Position | None) -> Bounds:
    limit, largest = request.parameters.limit, request.plan.largest
    return bounds(request.index, search.wanted, largest, limit, position)


def _next(request: Request, found: Found, given: int, cursors: CursorCodec) -> str | None:
    if not found.more or not found.rows:
        return None
    last = found.rows[-1]
    corrected = found.q if found.q != request.parameters.q else ""
    began = str((last[_NOW] - _EPOCH) // _MICROSECOND)
    rank = struct.pack(">d", last[_RANK]).hex()
    position = (corrected, began, str(given), rank, last[2])
    return cursors.encode(position, backward=False, binding=request.binding)


def _position(request: Request, cursors: CursorCodec) -> tuple[Position, str]:
    """The place to go on from, and the text that was looked for. Raises InvalidCursor (400)."""
    try:
        cursor = cursors.decode(request.parameters.cursor or "", binding=request.binding)
    except InvalidCursor:
        CURSOR_REJECTIONS.inc()
        raise
    corrected, began, given, rank, id_ = cursor.position
    position = Position(
        struct.unpack(">d", bytes.fromhex(rank))[0],
        UUID(id_),
        _EPOCH + int(began) * _MICROSECOND,
        int(given),
    )
    return position, corrected or request.parameters.q
