"""Imports over HTTP."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import orjson
from starlette.requests import ClientDisconnect

from app.core.context import context_of
from app.core.errors import RequestTimeout, UnsupportedMediaType
from app.http.plain import Answer, PlainRouter
from app.http.stream import LEAST_RATE
from app.jobs.schemas import accepted
from app.observability.metrics import IMPORTS, LONG_WORK_SECONDS
from app.overload.pace import Pace
from app.ratelimit import costs
from app.ratelimit.dependencies import charge, charge_query_time
from app.records.access import Access
from app.route_policy import RoutePolicy
from app.services import services_of
from app.transfers.imports import keeping
from app.transfers.imports.http.keyed import Keyed
from app.transfers.imports.http.receiving import receive
from app.transfers.imports.parameters import parse
from app.transfers.imports.reading.decoding import decoded
from app.transfers.imports.run import Import
from app.transfers.places import ImportInProgress, require_place

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, AsyncIterator

    from starlette.requests import Request

    from app.db.database import Transaction
    from app.jobs.models import Job
    from app.transfers.imports.reading.ndjson import Reader
    from app.transfers.imports.run import Report

router = PlainRouter("/collections/{collection}")

_LONGEST = 3600.0
# The first bytes of a file tell how it is compressed, whether a field names it or not.
_CODINGS = {"", "identity", "gzip", "x-gzip", "zstd"}


@router.route("POST", "/import")
@RoutePolicy(long=True, keyed=False, file=True, cost=lambda _query, _length: costs.IMPORT)
async def import_records(collection: str, request: Request) -> Answer:
    services, context = services_of(request.scope), context_of(request.scope)
    content_type = context.field(b"content-type")
    parameters = parse(request.scope["query_string"], content_type)
    coding = (context.field(b"content-encoding") or "").strip().lower()
    if coding not in _CODINGS:
        raise UnsupportedMediaType("Compress the file by gzip or zstd, or not at all.")
    found = await services.registry.get(collection)
    prepared = Import(Access(services.database, context.actor, found), parameters)
    keyed = Keyed(request)
    parts = keyed.digesting(_received(request, services.settings.request_timeout))
    earlier = await keyed.earlier(services.database, parts)
    if earlier is not None:
        return _replay(earlier)
    if _prefers_async(context.field(b"prefer")):
        await charge(request, costs.IMPORT)
        job = await receive(services.database, prepared, keyed, parts)
        return accepted(job)
    require_place(services.database.long, ImportInProgress)
    await charge(request, costs.IMPORT)
    # Another request may have taken the place meanwhile.
    require_place(services.database.long, ImportInProgress)
    outcome = "refused"
    try:
        async with charge_query_time(request, costs.IMPORT):
            report = await _run(request, prepared, keyed, parts)
        outcome = "tried" if parameters.dry_run else "done"
    except (ClientDisconnect, asyncio.CancelledError):
        outcome = "broken_off"
        raise
    finally:
        IMPORTS.labels(outcome).inc()
    return Answer(orjson.dumps(report))


def _replay(job: Job) -> Answer:
    replayed = {"Idempotency-Replayed": "true"}
    if job.parameters.get("is_async"):
        return accepted(job, replayed)
    return Answer(orjson.dumps(job.result), fields=replayed)


def _prefers_async(field: str | None) -> bool:
    """Whether a Prefer field asks for a job (RFC 7240, section 4.1)."""
    preferences = (field or "").lower().split(",")
    return any(each.partition(";")[0].strip() == "respond-async" for each in preferences)


async def _run(
    request: Request, prepared: Import, keyed: Keyed, parts: AsyncIterable[bytes]
) -> dict[str, Any]:
    services, context = services_of(request.scope), context_of(request.scope)
    pace = Pace(services.deadlines.count)
    plain = decoded(parts, services.settings.max_import_bytes)
    kept: list[Job] = []

    async def finish(transaction: Transaction, report: Report, reader: Reader) -> None:
        kept.append(
            await keeping.keep_report(
                transaction, prepared, report, reader, key=keyed.id, digest=keyed.digest
            )
        )

    try:
        async with asyncio.timeout(_LONGEST), services.database.stepwise() as session:
            await keyed.lock(session, services.database)
            report = await prepared.run(session, plain, pace, finish)
    except TimeoutError:
        raise RequestTimeout("An import takes an hour at most.") from None
    finally:
        context.query_seconds += prepared.seconds
        LONG_WORK_SECONDS.labels("import", prepared.collection).inc(prepared.seconds)
    result = kept[0].result if kept else None
    return report.as_dict() if result is None else result


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
