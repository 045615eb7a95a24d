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
from app.records import listing, statements

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

ACTOR = Actor("user", UUID(int=1))
JSON = "application/json"


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    pool = await asyncpg.create_pool(
        os.environ["DATABASE_URL"], min_size=1, max_size=10, server_settings={"jit": "off"}
    )
    async with pool.acquire() as connection:
        collection = await collections.get(connection, "bench")
    assert collection is not None
    of = statements.of(collection)
    app.state.pool = pool
    app.state.version = collection.version
    for name in ("read", "create", "merge", "replace"):
        setattr(app.state, name, of.get(name, ACTOR))
    query = listing.Query(filter='section = "games"', sort="-size", limit=50)
    sql, params = listing.plan_of(collection, ACTOR, query).page(query, None)
    app.state.list = sql, params.bind(ACTOR.id, ACTOR.roles)
    yield
    await pool.close()


app = FastAPI(lifespan=lifespan, openapi_url=None)
PATH = "/collections/bench/records"


@app.get(PATH + "/{record_id}")
async def get(request: Request, record_id: UUID) -> Response:
    state = request.app.state
    row = await state.pool.fetchrow(state.read.sql, *state.read.args(ACTOR, record_id))
    return Response(row[1], media_type=JSON)


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
    args = state.create.args(ACTOR, uuid7(), data, ACTOR.id, state.version)
    row = await state.pool.fetchrow(state.create.sql, *args)
    return Response(row[1], 201, media_type=JSON)


@app.patch(PATH + "/{record_id}")
async def update(request: Request, record_id: UUID) -> Response:
    state = request.app.state
    patch = (await request.body()).decode()
    while True:
        version, merged = await state.pool.fetchrow(
            state.merge.sql, *state.merge.args(ACTOR, record_id, patch)
        )
        args = state.replace.args(ACTOR, record_id, merged, version, state.version, ACTOR.id)
        row = await state.pool.fetchrow(state.replace.sql, *args)
        if row is not None:
            return Response(row[1], media_type=JSON)
