"""Exports over HTTP."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from app.core.context import context_of
from app.core.errors import InvalidParameter, RequestTimeout
from app.db.dependencies import database_of
from app.http.middleware.request import HEAD_KEY
from app.http.plain import Answer, PlainRouter, Sendable
from app.http.stream import StreamedAnswer
from app.jobs.schemas import accepted
from app.observability.metrics import EXPORTS, LONG_WORK_SECONDS
from app.overload.pace import Pace
from app.ratelimit import costs
from app.ratelimit.dependencies import charge, charge_query_time
from app.records.access import Access
from app.route_policy import RoutePolicy
from app.services import services_of
from app.transfers.exports import encodings, export, queue
from app.transfers.exports.parameters import parse
from app.transfers.places import ExportInProgress, require_place

if TYPE_CHECKING:
    from starlette.requests import Request

    from app.http.stream import Write
    from app.transfers.exports.export import Export

router = PlainRouter("/collections/{collection}")

# Seconds. An old snapshot keeps PostgreSQL from removing old rows of all tables.
_LONGEST = 3600.0


@router.route("GET", "/export")
@RoutePolicy(long=True, cost=lambda _query, _length: costs.EXPORT)
async def export_records(collection: str, request: Request) -> Sendable:
    parameters = parse(request.scope["query_string"])
    if parameters.compression != "none":
        raise InvalidParameter("compression is for exports as jobs; Accept-Encoding compresses.")
    services, context = services_of(request.scope), context_of(request.scope)
    found = await services.registry.get(collection)
    prepared = export.prepare(Access(database_of(request), context.actor, found), parameters)
    coding = encodings.chosen(context.field(b"accept-encoding"))
    fields = {
        "Content-Type": prepared.format.media_type,
        "Content-Disposition": f'attachment; filename="{collection}.{parameters.format}"',
        "Cache-Control": "private, no-store",
        "Vary": "Authorization, Accept-Encoding",
    }
    if coding is not None:
        fields["Content-Encoding"] = coding
    if request.scope.get(HEAD_KEY):
        return Answer(fields=fields)
    require_place(services.database.long, ExportInProgress)
    await charge(request, costs.EXPORT)
    # Another request may have taken the place meanwhile.
    require_place(services.database.long, ExportInProgress)

    async def make(write: Write) -> None:
        outcome = "broken_off"
        try:
            put, end = encodings.compressing(coding, write)
            async with charge_query_time(request, costs.EXPORT):
                await _write(request, prepared, put, collection)
            await end()
            outcome = "whole"
        finally:
            EXPORTS.labels(outcome).inc()

    return StreamedAnswer(request, make, fields=fields, patience=services.settings.request_timeout)


@router.route("POST", "/exports")
@RoutePolicy(cost=lambda _query, _length: costs.EXPORT)
async def export_later(collection: str, request: Request) -> Answer:
    """The export as a job."""
    parameters = parse(request.scope["query_string"])
    services, context = services_of(request.scope), context_of(request.scope)
    found = await services.registry.get(collection)
    database = database_of(request)
    export.prepare(Access(database, context.actor, found), parameters)
    await charge(request, costs.EXPORT)
    job = await queue.submit(database, context.actor, found, parameters)
    return accepted(job)


async def _write(request: Request, export_: Export, put: Write, collection: str) -> None:
    services, context = services_of(request.scope), context_of(request.scope)
    pace = Pace(services.deadlines.count)
    try:
        async with asyncio.timeout(_LONGEST):
            await export_.write(services.database.long, put, pace)
    except TimeoutError:
        raise RequestTimeout("An export takes an hour at most.") from None
    finally:
        context.query_seconds += export_.seconds
        LONG_WORK_SECONDS.labels("export", collection).inc(export_.seconds)
