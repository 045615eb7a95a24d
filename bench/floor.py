"""The floor: a bare FastAPI application on an asyncpg pool, with the SQL that Listo runs and
nothing else: no auth, no limits, no checks, no metrics, no log."""

from __future__ import annotations

import os
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING
from uuid import UUID

import asyncpg
from fastapi import FastAPI, Request, Response

from app.collections import repository as collections
from app.core.actor import Actor
from app.core.ids import uuid7
from app.records.lists import listing

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

ACTOR = Actor("user", UUID(int=1))
JSON = "application/json"
TABLE = 'records."bench"'
RECORD = (
    """'{"id":"' || id || '","version":' || version"""
    """ || ',"created_at":"' || listo.rfc3339(created_at)"""
    """ || '","updated_at":"' || listo.rfc3339(updated_at)"""
    """ || '","owner":' || coalesce('"' || owner || '"', 'null')"""
    """ || ',' || right(data::text, -1)"""
)


def changed(change: str, verb: str, actor: str) -> str:
    """A statement that does the same work as Listo's: the change writes its event."""
    return (
        f"WITH changed AS ({change} RETURNING *), event AS (INSERT INTO listo.events"
        f" (type, collection, subject, version, actor) SELECT 'record.{verb}', 'bench', id,"
        f" version, {actor}::uuid FROM changed) SELECT {RECORD} FROM changed"
    )


READ = f"SELECT {RECORD} FROM {TABLE} WHERE id = $1"
CREATE = changed(
    f"INSERT INTO {TABLE} (id, data, owner) VALUES ($1, $2::jsonb, $3::uuid)", "created", "$3"
)
MERGE = f"SELECT version, listo.merge_patch(data, $2::jsonb)::text FROM {TABLE} WHERE id = $1"
REPLACE = changed(
    f"UPDATE {TABLE} SET data = $2::jsonb, version = version + 1, updated_at = now()"
    " WHERE id = $1 AND version = $3",
    "updated",
    "$4",
)


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    pool = await asyncpg.create_pool(
        os.environ["DATABASE_URL"], min_size=1, max_size=10, server_settings={"jit": "off"}
    )
    async with pool.acquire() as connection:
        collection = await collections.get(connection, "bench")
    assert collection is not None
    app.state.pool = pool
    query = listing.Query(filter='section = "games"', sort="-size", limit=50)
    plan = listing.plan_of(collection, ACTOR, query)
    sql, params = plan.page(query, None)
    app.state.list = (
        sql.replace(plan.columns, f"{RECORD} AS record"),
        params.bind(ACTOR.id, ACTOR.roles),
    )
    yield
    await pool.close()


app = FastAPI(lifespan=lifespan, openapi_url=None)
PATH = "/collections/bench/records"


@app.get(PATH + "/{record_id}")
async def get(request: Request, record_id: UUID) -> Response:
    state = request.app.state
    return Response(await state.pool.fetchval(READ, record_id), media_type=JSON)


@app.get(PATH)
async def list_(request: Request) -> Response:
    state = request.app.state
    sql, args = state.list
    rows = await state.pool.fetch(sql, *args)
    return Response('{"items":[' + ",".join(row[0] for row in rows[:50]) + "]}", media_type=JSON)


@app.post(PATH)
async def create(request: Request) -> Response:
    state = request.app.state
    data = (await request.body()).decode()
    record = await state.pool.fetchval(CREATE, uuid7(), data, ACTOR.id)
    return Response(record, 201, media_type=JSON)


@app.patch(PATH + "/{record_id}")
async def update(request: Request, record_id: UUID) -> Response:
    state = request.app.state
    patch = (await request.body()).decode()
    while True:
        version, merged = await state.pool.fetchrow(MERGE, record_id, patch)
        record = await state.pool.fetchval(REPLACE, record_id, merged, version, ACTOR.id)
        if record is not None:
            return Response(record, media_type=JSON)
