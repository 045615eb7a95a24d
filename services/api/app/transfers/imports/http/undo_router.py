"""Undoing an import over HTTP."""

from __future__ import annotations

from uuid import UUID

from fastapi import APIRouter, Depends, Request
from pydantic import BaseModel

from app.auth.dependencies import CurrentActor, no_store
from app.http.openapi import problems
from app.jobs import service
from app.records.access import Access
from app.route_policy import RoutePolicy
from app.services import services_of
from app.transfers.imports.undo import undo
from app.transfers.places import ImportInProgress, require_place

router = APIRouter(prefix="/jobs", tags=["jobs"], dependencies=[Depends(no_store)])


class UndoneOut(BaseModel):
    """The numbers of records."""

    deleted: int
    restored: int


@router.post(
    "/{job_id}/undo", operation_id="undoImport", responses=problems(401, 403, 404, 409, 429)
)
@RoutePolicy(long=True, keyed=False)
async def undo_import(request: Request, actor: CurrentActor, job_id: UUID) -> UndoneOut:
    """Delete what an import inserted, and have what it changed as it was before.

    All or nothing: 409 with some of the records that were changed since.
    """
    services = services_of(request.scope)
    database = services.database
    job = await service.get(database, actor, job_id)
    collection = service.require_same(job, await services.registry.get(job.collection))
    require_place(database.long, ImportInProgress)
    async with database.stepwise() as session, session.transaction() as transaction:
        access = Access(transaction, actor, collection)
        return UndoneOut(**await undo(access, transaction, job))
