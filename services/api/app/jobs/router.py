"""Jobs over HTTP."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Depends, Query, Request, Response
from fastapi.responses import StreamingResponse

from app.auth.dependencies import CurrentActor, no_store
from app.core.context import context_of
from app.core.errors import Problem
from app.db.dependencies import SessionDep
from app.http.openapi import problems
from app.jobs import files, service
from app.jobs.errors import JobHasNoFile
from app.jobs.schemas import JobOut, JobsOut
from app.route_policy import RoutePolicy
from app.services import services_of

if TYPE_CHECKING:
    from app.core.actor import Actor
    from app.jobs.models import FileName, Job

router = APIRouter(prefix="/jobs", tags=["jobs"], dependencies=[Depends(no_store)])

# One range of bytes (RFC 9110, section 14.1.2); a field of another form is ignored.
_RANGE = re.compile(r"bytes=(?:([0-9]{1,18})-([0-9]{0,18})|-([0-9]{1,18}))")
_MEDIA_TYPES = {
    "ndjson": "application/x-ndjson",
    "csv": "text/csv; charset=utf-8; header=present",
    "json": "application/json",
}
_COMPRESSED = {"gzip": ("application/gzip", ".gz"), "zstd": ("application/zstd", ".zst")}
_FILE: dict[int | str, dict[str, Any]] = {
    200: {"description": "The file", "content": {"application/octet-stream": {}}},
    206: {"description": "A part of the file"},
    **problems(401, 404, 416),
}


class RangeNotSatisfiable(Problem):
    """The file has no such bytes."""

    status, code, title = 416, "range_not_satisfiable", "Range not satisfiable"


@router.get("", operation_id="listJobs", responses=problems(401))
async def list_jobs(
    session: SessionDep,
    actor: CurrentActor,
    limit: Annotated[int, Query(ge=1, le=500)] = 50,
    cursor: UUID | None = None,
) -> JobsOut:
    """The caller's jobs, newest first; an admin sees those of all."""
    found = await service.get_all(session, actor, before=cursor, limit=limit + 1)
    return JobsOut(
        items=[JobOut.from_job(job) for job in found[:limit]],
        next=str(found[limit - 1].id) if len(found) > limit else None,
    )


@router.get("/{job_id}", operation_id="getJob", responses=problems(401, 404))
async def get_job(session: SessionDep, actor: CurrentActor, job_id: UUID) -> JobOut:
    return JobOut.from_job(await service.get(session, actor, job_id))


@router.post("/{job_id}/cancel", operation_id="cancelJob", responses=problems(401, 404, 409))
async def cancel_job(session: SessionDep, actor: CurrentActor, job_id: UUID) -> JobOut:
    """End a job that waits or runs; one that runs ends within seconds, and leaves nothing."""
    return JobOut.from_job(await service.cancel(session, actor, job_id))


@router.get(
    "/{job_id}/result", operation_id="getJobResult", responses=_FILE, response_class=Response
)
@RoutePolicy(long=True)
async def get_result(request: Request, actor: CurrentActor, job_id: UUID) -> Response:
    """The file of an export. `Range` goes on where a client left off."""
    return await _file(request, actor, job_id, "result")


@router.get(
    "/{job_id}/rejects", operation_id="getJobRejects", responses=_FILE, response_class=Response
)
@RoutePolicy(long=True)
async def get_rejects(request: Request, actor: CurrentActor, job_id: UUID) -> Response:
    """The lines that an import refused, in the form of its input."""
    return await _file(request, actor, job_id, "rejects")


async def _file(request: Request, actor: Actor, job_id: UUID, name: FileName) -> Response:
    database = services_of(request.scope).database
    job = await service.get(database, actor, job_id)
    size = await files.size(database, job_id, name)
    if job.state not in ("succeeded", "undone"):
        raise JobHasNoFile
    if size is None and not (name == "result" and job.kind == "export"):
        raise JobHasNoFile
    size = size or 0
    context = context_of(request.scope)
    fields = _fields(job, name)
    first, end, status = 0, size, 200
    wanted = _RANGE.fullmatch(context.field(b"range") or "")
    if wanted and context.field(b"if-range") in (None, fields["ETag"]):
        first, end = _bounds(wanted, size)
        status = 206
        fields["Content-Range"] = f"bytes {first}-{end - 1}/{size}"
    fields["Content-Length"] = str(end - first)
    body = files.read(database, job_id, name, first, end)
    return StreamingResponse(body, status, fields)


def _bounds(wanted: re.Match[str], size: int) -> tuple[int, int]:
    """The first byte and the one after the last. Raises RangeNotSatisfiable."""
    first, last, suffix = wanted.groups()
    if suffix is not None:
        bounds = max(0, size - int(suffix)), size
    else:
        bounds = int(first), min(size, int(last) + 1) if last else size
    if bounds[0] >= bounds[1]:
        raise RangeNotSatisfiable(headers={"Content-Range": f"bytes */{size}"})
    return bounds


def _fields(job: Job, name: FileName) -> dict[str, str]:
    ending = job.parameters["format"]
    media_type = _MEDIA_TYPES[ending]
    compression = job.parameters.get("compression", "none") if name == "result" else "none"
    if compression != "none":
        media_type, compressed = _COMPRESSED[compression]
        ending += compressed
    return {
        "Content-Type": media_type,
        "Content-Disposition": f'attachment; filename="{job.collection}-{name}.{ending}"',
        "Accept-Ranges": "bytes",
        "ETag": f'"{job.id}-{name}"',
    }
