"""Large records: which are refused, and how many a page holds."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest

from app.records.lists.repository import PAGE_BYTES
from fixtures.cluster import execute
from fixtures.rules import ANYONE
from fixtures.server import serving, settings

if TYPE_CHECKING:
    from collections.abc import Iterator

    import httpx

    from fixtures.server import Server

MOST = 1_048_576
KIB = 1024
EMPTY = len('{"text":""}')
DEFINITION = {
    "schema": {"type": "object", "properties": {"text": {}, "n": {"type": "integer"}}},
    "rules": ANYONE,
}


@pytest.fixture(scope="module")
def path(admin: httpx.Client) -> str:
    assert admin.put("/collections/large", json=DEFINITION).is_success
    return "/collections/large/records"


@pytest.fixture
def fresh(admin: httpx.Client) -> str:
    name = f"large_{uuid4().hex[:12]}"
    assert admin.put(f"/collections/{name}", json=DEFINITION).is_success
    return f"/collections/{name}/records"


def text(octets: int) -> str:
    """The text whose record has `octets` bytes."""
    return "é" * ((octets - EMPTY) // 2) + "x" * ((octets - EMPTY) % 2)


def send(client: httpx.Client, method: str, path: str, value: Any, **more: Any) -> httpx.Response:
    body = json.dumps(value, ensure_ascii=False, **more).encode()
    return client.request(method, path, content=body, headers={"Content-Type": "application/json"})


def refused(response: httpx.Response) -> bool:
    assert (response.status_code, response.json()["code"]) == (422, "record_too_large")
    return True


def test_every_write_refuses_a_record_that_is_too_large(ada: httpx.Client, path: str) -> None:
    fits, over = {"text": text(MOST)}, {"text": text(MOST + 1)}
    created = send(ada, "POST", path, fits)
    assert created.status_code == 201
    assert refused(send(ada, "POST", path, over))
    one = f"{path}/{created.json()['id']}"
    assert send(ada, "PUT", one, fits, indent=1).headers["etag"] == '"1"'
    assert refused(send(ada, "PUT", one, over))
    assert refused(send(ada, "PATCH", one, over))
    assert refused(send(ada, "PATCH", one, {"n": 1}))
    small = ada.post(path, json={"n": 1}).json()["id"]
    for operation in (
        {"op": "create", "data": over},
        {"op": "update", "id": small, "data": over},
    ):
        operations = [{"op": "create", "data": {}}, operation]
        answer = send(ada, "POST", f"{path}:batch", {"operations": operations})
        assert refused(answer)
        assert answer.json()["index"] == 1
    assert ada.get(one).json()["text"] == fits["text"]
    assert ada.get(f"{path}/{small}").json()["version"] == 1
    assert send(ada, "PATCH", one, {"text": None}).json()["version"] == 2


def test_patches_grow_a_record_to_its_size_only(ada: httpx.Client, path: str) -> None:
    one = f"{path}/{ada.post(path, json={}).json()['id']}"
    statuses = [
        ada.patch(one, json={f"part{number}": "x" * 300 * KIB}).status_code for number in range(5)
    ]
    assert statuses == [200, 200, 200, 422, 422]


def test_patches_grow_a_record_to_as_many_values_as_a_body_has(
    ada: httpx.Client, path: str
) -> None:
    one = f"{path}/{ada.post(path, json={}).json()['id']}"
    answers = [ada.patch(one, json={f"part{number}": [1] * 100_000}) for number in range(3)]
    assert [answer.status_code for answer in answers[:2]] == [200, 200]
    assert refused(answers[2])


def test_fields_that_nobody_reads_are_left_out_of_large_records(
    ada: httpx.Client, admin: httpx.Client, fresh: str
) -> None:
    schema = {"properties": {"secret": {"writeOnly": True}}}
    assert admin.put(fresh.removesuffix("/records"), json={"schema": schema, "rules": ANYONE})
    one = f"{fresh}/{ada.post(fresh, json={'secret': 'hidden', 'n': 1}).json()['id']}"
    grown = ada.patch(one, json={"text": "x" * 900_000})
    assert len(grown.json()["text"]) == 900_000
    same = ada.patch(one, json={})
    for answer in (grown, same, ada.get(one), ada.get(fresh)):
        assert answer.status_code == 200
        assert "secret" not in answer.text
    assert ada.get(one).json() == ada.get(fresh).json()["items"][0] == same.json()


def test_the_largest_size_can_be_set(database_url: str) -> None:
    configured = settings(database_url, max_record_bytes=1024, redis_url="redis://127.0.0.1:1")
    with serving(configured) as server:
        admin = server.admin()
        admin.put("/collections/small", json=DEFINITION)
        answers = [
            send(admin, "POST", "/collections/small/records", {"text": text(octets)})
            for octets in (1024, 1025)
        ]
        assert answers[0].status_code == 201
        assert refused(answers[1])


def test_a_record_that_is_too_large_already_can_be_read_and_deleted(
    server: Server, ada: httpx.Client, fresh: str
) -> None:
    url = server.settings.database_url.get_secret_value()
    id_, name = str(uuid4()), fresh.split("/")[2]
    execute(
        url,
        f"INSERT INTO records.{name} (id, data) SELECT '{id_}',"
        f" jsonb_build_object('text', repeat('x', {3 * MOST}), 'n', 1)",
    )
    one = f"{fresh}/{id_}"
    assert len(ada.get(one).json()["text"]) == 3 * MOST
    assert [record["id"] for record in ada.get(fresh).json()["items"]] == [id_]
    assert refused(ada.patch(one, json={"n": 2}))
    assert ada.patch(one, json={"text": "short"}).json()["version"] == 2
    assert ada.delete(one).status_code == 204


@pytest.fixture(scope="module")
def mixed(ada: httpx.Client, admin: httpx.Client) -> tuple[str, list[int]]:
    """Records of 1 kB and of 800 kB in turn, 24 of them."""
    assert admin.put("/collections/mixed", json=DEFINITION).is_success
    path = "/collections/mixed/records"
    for n in range(24):
        assert ada.post(path, json={"n": n, "text": "x" * (800_000 if n % 2 else KIB)}).is_success
    return path, list(range(24))


def pages(client: httpx.Client, path: str, **query: Any) -> Iterator[dict[str, Any]]:
    query = {"sort": "n", "limit": 500, **query}
    while True:
        response = client.get(path, params=query)
        assert response.status_code == 200, response.text
        page = response.json()
        assert len(response.content) < PAGE_BYTES + 900_000
        yield page
        if page["next"] is None:
            return
        query["cursor"] = page["next"]


@pytest.mark.parametrize("limit", [1, 3, 10, 500])
def test_a_page_ends_with_its_bytes_and_the_next_goes_on(
    ada: httpx.Client, mixed: tuple[str, list[int]], limit: int
) -> None:
    path, numbers = mixed
    walked = list(pages(ada, path, limit=limit, count="exact"))
    assert [record["n"] for page in walked for record in page["items"]] == numbers
    assert {page["total"] for page in walked} == {24}
    assert len(walked) == {1: 24, 3: 8, 10: 3, 500: 2}[limit]
    # The way back.
    back: list[int] = []
    cursor = walked[-1]["prev"]
    while cursor is not None:
        page = ada.get(path, params={"sort": "n", "limit": limit, "cursor": cursor}).json()
        assert page["next"] is not None
        back = [record["n"] for record in page["items"]] + back
        cursor = page["prev"]
    assert back == numbers[: -len(walked[-1]["items"])]


def test_fields_that_are_left_out_fill_no_page(
    ada: httpx.Client, mixed: tuple[str, list[int]]
) -> None:
    (page,) = pages(ada, mixed[0], fields="n")
    assert [record["n"] for record in page["items"]] == mixed[1]
    (page,) = pages(ada, mixed[0], filter="n < 0", count="exact")
    assert (page["items"], page["total"]) == ([], 0)


def test_a_cached_list_has_the_same_pages(
    admin: httpx.Client, ada: httpx.Client, fresh: str
) -> None:
    assert admin.put(fresh.removesuffix("/records"), json={**DEFINITION, "cache": {"list": "30s"}})
    for n in range(7):
        ada.post(fresh, json={"n": n, "text": "x" * 900_000})
    for _ in range(2):
        walked = list(pages(ada, fresh))
        assert [len(page["items"]) for page in walked] == [5, 2]


def test_a_collection_of_small_records_that_got_a_large_one_is_listed_the_same(
    ada: httpx.Client, fresh: str
) -> None:
    for n in range(3):
        ada.post(fresh, json={"n": n})
    before = list(pages(ada, fresh))
    large = ada.post(fresh, json={"n": 3, "text": "x" * 700_000}).json()
    assert list(pages(ada, fresh, filter="n < 3")) == before
    assert next(iter(pages(ada, fresh)))["items"][3] == large
