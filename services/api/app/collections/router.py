"""Collections over HTTP."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Path, Request, Response

from app.auth.dependencies import CurrentActor
from app.collections import indexes, service
from app.collections.declared_index import Index
from app.collections.errors import CollectionNotFound
from app.collections.models import Collection
from app.collections.schemas import (
    Cache,
    CollectionIn,
    CollectionOut,
    CollectionsOut,
    IndexOut,
    Rules,
    SearchOut,
)
from app.core.actor import COLLECTION_NAME, Actor, Scope
from app.core.errors import InvalidPrecondition
from app.db.dependencies import database_of
from app.db.session import Session
from app.http import preconditions
from app.http.body import body_of, request_body
from app.http.openapi import ONLY_CREATE, precondition, problems
from app.services import services_of

router = APIRouter(prefix="/collections", tags=["collections"])

# For the documentation; not checked here, since all routes but PUT answer a wrong name with 404.
Name = Annotated[
    str, Path(json_schema_extra={"pattern": f"^{COLLECTION_NAME}$", "example": "books"})
]


async def admins_only(actor: CurrentActor) -> None:
    """A route's dependency: callers other than admins are refused before the body is read."""
    service.require_admin(actor)


@router.get(
    "", operation_id="listCollections", responses=problems(), response_model_exclude_none=True
)
async def list_collections(request: Request, actor: CurrentActor) -> CollectionsOut:
    """All collections that you may see."""
    found = await services_of(request.scope).registry.visible_to(actor)
    return CollectionsOut(
        items=await _collections(services_of(request.scope).database, actor, found)
    )


@router.get(
    "/{collection}",
    operation_id="getCollection",
    responses=problems(404),
    response_model_exclude_none=True,
)
async def get_collection(
    request: Request, response: Response, actor: CurrentActor, collection: Name
) -> CollectionOut:
    """One collection; admins also see its rules and indexes."""
    found = await services_of(request.scope).registry.get(collection)
    if not found.is_visible_to(actor):
        raise CollectionNotFound
    response.headers["ETag"] = preconditions.etag(found.version)
    return (await _collections(services_of(request.scope).database, actor, [found]))[0]


@router.put(
    "/{collection}",
    operation_id="putCollection",
    responses={
        201: {"model": CollectionOut, "description": "Created"},
        **problems(401, 403, 404, 409, 412, 415, 422),
    },
    response_model_exclude_none=True,
    openapi_extra={
        **request_body(CollectionIn),
        "parameters": [precondition("If-Match"), precondition("If-None-Match", ONLY_CREATE)],
    },
    dependencies=[Depends(admins_only)],
)
async def put_collection(
    request: Request,
    response: Response,
    actor: CurrentActor,
    collection: Name,
    given: Annotated[CollectionIn, body_of(CollectionIn, at_most=None)],
) -> CollectionOut:
    """Create the collection, or change it to this definition. Doing it twice is harmless."""
    wanted = preconditions.parse_tags(request.headers.get("if-match"))
    absent = preconditions.parse_tags(request.headers.get("if-none-match"))
    if absent is not None and (not absent.any or wanted is not None):
        raise InvalidPrecondition("PUT takes If-Match, or If-None-Match: * to create.")
    definition = service.define(collection, given)
    database = database_of(request)
    async with database.transaction() as session:
        changed, created = await service.put(
            session,
            actor,
            name=collection,
            definition=definition,
            if_match=wanted,
            only_create=absent is not None,
        )
    if not created:
        # In the background: the request's deadline would cancel the building of a large index.
        services = services_of(request.scope)
        database.after_commit(
            lambda: services.background.start(
                indexes.reconcile(services.database, changed, again=True)
            )
        )
    response.status_code = 201 if created else 200
    response.headers["ETag"] = preconditions.etag(changed.version)
    response.headers["Location"] = f"/collections/{collection}"
    return (await _collections(database, actor, [changed]))[0]


@router.delete(
    "/{collection}",
    operation_id="deleteCollection",
    status_code=204,
    responses=problems(401, 403, 404, 412),
    openapi_extra={"parameters": [precondition("If-Match")]},
)
async def delete_collection(
    request: Request, actor: CurrentActor, collection: Name, confirm: str | None = None
) -> Response:
    """Delete the collection and all its records; `confirm` repeats its name."""
    wanted = preconditions.parse_tags(request.headers.get("if-match"))
    async with database_of(request).transaction() as session:
        await service.delete(session, actor, name=collection, confirm=confirm, if_match=wanted)
    return Response(status_code=204)


async def _collections(
    session: Session, actor: Actor, collections: list[Collection]
) -> list[CollectionOut]:
    shown_whole = actor.is_admin and actor.has_scope(Scope.COLLECTIONS_ADMIN)
    states = await indexes.states(session) if shown_whole else None
    return [_collection_out(collection, states) for collection in collections]


def _collection_out(collection: Collection, states: indexes.States | None) -> CollectionOut:
    definition = collection.definition
    out = CollectionOut(
        name=collection.name,
        schema=definition.schema,
        version=collection.version,
        created_at=collection.created_at,
        updated_at=collection.updated_at,
    )
    if states is not None:
        out.rules = Rules(**definition.rules)
        out.cache = Cache(**definition.cache) if definition.cache else None
        out.search = _search_out(collection, states)
        out.indexes = [_index_out(index, *states.state_of(index)) for index in collection.indexes]
    return out


def _search_out(collection: Collection, states: indexes.States) -> SearchOut | None:
    index = collection.search_index
    if index is None:
        return None
    state, reason = states.state_of(index)
    progress = states.progress_of(index) if state == "building" else None
    return SearchOut(
        fields=dict(index.spec.fields),
        language=index.spec.language,
        boost=index.spec.boost,
        recency=index.spec.recency,
        state=state,
        progress=progress,
        reason=reason,
    )


def _index_out(index: Index, state: indexes.State, reason: str | None) -> IndexOut:
    spec = index.spec
    return IndexOut(
        fields=list(spec.fields),
        unique=spec.unique or None,
        case_insensitive=spec.case_insensitive or None,
        filter=spec.filter,
        state=state,
        reason=reason,
    )
