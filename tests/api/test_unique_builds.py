"""Unique indexes on records that exist: built, failed, tried again, dropped."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import asyncpg
import pytest

from app.collections import repository
from app.collections.declared_index import Index, IndexSpec
from app.filters.fields import Fields
from fixtures.cluster import execute, fetch
from fixtures.indexes import existing, run_worker
from fixtures.open_transactions import held_lock, open_transaction
from fixtures.unique import OPEN, SCHEMA, SLUG, define, is_refused, shown
from fixtures.waiting import wait_until

if TYPE_CHECKING:
    import httpx

    from fixtures.server import Server

LOCK = 15_042


def redefine(admin: httpx.Client, records: str, *indexes: Any) -> None:
    body = {"schema": SCHEMA, "rules": OPEN, "indexes": indexes}
    response = admin.put(records.removesuffix("/records"), json=body)
    assert response.status_code == 200, response.text


def until(admin: httpx.Client, records: str, state: str) -> dict[str, Any]:
    def reached() -> bool:
        (index,) = shown(admin, records)
        return bool(index["state"] == state and (state != "failed" or "reason" in index))

    wait_until(reached)
    return shown(admin, records)[0]


def test_existing_duplicates_are_named_and_mended(
    admin: httpx.Client, ada: httpx.Client, server: Server, database_url: str
) -> None:
    path = define(admin)
    ids = [ada.post(path, json={"slug": slug}).json()["id"] for slug in ("a", "a", "b", "c", "a")]
    redefine(admin, path, SLUG)
    reason = until(admin, path, "failed")["reason"]
    assert reason == f"3 records have the same slug, such as {ids[0]} and {ids[4]}"
    # Until the index is complete, it is in nobody's way, and no run of the worker tries again.
    assert ada.post(path, json={"slug": "a"}).status_code == 201
    response = ada.post(f"{path}?on_conflict=slug&resolution=merge", json={"slug": "a"})
    assert (response.status_code, response.json()["code"]) == (409, "index_not_ready")
    assert run_worker(server)
    assert shown(admin, path)[0]["reason"] == reason

    for item in ada.get(path, params={"filter": 'slug = "a"', "sort": "id"}).json()["items"][1:]:
        ada.delete(f"{path}/{item['id']}")
    redefine(admin, path, SLUG)
    until(admin, path, "ready")
    is_refused(ada.post(path, json={"slug": "a"}), "/slug")
    # A further index is built first, then the former one is dropped.
    redefine(admin, path, {**SLUG, "case_insensitive": True})
    until(admin, path, "ready")
    wait_until(lambda: len(existing(database_url, path.split("/")[2])) == 1)
    is_refused(ada.post(path, json={"slug": "A"}), "/slug")


def test_a_duplicate_of_a_writer_that_the_build_waits_for_is_found(
    admin: httpx.Client, ada: httpx.Client, database_url: str
) -> None:
    path = define(admin)
    name = path.split("/")[2]
    ada.post(path, json={"slug": "a"})
    insert = (
        f'INSERT INTO records."{name}" (id, data) VALUES (gen_random_uuid(), \'{{"slug":"a"}}\')'
    )
    with open_transaction(database_url, insert):
        redefine(admin, path, SLUG)
        wait_until(lambda: bool(existing(database_url, name)))
        assert shown(admin, path)[0]["state"] == "building"
    assert "2 records have the same slug" in until(admin, path, "failed")["reason"]
    ready = fetch(
        database_url,
        "SELECT indisready FROM pg_index WHERE indrelid = to_regclass($1) AND NOT indisvalid",
        f'records."{name}"',
    )
    assert [row["indisready"] for row in ready] == [False]
    assert ada.post(path, json={"slug": "a"}).status_code == 201


def test_a_build_that_fails_in_its_second_half_refuses_no_writes(
    admin: httpx.Client, ada: httpx.Client, database_url: str
) -> None:
    path = define(admin)
    name = path.split("/")[2]
    ada.post(path, json={"slug": "a"})
    execute(
        database_url,
        "CREATE FUNCTION records.held(jsonb) RETURNS jsonb IMMUTABLE LANGUAGE plpgsql AS"
        f" $$ BEGIN PERFORM pg_advisory_xact_lock_shared({LOCK}); RETURN $1; END $$",
    )
    index = Index(name, IndexSpec(("slug",), unique=True), Fields(SCHEMA))
    index.definition = "(records.held(data->'slug'))"

    async def build() -> str | None:
        connection = await asyncpg.connect(database_url)
        try:
            return await repository.build_index(connection, name, index)
        finally:
            await connection.close()

    waits = f"SELECT FROM pg_locks WHERE locktype = 'advisory' AND objid = {LOCK} AND NOT granted"
    with ThreadPoolExecutor(1) as thread:
        with held_lock(database_url, LOCK):
            built = thread.submit(asyncio.run, build())
            wait_until(lambda: bool(fetch(database_url, waits)))
            assert ada.post(path, json={"slug": "a"}).status_code == 201
        with pytest.raises(asyncpg.UniqueViolationError):
            built.result()
    assert existing(database_url, name) == []
    assert "2 records have the same slug" in str(asyncio.run(build()))
    assert ada.post(path, json={"slug": "a"}).status_code == 201


def test_an_index_that_is_no_longer_declared_but_still_there_says_so(
    admin: httpx.Client, ada: httpx.Client, database_url: str
) -> None:
    path = define(admin)
    name = path.split("/")[2]
    execute(
        database_url,
        f'CREATE UNIQUE INDEX "{name}$000000000000" ON records."{name}" ((data->\'n\'))',
    )
    first = ada.post(path, json={"n": 1})
    second = ada.post(path, json={"n": 2})
    assert (first.status_code, second.status_code) == (201, 201)
    is_refused(ada.patch(second.headers["location"], json={"n": 1}))
    is_refused(ada.post(path, json={"n": 1}))
    is_refused(ada.put(f"{path}/{uuid4()}", json={"n": 1}, headers={"If-None-Match": "*"}))


def test_an_index_that_is_no_longer_declared_is_dropped_before_others_are_built(
    admin: httpx.Client, ada: httpx.Client, database_url: str
) -> None:
    path = define(admin, SLUG)
    name = path.split("/")[2]
    ada.post(path, json={"slug": "a"})
    (unique,) = existing(database_url, name)
    # A build waits for this transaction, the removal of an index does not.
    with open_transaction(
        database_url, "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ; SELECT 1"
    ):
        redefine(admin, path, "n")
        wait_until(lambda: unique not in existing(database_url, name))
        assert shown(admin, path)[0]["state"] == "building"
        assert ada.post(path, json={"slug": "a"}).status_code == 201
    until(admin, path, "ready")
