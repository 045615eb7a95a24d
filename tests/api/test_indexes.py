"""Indexes that a collection declares: built, failed, dropped."""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING, Any

import asyncpg
import pytest

from app.collections import indexes, repository
from app.core.actor import SYSTEM
from app.db.database import Database
from app.records.lists.listing import Query, plan_of
from fixtures.cluster import execute, fetch
from fixtures.indexes import existing, run_worker, states, with_database
from fixtures.waiting import wait_until

if TYPE_CHECKING:
    import httpx

    from fixtures.server import Server

OBJECT = {"type": "object"}
ARRAY = {"properties": {"tags": {"type": "array"}}}
# More than a page of an index holds, even compressed.
LONG = "".join(map(chr, random.Random(1).choices(range(0x4E00, 0x9FFF), k=20_000)))


class Pooled(Database):
    """A database that opens connections only in its pool."""

    async def connect(self, **_: str) -> asyncpg.Connection[Any]:
        raise AssertionError("a connection was opened")


def put(admin: httpx.Client, name: str, schema: object, *declared: object) -> dict[str, Any]:
    response = admin.put(f"/collections/{name}", json={"schema": schema, "indexes": declared})
    assert response.is_success, response.text
    shown: dict[str, Any] = response.json()
    return shown


def until_ready(admin: httpx.Client, name: str) -> None:
    wait_until(lambda: set(states(admin, name).values()) == {"ready"})


def test_indexes_follow_the_definition(database_url: str, admin: httpx.Client) -> None:
    put(admin, "indexed", OBJECT, "a")
    admin.post("/collections/indexed/records", json={"a": 1, "b": 2})
    changed = put(admin, "indexed", OBJECT, "b", ["a", "b"])
    assert [index["fields"] for index in changed["indexes"]] == [["b"], ["a", "b"]]
    until_ready(admin, "indexed")
    wait_until(lambda: len(existing(database_url, "indexed")) == 2)


def test_an_index_that_was_declared_meanwhile_stays(database_url: str, admin: httpx.Client) -> None:
    put(admin, "hurried", OBJECT)

    async def run(opened: Database) -> None:
        seen = await repository.get(opened, "hurried")
        assert seen is not None
        await asyncio.to_thread(put, admin, "hurried", OBJECT, "a")
        await asyncio.to_thread(until_ready, admin, "hurried")
        assert await indexes.reconcile(opened, seen)

    with_database(database_url, run)
    assert states(admin, "hurried") == {"a": "ready"}


def test_an_index_takes_the_form_that_a_changed_schema_asks_for(
    database_url: str, admin: httpx.Client
) -> None:
    put(admin, "typed", OBJECT, "tags")
    admin.post("/collections/typed/records", json={"tags": ["x"]})
    put(admin, "typed", ARRAY, "tags")
    until_ready(admin, "typed")

    async def plan() -> str:
        connection = await asyncpg.connect(database_url)
        collection = await repository.get(connection, "typed")
        assert collection is not None
        query = Query(filter='tags has "x"')
        sql, params = plan_of(collection, SYSTEM, query).page(query, None)
        await connection.execute("SET enable_seqscan = off; SET enable_indexscan = off")
        rows = await connection.fetch(f"EXPLAIN {sql}", *params.bind(None, ()))
        await connection.close()
        return "\n".join(row[0] for row in rows)

    (name,) = existing(database_url, "typed")
    text = asyncio.run(plan())
    assert f'Bitmap Index Scan on "{name}"' in text, text


def test_indexes_of_an_older_version_are_replaced(
    server: Server, database_url: str, admin: httpx.Client
) -> None:
    put(admin, "books", OBJECT, "a")
    (name,) = existing(database_url, "books")
    execute(database_url, f'ALTER INDEX records."{name}" RENAME TO "books__aaf232064610"')
    assert run_worker(server)
    assert existing(database_url, "books") == [name]
    assert states(admin, "books") == {"a": "ready"}


def test_no_collection_is_called_like_an_index(database_url: str, admin: httpx.Client) -> None:
    put(admin, "library", OBJECT, "a")
    (name,) = existing(database_url, "library")
    refused = admin.put(f"/collections/{name}", json={"schema": OBJECT})
    assert (refused.status_code, refused.json()["code"]) == (400, "invalid_collection_name")


def test_an_index_that_cannot_be_built_keeps_back_no_other(
    server: Server, database_url: str, admin: httpx.Client
) -> None:
    put(admin, "blocked", OBJECT)
    made = admin.post("/collections/blocked/records", json={"a": LONG, "b": 1})
    put(admin, "blocked", OBJECT, "a", "b")
    wait_until(lambda: states(admin, "blocked") == {"a": "failed", "b": "ready"})
    wait_until(lambda: "reason" in admin.get("/collections/blocked").json()["indexes"][0])
    failed, ready = admin.get("/collections/blocked").json()["indexes"]
    assert "index row" in failed["reason"]
    assert "reason" not in ready

    # The worker leaves a failed index alone and builds those after it.
    oids = "SELECT indexrelid FROM pg_index WHERE indrelid = 'records.blocked'::regclass ORDER BY 1"
    before = fetch(database_url, oids)
    put(admin, "lacking", OBJECT, "a")
    (name,) = existing(database_url, "lacking")
    execute(database_url, f'DROP INDEX records."{name}"')
    assert run_worker(server)
    assert states(admin, "lacking") == {"a": "ready"}
    assert fetch(database_url, oids) == before
    assert run_worker(server, Pooled)

    # After the record is mended, the index is declared anew.
    admin.patch(made.headers["location"], json={"a": 1})
    put(admin, "blocked", OBJECT, "b")
    wait_until(lambda: len(existing(database_url, "blocked")) == 1)
    put(admin, "blocked", OBJECT, "a", "b")
    until_ready(admin, "blocked")


def test_an_index_that_fails_for_now_is_tried_again_and_keeps_back_no_other(
    server: Server, database_url: str, admin: httpx.Client, caplog: pytest.LogCaptureFixture
) -> None:
    put(admin, "refused", OBJECT, "a")
    put(admin, "willing", OBJECT, "a")
    for each in ("refused", "willing"):
        (name,) = existing(database_url, each)
        execute(database_url, f'DROP INDEX records."{name}"')
    execute(
        database_url,
        "CREATE FUNCTION refuse() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN"
        " IF current_query() LIKE '%refused%' THEN RAISE 'not now'; END IF; END $$",
        "CREATE EVENT TRIGGER refuse ON ddl_command_start EXECUTE FUNCTION refuse()",
    )
    try:
        assert not run_worker(server)
        assert states(admin, "willing") == {"a": "ready"}
        assert states(admin, "refused") == {"a": "building"}
        assert not [record for record in caplog.records if record.exc_info]
    finally:
        execute(database_url, "DROP EVENT TRIGGER refuse")
    assert run_worker(server)
    assert states(admin, "refused") == {"a": "ready"}


def test_without_an_index_to_build_no_connection_is_opened(
    server: Server, database_url: str, admin: httpx.Client
) -> None:
    put(admin, "finished", OBJECT, "a", ["a", "b"])
    assert run_worker(server)
    assert run_worker(server, Pooled)

    async def reconcile(opened: Database) -> bool:
        seen = await repository.get(opened, "finished")
        assert seen is not None
        return await indexes.reconcile(opened, seen)

    assert with_database(database_url, reconcile, Pooled)


def test_a_value_too_long_for_an_index_is_refused(admin: httpx.Client) -> None:
    put(admin, "narrow", OBJECT, "a")
    response = admin.post("/collections/narrow/records", json={"a": LONG})
    assert response.status_code == 422
    assert response.json()["code"] == "indexed_value_too_long"
