"""Probes and metrics."""

from __future__ import annotations

import asyncio

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse
from prometheus_client import CONTENT_TYPE_LATEST

from app.http.openapi import PUBLIC, problems
from app.observability.metrics import exposition
from app.route_policy import RoutePolicy
from app.services import services_of

router = APIRouter(tags=["operations"])


@router.get("/health", operation_id="health", openapi_extra=PUBLIC)
@RoutePolicy(probe=True)
async def health() -> dict[str, str]:
    """The process is up. Touches nothing else."""
    return {"status": "ok"}


@router.get("/health/ready", operation_id="ready", responses=problems(), openapi_extra=PUBLIC)
@RoutePolicy(probe=True)
async def ready(request: Request) -> JSONResponse:
    """Whether requests can be served: `ready`, `degraded` (still serves), or 503 `unavailable`."""
    report = await services_of(request.scope).readiness.report()
    status = 503 if report["status"] == "unavailable" else 200
    return JSONResponse(report, status, {"Cache-Control": "no-store"})


@router.get("/metrics", operation_id="metrics", openapi_extra=PUBLIC, response_class=Response)
@RoutePolicy(probe=True)
async def metrics() -> Response:
    """Prometheus' text format, over all workers of this server."""
    return Response(await asyncio.to_thread(exposition), media_type=CONTENT_TYPE_LATEST)
