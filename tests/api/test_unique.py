"""Unique indexes: no two records have the same values, however they are written."""

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
from fixtures.waiting import wait_until

if TYPE_CHECKING:
    import httpx

    from fixtures.server import Server

SCHEMA = {
    "properties": {
        "slug": {"type": ["string", "null"]},
        "section": {"type": "string"},
        "n": {"type": "integer"},
        "gone": {"type": "boolean"},
        "at": {"type": "string", "format": "date-time"},
        "tags": {"type": "array"},
        "pin": {"type": "string", "writeOnly": True},
    }
}
OPEN = {"list": "", "read": "", "create": "", "update": "", "delete": ""}
SLUG = {"fields": ["slug"], "unique": True}
LOCK = 15_042


def define(admin: httpx.Client, *indexes: Any, rules: Any = OPEN) -> str:
    path = f"/collections/u{uuid4().hex[:12]}"
    body = {"schema": SCHEMA, "rules": rules, "indexes": indexes}
    response = admin.put(path, json=body)
    assert response.status_code == 201, response.text
    return f"{path}/records"


def redefine(admin: httpx.Client, records: str, *indexes: Any) -> None:
    body = {"schema": SCHEMA, "rules": OPEN, "indexes": indexes}
    response = admin.put(records.removesuffix("/records"), json=body)
    assert response.status_code == 200, response.text


def shown(admin: httpx.Client, records: str) -> list[dict[str, Any]]:
    indexes: list[dict[str, Any]] = admin.get(records.removesuffix("/records")).json()["indexes"]
    return indexes


def until(admin: httpx.Client, records: str, state: str) -> dict[str, Any]:
    def reached() -> bool:
        (index,) = shown(admin, records)
        return bool(index["state"] == state and (state != "failed" or "reason" in index))

    wait_until(reached)
    return shown(admin, records)[0]


def is_refused(response: httpx.Response, *pointers: str) -> None:
    problem = response.json()
    assert (response.status_code, problem["code"]) == (409, "not_unique"), response.text
    assert [error["pointer"] for error in problem.get("errors", ())] == list(pointers)


def test_every_way_of_writing_a_value_twice_is_refused(
    admin: httpx.Client, ada: httpx.Client
) -> None:
    path = define(admin, SLUG)
    assert ada.post(path, json={"slug": "a"}).status_code == 201
    other = ada.post(path, json={"slug": "b", "n": 1}).headers["location"]

    is_refused(ada.post(path, json={"slug": "a"}), "/slug")
    absent = {"If-None-Match": "*"}
    is_refused(ada.put(f"{path}/{uuid4()}", json={"slug": "a"}, headers=absent), "/slug")
    is_refused(ada.put(other, json={"slug": "a"}), "/slug")
    is_refused(ada.patch(other, json={"slug": "a"}), "/slug")
    keyed = {"Idempotency-Key": str(uuid4())}
    is_refused(ada.post(path, json={"slug": "a"}, headers=keyed), "/slug")
    is_refused(ada.post(path, json={"slug": "a"}, headers=keyed), "/slug")
    keyed = {"Idempotency-Key": str(uuid4())}
    is_refused(ada.patch(other, json={"slug": "a"}, headers=keyed), "/slug")
    assert ada.get(other).json()["slug"] == "b"
    # A record is not in its own way.
    assert ada.patch(other, json={"slug": "b", "n": 2}).status_code == 200
    assert ada.get(path, params={"filter": 'slug = "a"'}).json()["items"][0]["slug"] == "a"


@pytest.mark.parametrize(
    ("operations", "index"),
    [
        ([("create", "c"), ("create", "a"), ("create", "d")], 1),
        ([("create", "c"), ("create", "d"), ("create", "c")], 2),
        ([("create", "c"), ("update", "c")], 1),
        ([("update", "a")], 0),
    ],
)
def test_a_batch_names_the_operation_and_is_undone(
    admin: httpx.Client, ada: httpx.Client, operations: list[tuple[str, str]], index: int
) -> None:
    path = define(admin, SLUG)
    ada.post(path, json={"slug": "a"})
    id_ = ada.post(path, json={"slug": "b"}).json()["id"]
    body = [
        {"op": op, "data": {"slug": slug}, **({"id": id_} if op == "update" else {})}
        for op, slug in operations
    ]
    response = ada.post(f"{path}:batch", json={"operations": body})
    is_refused(response, f"/operations/{index}/data/slug")
    assert response.json()["index"] == index
    slugs = [item["slug"] for item in ada.get(path, params={"sort": "slug"}).json()["items"]]
    assert slugs == ["a", "b"]


def test_a_batch_can_hand_a_value_on(admin: httpx.Client, ada: httpx.Client) -> None:
    path = define(admin, SLUG)
    id_ = ada.post(path, json={"slug": "a"}).json()["id"]
    operations = [
        {"op": "update", "id": id_, "data": {"slug": "b"}},
        {"op": "create", "data": {"slug": "a"}},
        {"op": "delete", "id": id_},
        {"op": "create", "data": {"slug": "b"}},
    ]
    assert ada.post(f"{path}:batch", json={"operations": operations}).status_code == 200


def test_of_many_creates_at_once_one_of_each_value_succeeds(
    admin: httpx.Client, ada: httpx.Client
) -> None:
    path = define(admin, SLUG)
    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda n: ada.post(path, json={"slug": f"s{n % 5}"}), range(60)))
    created = [answer.json()["slug"] for answer in answers if answer.status_code == 201]
    assert sorted(created) == [f"s{n}" for n in range(5)]
    for answer in answers:
        if answer.status_code != 201:
            is_refused(answer, "/slug")


def test_batches_with_the_same_values_in_another_order_do_not_lock_each_other_out(
    admin: httpx.Client, ada: httpx.Client
) -> None:
    path = define(admin, SLUG)

    def send(number: int) -> int:
        slugs = [f"{number // 2}-{n}" for n in range(40)]
        slugs = slugs[::-1] if number % 2 else slugs
        # Every other operation is a create under a chosen id, so that several statements run.
        operations = [{"op": "create", "data": {"slug": slug}} for slug in slugs]
        operations.insert(20, {"op": "create", "id": str(uuid4()), "data": {}})
        operations.insert(20, {"op": "delete", "id": made.pop()})
        return ada.post(f"{path}:batch", json={"operations": operations}).status_code

    made = [ada.post(path, json={}).json()["id"] for _ in range(16)]
    with ThreadPoolExecutor(8) as pool:
        statuses = list(pool.map(send, range(16)))
    assert sorted(statuses) == [200] * 8 + [409] * 8


@pytest.mark.parametrize("value", [None, "absent"])
def test_absent_values_and_null_are_no_duplicates(
    admin: httpx.Client, ada: httpx.Client, value: str | None
) -> None:
    path = define(admin, SLUG)
    for _ in range(3):
        record = {} if value == "absent" else {"slug": None}
        assert ada.post(path, json=record).status_code == 201


def test_several_fields_are_unique_together(admin: httpx.Client, ada: httpx.Client) -> None:
    path = define(admin, {"fields": ["section", "slug"], "unique": True}, SLUG)
    assert ada.post(path, json={"section": "x", "slug": "a"}).status_code == 201
    assert ada.post(path, json={"section": "x"}).status_code == 201
    assert ada.post(path, json={"section": "x"}).status_code == 201
    response = ada.post(path, json={"section": "x", "slug": "a"})
    is_refused(response, "/section", "/slug", "/slug")
    assert "the same section and slug, and the same slug" in response.json()["detail"]
    is_refused(ada.post(path, json={"section": "y", "slug": "a"}), "/slug")


def test_values_are_compared_as_filters_compare_them(
    admin: httpx.Client, ada: httpx.Client
) -> None:
    path = define(admin, *({"fields": [field], "unique": True} for field in ("slug", "n", "at")))
    ada.post(path, json={"slug": "a", "n": 1, "at": "2026-01-01T12:00:00Z"})
    is_refused(
        ada.post(path, content=b'{"n": 1.0}', headers={"content-type": "application/json"}), "/n"
    )
    is_refused(ada.post(path, json={"at": "2026-01-01T13:00:00+01:00"}), "/at")
    assert ada.post(path, json={"slug": "A"}).status_code == 201


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [("Ada", "aDA", True), ("ÉTÉ", "été", True), ("a", "b", False), ('"\\N', '"\\n', True)],
)
def test_letters_can_count_in_either_case(
    admin: httpx.Client, ada: httpx.Client, one: str, other: str, *, same: bool
) -> None:
    path = define(admin, {**SLUG, "case_insensitive": True})
    assert ada.post(path, json={"slug": one}).status_code == 201
    response = ada.post(path, json={"slug": other})
    assert response.status_code == (409 if same else 201)
    assert ada.get(path, params={"filter": "n is null"}).status_code == 200


def test_a_filter_leaves_records_out(admin: httpx.Client, ada: httpx.Client) -> None:
    wanted = 'gone != true and (section in ["x", "y"] or created_at < "2020-01-01T00:00:00Z")'
    path = define(admin, {**SLUG, "filter": wanted})
    first = ada.post(path, json={"slug": "a", "section": "x"}).headers["location"]
    assert ada.post(path, json={"slug": "a", "section": "z"}).status_code == 201
    gone = ada.post(path, json={"slug": "a", "section": "y", "gone": True})
    assert gone.status_code == 201
    is_refused(ada.post(path, json={"slug": "a", "section": "y"}), "/slug")
    # A change can bring a record in.
    is_refused(ada.patch(gone.headers["location"], json={"gone": False}), "/slug")
    assert ada.patch(first, json={"gone": True}).status_code == 200
    assert ada.patch(gone.headers["location"], json={"gone": False}).status_code == 200


def test_an_owner_has_one_record(
    admin: httpx.Client, ada: httpx.Client, bob: httpx.Client, anonymous: httpx.Client
) -> None:
    path = define(admin, {"fields": ["owner"], "unique": True})
    for client in (ada, bob, anonymous, anonymous):
        assert client.post(path, json={}).status_code == 201
    is_refused(ada.post(path, json={}), "/owner")


def test_a_refused_caller_does_not_learn_what_is_taken(
    admin: httpx.Client, ada: httpx.Client
) -> None:
    path = define(admin, SLUG, rules={**OPEN, "create": 'section != "secret"'})
    ada.post(path, json={"slug": "a"})
    for slug in ("a", "b"):
        response = ada.post(path, json={"slug": slug, "section": "secret"})
        assert (response.status_code, response.json()["code"]) == (403, "forbidden")


@pytest.mark.parametrize(
    ("index", "pointer", "code"),
    [
        ({"fields": []}, "/indexes/0", "invalid_index"),
        ({"fields": ["slug"], "uniqe": True}, "/indexes/0/uniqe", "extra_forbidden"),
        ({"unique": True}, "/indexes/0/fields", "missing"),
        ({"fields": "slug", "unique": True}, "/indexes/0/fields", "list_type"),
        (7, "/indexes/0", "value_error"),
        ({"fields": ["slug"], "case_insensitive": True}, "/indexes/0", "invalid_index"),
        ({"fields": ["slug"], "filter": "n > 1"}, "/indexes/0", "invalid_index"),
        (
            {"fields": ["n"], "unique": True, "case_insensitive": True},
            "/indexes/0",
            "invalid_index",
        ),
        (
            {"fields": ["any"], "unique": True, "case_insensitive": True},
            "/indexes/0",
            "invalid_index",
        ),
        ({"fields": ["-slug"], "unique": True}, "/indexes/0", "invalid_index"),
        ({"fields": ["tags"], "unique": True}, "/indexes/0", "invalid_index"),
        ({"fields": ["id"], "unique": True}, "/indexes/0", "invalid_index"),
        ({"fields": ["slug", "created_at"], "unique": True}, "/indexes/0", "invalid_index"),
        ({**SLUG, "filter": f"n in {list(range(200))}"}, "/indexes/0", "invalid_index"),
        ({**SLUG, "filter": "n >"}, "/indexes/0/filter", "invalid_filter"),
        ({**SLUG, "filter": "owner = @user.id"}, "/indexes/0/filter", "invalid_filter"),
        ({**SLUG, "filter": 'slug = "\\ud800"'}, "/indexes/0/filter", "invalid_filter"),
    ],
)
def test_a_wrong_index_is_refused_with_its_place(
    admin: httpx.Client, index: Any, pointer: str, code: str
) -> None:
    response = admin.put("/collections/wrong", json={"schema": SCHEMA, "indexes": [index]})
    assert response.status_code == 422, response.text
    (error,) = response.json()["errors"]
    assert (error["pointer"], error["code"]) == (pointer, code), response.text


def test_indexes_are_shown_as_they_were_declared(admin: httpx.Client) -> None:
    whole = {**SLUG, "case_insensitive": True, "filter": 'section = "it\'s \\\\ $1"'}
    path = define(admin, "n", ["slug", "-n"], {"fields": ["gone"]}, SLUG, whole)
    assert [
        {name: value for name, value in index.items() if name != "state"}
        for index in shown(admin, path)
    ] == [{"fields": ["n"]}, {"fields": ["slug", "-n"]}, {"fields": ["gone"]}, SLUG, whole]


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


def test_of_two_indexes_on_the_same_fields_either_finds_the_record(
    admin: httpx.Client, ada: httpx.Client
) -> None:
    path = define(admin, {**SLUG, "filter": 'section = "x"'}, SLUG)
    query = "on_conflict=slug&resolution=merge"
    statuses = [
        ada.post(f"{path}?{query}", json={"slug": slug, "section": section}).status_code
        for slug, section in (("a", "y"), ("a", "y"), ("b", "x"), ("b", "x"))
    ]
    assert statuses == [201, 200, 201, 200]
