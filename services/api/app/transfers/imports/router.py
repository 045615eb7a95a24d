"""Imports over HTTP."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import orjson
from starlette.requests import ClientDisconnect

from app.core.context import context_of
from app.core.errors import Overloaded, RequestTimeout, UnsupportedMediaType
from app.db.dependencies import database_of
from app.http.plain import Answer, PlainRouter
from app.http.stream import LEAST_RATE
from app.observability.metrics import IMPORTS, LONG_WORK_SECONDS
from app.overload.pace import Pace
from app.ratelimit import costs
from app.ratelimit.dependencies import charge, charge_query_time
from app.records.access import Access
from app.route_policy import RoutePolicy
from app.services import services_of
from app.transfers.imports.reading.decoding import decoded
from app.transfers.imports.errors import RETRY_AFTER, ImportInProgress
from app.transfers.imports.parameters import parse
from app.transfers.imports.run import Import

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from starlette.requests import Request

    from app.db.pool.long import LongPool
    from app.transfers.imports.run import Report

router = PlainRouter("/collections/{collection}")

_LONGEST = 3600.0
# The first bytes of a file tell how it is compressed, whether a field names it or not.
_CODINGS = {"", "identity", "gzip", "x-gzip", "zstd"}


@router.route("POST", "/import")
@RoutePolicy(long=True, keyed=False, file=True, cost=lambda _query, _length: costs.IMPORT)
async def import_records(collection: str, request: Request) -> Answer:
    services, context = services_of(request.scope), context_of(request.scope)
    parameters = parse(request.scope["query_string"], context.field(b"content-type"))
    coding = (context.field(b"content-encoding") or "").strip().lower()
    if coding not in _CODINGS:
        raise UnsupportedMediaType("Compress the file by gzip or zstd, or not at all.")
    found = await services.registry.get(collection)
    prepared = Import(Access(database_of(request), context.actor, found), parameters)
    _require_place(services.database.long)
    await charge(request, costs.IMPORT)
    # Another request may have taken the place meanwhile.
    _require_place(services.database.long)
    outcome = "refused"
    try:
        async with charge_query_time(request, costs.IMPORT):
            report = await _run(request, prepared, collection)
        outcome = "tried" if report.dry_run else "done"
    except (ClientDisconnect, asyncio.CancelledError):
        outcome = "broken_off"
        raise
    finally:
        IMPORTS.labels(outcome).inc()
    return Answer(orjson.dumps(report.as_dict()))


def _require_place(pool: LongPool) -> None:
    """Raises ImportInProgress (429) and Overloaded (503)."""
    if not pool.has_place():
        if pool.is_taken_by_caller():
            raise ImportInProgress
        raise Overloaded("All places for imports are taken.", retry_after=RETRY_AFTER)


async def _run(request: Request, prepared: Import, collection: str) -> Report:
    services, context = services_of(request.scope), context_of(request.scope)
    pace = Pace(services.deadlines.count)
    parts = decoded(
        _received(request, services.settings.request_timeout), services.settings.max_import_bytes
    )
    try:
        async with asyncio.timeout(_LONGEST), services.database.stepwise() as session:
            return await prepared.run(session, parts, pace)
    except TimeoutError:
        raise RequestTimeout("An import takes an hour at most.") from None
    finally:
        context.query_seconds += prepared.seconds
        LONG_WORK_SECONDS.labels("import", collection).inc(prepared.seconds)


async def _received(request: Request, patience: float) -> AsyncIterator[bytes]:
    """The body as it arrives. Raises RequestTimeout for a client that keeps it waiting for
    `patience` seconds more than LEAST_RATE bytes a second would, and ClientDisconnect."""
    most, clock = patience, asyncio.get_running_loop().time
    while True:
        began = clock()
        try:
            async with asyncio.timeout(patience):
                message = await request.receive()
        except TimeoutError:
            raise RequestTimeout("The client sends too little of the file.") from None
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        body: bytes = message.get("body", b"")
        # A quick client saves up no time.
        patience = min(patience + len(body) / LEAST_RATE - (clock() - began), most)
        if body:
            yield body
        if not message.get("more_body", False):
            return
