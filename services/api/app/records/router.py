"""Records over HTTP. The package `openapi` describes the paths of each collection in the OpenAPI
document, with the collection's own schema, so the generic paths are left out of it."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, TypeVar

import orjson

from app.core.actor import Scope
from app.core.context import context_of
from app.core.errors import InvalidPrecondition, Problem
from app.core.ids import parse_uuid
from app.db.dependencies import database_of
from app.http import preconditions
from app.http.body import read_body
from app.http.plain import JSON, Answer, PlainRouter
from app.ratelimit import costs
from app.ratelimit.dependencies import charge, charge_query_time
from app.records import batch, service, upsert
from app.records.access import Access
from app.records.cached import lists, records
from app.records.cached.fields import fields_of
from app.records.errors import (
    DefinitionChanged,
    InvalidId,
    RecordExists,
    RecordNotFound,
    VersionConflict,
)
from app.records.lists import listing
from app.records.lists.parameters import parse as parse_parameters
from app.records.service import Body, Stored
from app.route_policy import RoutePolicy
from app.services import services_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from uuid import UUID

    from starlette.requests import Request

    from app.collections.models import Operation
    from app.http.preconditions import Tags
    from app.records.lists.listing import Query
    from app.records.lists.parameters import Parameters
    from app.records.upsert import Resolution

Result = TypeVar("Result")

router = PlainRouter("/collections/{collection}")

MERGE_PATCH = "application/merge-patch+json"

# Proxies take a few KiB of fields altogether, and the cursors are in the body as well.
_MAX_LINK = 4096
# Answers depend on the caller, so shared caches must not keep them.
_PRIVATE = {"Cache-Control": "private, no-cache", "Vary": "Authorization"}
_TRIES = 3
# Refusals that tell what is stored, perhaps by a write that was sent twice: not found, conflict,
# another version.
_TELLING = (404, 409, 412)


@router.route("GET", "/records")
@RoutePolicy(cost=costs.of_query)
async def list_records(collection: str, request: Request) -> Answer:
    parameters = parse_parameters(request.scope["query_string"])
    access = await _access(request, collection)
    query = listing.check_query(access, parameters.query)
    counted = costs.EXACT_COUNT if query.count == "exact" else 1
    await charge(request, counted)
    async with charge_query_time(request, counted):
        if access.collection.list_cache is not None:
            return await _cached(request, access, query, parameters)
        services = services_of(request.scope)
        page = await listing.list_records(
            access, query, reading=services.database.lists, cursors=services.cursors
        )
    links = _links(request.scope["path"], parameters, page)
    return Answer(page.dump(), fields={**_PRIVATE, **links})


@router.route("POST", "/records")
async def create_record(collection: str, request: Request) -> Answer:
    wanted = upsert.parse_parameters(request.scope["query_string"])
    access = await _access(request, collection)
    access.require("create")
    if wanted is not None:
        return await _upsert(request, access, *wanted)
    data = Body.from_json(await read_body(request))

    async def create(access: Access) -> Stored:
        return await service.create(access, data)

    return _created(collection, await _retrying(request, access, create))


async def _upsert(request: Request, access: Access, fields: str, resolution: Resolution) -> Answer:
    upsert.indexes_on(access.collection, fields)
    data = Body.from_json(await read_body(request))

    async def work(access: Access) -> tuple[Stored, bool]:
        return await upsert.upsert(access, data, fields, resolution)

    stored, is_new = await _retrying(request, access, work)
    return _created(access.collection.name, stored) if is_new else _changed(access, stored)


@router.route("POST", "/records:batch")
@RoutePolicy(cost=costs.of_length)
async def batch_records(collection: str, request: Request) -> Answer:
    access = await _access(request, collection)
    _require_any(access, "create", "update", "delete")
    operations = batch.parse_operations(Body.from_json(await read_body(request)))
    await charge(request, batch.request_cost(operations))
    budget = services_of(request.scope).database.budget

    async def run(access: Access) -> list[batch.Result]:
        # Taken before a connection: holders of this memory need connections to continue.
        async with (
            batch.turn(access.collection, operations),
            budget.take(batch.memory_needed(operations, access.collection, budget)),
            database_of(request).transaction() as session,
        ):
            return await batch.run(access.within(session), operations)

    results = await _retrying(request, access, run)
    return Answer(batch.dump_results(results))


@router.route("GET", "/records/{record_id}")
async def get_record(collection: str, record_id: str, request: Request) -> Answer:
    known = _tags(request, b"if-none-match")
    # Parsed before the collection is looked up: the answer to an invalid id must not tell whether
    # the collection exists.
    id_ = _id(record_id)
    access = await _access(request, collection)
    fields = dict(_PRIVATE)
    if access.collection.record_cache is None:
        stored = await service.get(access, id_)
    else:
        served = await records.get(access, id_, services_of(request.scope).kept_records)
        stored = served.value
        fields |= fields_of(served)
    fields["ETag"] = preconditions.etag(stored.version)
    if known is not None and known.match(stored.version):
        return Answer(status=304, fields=fields)
    return Answer(stored.json, fields=fields)


@router.route("PUT", "/records/{record_id}")
async def put_record(collection: str, record_id: str, request: Request) -> Answer:
    absent = _tags(request, b"if-none-match")
    wanted = _tags(request, b"if-match")
    id_ = parse_uuid(record_id)
    if id_ is None:
        raise InvalidId
    if absent is not None and (not absent.any or wanted is not None):
        raise InvalidPrecondition("PUT takes If-Match, or If-None-Match: * to create.")
    access = await _access(request, collection)
    access.require("update" if absent is None else "create")
    data = Body.from_json(await read_body(request))

    async def create(access: Access) -> Stored:
        try:
            return await service.create(access, data, id_=id_)
        except RecordExists:
            raise VersionConflict("There already is a record with this id.") from None

    async def replace(access: Access) -> Stored:
        version = await _version(access, id_, wanted)
        return await service.replace(access, id_, data, if_version=version)

    if absent is not None:
        return _created(collection, await _retrying(request, access, create))
    return _changed(access, await _retrying(request, access, replace))


@router.route("PATCH", "/records/{record_id}")
async def patch_record(collection: str, record_id: str, request: Request) -> Answer:
    wanted = _tags(request, b"if-match")
    id_ = _id(record_id)
    access = await _access(request, collection)
    access.require("update")
    merge = Body.from_json(await read_body(request, JSON, MERGE_PATCH))

    async def patch(access: Access) -> Stored:
        version = await _version(access, id_, wanted)
        return await service.patch(access, id_, merge, if_version=version)

    return _changed(access, await _retrying(request, access, patch))


@router.route("DELETE", "/records/{record_id}")
async def delete_record(collection: str, record_id: str, request: Request) -> Answer:
    wanted = _tags(request, b"if-match")
    id_ = _id(record_id)

    async def delete(access: Access) -> None:
        await service.delete(access, id_, if_version=await _version(access, id_, wanted))

    await _retrying(request, await _access(request, collection), delete)
    return Answer(status=204)


async def _access(request: Request, name: str) -> Access:
    """Raises CollectionNotFound."""
    services, actor = services_of(request.scope), context_of(request.scope).actor
    return Access(database_of(request), actor, await services.registry.get(name))


def _require_any(access: Access, *operations: Operation) -> None:
    """Refuse a caller who may do none of the operations before the costly read of a body."""
    refusals = []
    for operation in operations:
        try:
            return access.require(operation)
        except Problem as refusal:
            refusals.append(refusal)
    raise refusals[0]


async def _retrying(
    request: Request, access: Access, work: Callable[[Access], Awaitable[Result]]
) -> Result:
    """Run `work`, and again with the new definition if another process just changed it."""
    try:
        return await _by_present_definition(request, access, work)
    except Problem as refusal:
        if refusal.status in _TELLING:
            await access.settle()
        raise


async def _by_present_definition(
    request: Request, access: Access, work: Callable[[Access], Awaitable[Result]]
) -> Result:
    registry, name = services_of(request.scope).registry, access.collection.name
    for _ in range(_TRIES - 1):
        try:
            return await work(access)
        except DefinitionChanged:
            registry.drop(name)
            # With an idempotency key the request has a connection, and must not wait for another.
            access = dataclasses.replace(
                access, collection=await registry.get(name, access.session)
            )
    return await work(access)


async def _version(access: Access, id_: UUID, wanted: Tags | None) -> int | None:
    """The version that the record must have for If-Match, if that field is there."""
    if wanted is None or wanted.any:
        return None
    if (only := wanted.only_version) is not None:
        return only
    stored = await service.get(access, id_)
    if not wanted.match(stored.version):
        raise VersionConflict
    return stored.version


async def _cached(request: Request, access: Access, query: Query, parameters: Parameters) -> Answer:
    known = _tags(request, b"if-none-match")
    services = services_of(request.scope)
    found = await lists.list_records(
        access,
        query,
        shared=services.lists,
        local=services.kept_lists,
        reading=services.database.lists,
        cursors=services.cursors,
    )
    links = _links(request.scope["path"], parameters, found.page)
    fields = {**_PRIVATE, **found.fields, **links}
    if access.actor.is_anonymous and access.collection.rules["list"] is True:
        fields["Cache-Control"] = "public, no-cache"
    if known is not None and known.match(found.tag):
        return Answer(status=304, fields=fields)
    return Answer(found.page.dump(), fields=fields)


def _links(path: str, parameters: Parameters, page: listing.Page) -> dict[str, str]:
    """The Link field (RFC 8288) of the pages around, if there are any and proxies accept it."""
    links = ", ".join(
        [
            f'<{path}?{parameters.with_cursor(cursor)}>; rel="{relation}"'
            for relation, cursor in (("next", page.next), ("prev", page.prev))
            if cursor is not None
        ]
    )
    return {"Link": links} if 0 < len(links) <= _MAX_LINK else {}


def _created(collection: str, stored: Stored) -> Answer:
    location = f"/collections/{collection}/records/{stored.id}"
    fields = {"Location": location, "ETag": preconditions.etag(stored.version)}
    return Answer(stored.json, 201, fields)


def _changed(access: Access, stored: Stored) -> Answer:
    text: str | bytes = stored.json
    if not access.actor.has_scope(Scope.RECORDS_READ):
        # As in a batch's results: a patch without changes must not be a way to read.
        text = orjson.dumps({"id": stored.id, "version": stored.version})
    return Answer(text, fields={"ETag": preconditions.etag(stored.version)})


def _tags(request: Request, name: bytes) -> Tags | None:
    return preconditions.parse_tags(context_of(request.scope).field(name))


def _id(text: str) -> UUID:
    id_ = parse_uuid(text)
    if id_ is None:
        raise RecordNotFound
    return id_
