"""Aggregates over HTTP."""

from __future__ import annotations

from typing import TYPE_CHECKING

from app.core.context import context_of
from app.core.errors import QueryTooSlow
from app.db.dependencies import database_of
from app.http.plain import Answer, PlainRouter
from app.ratelimit import costs
from app.ratelimit.dependencies import charge, charge_query_time
from app.records.access import Access
from app.records.aggregates import aggregate
from app.records.aggregates.parameters import parse
from app.route_policy import RoutePolicy
from app.services import services_of

if TYPE_CHECKING:
    from starlette.requests import Request

router = PlainRouter("/collections/{collection}")


@router.route("GET", "/aggregate")
@RoutePolicy(cost=lambda _query, _length: costs.AGGREGATE)
async def aggregate_records(collection: str, request: Request) -> Answer:
    parameters = parse(request.scope["query_string"])
    services, actor = services_of(request.scope), context_of(request.scope).actor
    found = await services.registry.get(collection)
    prepared = aggregate.prepare(Access(database_of(request), actor, found), parameters)
    await charge(request, costs.AGGREGATE)
    async with charge_query_time(request, costs.AGGREGATE):
        try:
            text = await prepared.answer(services.database.lists)
        except QueryTooSlow as slow:
            raise QueryTooSlow(
                f"{slow.detail} What helps: a smaller filter, with an index for it."
            ) from slow
    return Answer(text, fields={"Cache-Control": "private, no-cache", "Vary": "Authorization"})
