"""Searches over HTTP."""

from __future__ import annotations

from typing import TYPE_CHECKING

from app.core.context import context_of
from app.db.dependencies import database_of
from app.http.plain import Answer, PlainRouter
from app.observability.metrics import SLOW_SEARCHES
from app.ratelimit import costs
from app.ratelimit.dependencies import charge, charge_query_time
from app.records.access import Access
from app.records.search import search
from app.records.search.parameters import parse
from app.route_policy import RoutePolicy
from app.services import services_of

if TYPE_CHECKING:
    from starlette.requests import Request

router = PlainRouter("/collections/{collection}")


@router.route("GET", "/search")
@RoutePolicy(cost=costs.of_search)
async def search_records(collection: str, request: Request) -> Answer:
    parameters = parse(request.scope["query_string"])
    services, context = services_of(request.scope), context_of(request.scope)
    found = await services.registry.get(collection)
    access = Access(database_of(request), context.actor, found)
    prepared = await search.prepare(access, parameters)
    counted = costs.EXACT_COUNT if prepared.count == "exact" or prepared.facets else 1
    await charge(request, counted)
    try:
        async with charge_query_time(request, counted):
            text = await search.answer(prepared, services.database.lists, services.cursors)
    finally:
        if context.query_seconds > costs.SLOW_SECONDS:
            SLOW_SEARCHES.labels(collection).inc()
    return Answer(text, fields={"Cache-Control": "private, no-cache", "Vary": "Authorization"})
