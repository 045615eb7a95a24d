"""Queries of strangers: the memory that they occupy permanently, and statistics that they see."""

from __future__ import annotations

import asyncio
import tracemalloc
from typing import TYPE_CHECKING
from uuid import UUID

from app.collections.models import Collection, Definition
from app.core.actor import SYSTEM
from app.core.clock import utcnow
from app.db.database import Database
from app.filters.language.parser import MAX_LENGTH, MAX_TERMS, parse_filter
from app.records.lists.listing import Query, plan_of

if TYPE_CHECKING:
    import httpx

MEGABYTE = 1 << 20


def test_filters_that_are_remembered_take_little_memory() -> None:
    largest = " or ".join(["a in [" + "1," * 499 + "1]"] * 4)
    assert len(largest) < MAX_LENGTH
    parse_filter("the_grammar_is_read = 1")
    tracemalloc.start()
    parse_filter(largest)
    size, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    kept = parse_filter.cache_info().maxsize
    assert kept is not None
    assert kept * size < 64 * MEGABYTE


def test_lists_that_are_remembered_take_little_memory() -> None:
    """The number of collections does not matter. A single character beyond the BMP makes a text
    take 4 bytes for each of its characters."""
    now, schema = utcnow(), {"type": "object"}
    collections = [
        Collection(UUID(int=number), f"c{number}", 1, Definition(schema), now, now)
        for number in range(30)
    ]
    names = [f"`😀{number:02}{'x' * 14}`" for number in range(49)]
    wide = ",".join(names)
    parse_filter("the_grammar_is_read = 1")
    tracemalloc.start()
    for collection in collections:
        for number in range(100):
            long = f"`😀{number:03}{'x' * 3000}` = 1"
            plan_of(collection, SYSTEM, Query(filter=long))
            plan_of(collection, SYSTEM, Query(filter=f"n = {number}", fields=wide))
    size, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert size < 64 * MEGABYTE


def test_large_statements_are_not_kept_prepared(database_url: str) -> None:
    async def prepared() -> list[int]:
        database = Database(database_url)
        await database.open()
        async with database.pool.acquire() as connection:
            for number in range(3):
                terms = " OR ".join(
                    [f"data->'key_{number}' > data->'another key of the record'"] * MAX_TERMS
                )
                await connection.fetch(
                    f"SELECT 1 FROM (SELECT '{{}}'::jsonb AS data) WHERE {terms}"
                )
            await connection.fetch("SELECT 1")
            rows = await connection.fetch("SELECT length(statement) FROM pg_prepared_statements")
        await database.close()
        return [row[0] for row in rows]

    # PostgreSQL keeps some 60 times a statement's length, on every connection.
    sizes = asyncio.run(prepared())
    assert sizes
    assert max(sizes) < 4096


def test_an_estimate_tells_nothing_of_records_out_of_sight(
    admin: httpx.Client, ada: httpx.Client, anonymous: httpx.Client
) -> None:
    rules = {"list": "owner = @user.id", "create": ""}
    assert admin.put("/collections/secrets", json={"schema": {}, "rules": rules}).is_success
    path = "/collections/secrets/records"
    operations = [{"op": "create", "data": {"n": n}} for n in range(1000)]
    for _ in range(3):
        assert admin.post(f"{path}:batch", json={"operations": operations}).is_success
    ada.post(path, json={"n": 1})

    def total(client: httpx.Client, text: str = "") -> int:
        page = client.get(path, params={"count": "estimated", "filter": text}).json()
        return int(page["total"])

    assert total(anonymous) == 0
    assert total(ada) == 1
    assert total(ada, "not n = 5") == 1
    assert total(ada, "n = 5") == 0
    assert total(admin) > 1
