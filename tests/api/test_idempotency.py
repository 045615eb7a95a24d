"""Idempotency keys: a request is carried out once, and its repetitions get the same answer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

import httpx
import pytest

from app.core.actor import Actor
from app.idempotency.models import KeyedRequest
from fixtures.cluster import fetch
from fixtures.keyed import BATCH, PATH, REPLAYED, count, kept, replays, send
from fixtures.open_transactions import held_lock

if TYPE_CHECKING:
    from fixtures.server import Server

pytestmark = pytest.mark.usefixtures("orders")

UPSERT = {"on_conflict": "code", "resolution": "merge"}


def test_a_create_is_replayed_byte_for_byte(ada: httpx.Client, database_url: str, key: str) -> None:
    first = send(ada, "POST", PATH, key, json={"n": 74_711})
    second = send(ada, "POST", PATH, key, json={"n": 74_711})
    assert first.status_code == 201
    assert replays(first, second)
    assert second.headers["location"] == first.headers["location"]
    assert second.headers["etag"] == '"1"'
    assert second.headers["x-request-id"] != first.headers["x-request-id"]
    assert count(database_url, n=74_711) == 1
    # A replay is the first answer, even after changes of the record.
    assert ada.patch(first.headers["location"], json={"n": 74_712}).status_code == 200
    assert replays(first, send(ada, "POST", PATH, key, json={"n": 74_711}))
    events = fetch(
        database_url, "SELECT 1 FROM listo.events WHERE subject = $1", first.json()["id"]
    )
    assert len(events) == 2


def test_quotes_are_no_part_of_the_key(ada: httpx.Client, key: str) -> None:
    first = send(ada, "POST", PATH, f'"{key}"', json={"n": 1})
    assert replays(first, send(ada, "POST", PATH, key, json={"n": 1}))
    escaped = send(ada, "POST", PATH, f'"{key} \\"\\\\"', json={"n": 1})
    assert replays(escaped, send(ada, "POST", PATH, f'"{key} \\"\\\\"', json={"n": 1}))
    assert escaped.json()["id"] != first.json()["id"]


@pytest.mark.parametrize(
    ("change", "method", "path"),
    [
        ({"json": {"n": 2}}, "POST", PATH),
        ({"content": b'{"n": 1 }'}, "POST", PATH),
        ({"content": b"not JSON"}, "POST", PATH),
        ({"json": {"n": 1, "code": "x"}, "params": UPSERT}, "POST", PATH),
        ({"json": {"n": 1}, "headers": {"If-Match": "*"}}, "POST", PATH),
    ],
)
def test_another_request_with_the_same_key_is_refused(
    ada: httpx.Client, key: str, change: Any, method: str, path: str
) -> None:
    given = {"content": b'{"n":1}', "headers": {"Content-Type": "application/json"}}
    first = send(ada, method, path, key, **given)
    assert first.status_code == 201
    headers = {"Content-Type": "application/json", **change.pop("headers", {})}
    other = send(ada, method, path, key, **change, headers=headers)
    # A body that is no JSON is refused before the key is looked up.
    wanted = (400, "invalid_json") if b"not" in change.get("content", b"") else (
        422, "idempotency_key_reused")  # fmt: skip
    assert (other.status_code, other.json()["code"]) == wanted
    assert other.headers["content-type"] == "application/problem+json"
    assert REPLAYED not in other.headers
    assert replays(first, send(ada, method, path, key, **given))


def test_callers_may_use_the_same_key(
    ada: httpx.Client, bob: httpx.Client, anonymous: httpx.Client, server: Server, key: str
) -> None:
    made = ada.post("/auth/api-keys", json={"name": "k", "scopes": ["records:write"]}).json()
    program = server.client(made["key"])
    ids = set()
    for client in (ada, bob, anonymous, program):
        first = send(client, "POST", PATH, key, json={"n": 1})
        assert replays(first, send(client, "POST", PATH, key, json={"n": 1}))
        ids.add(first.json()["id"])
    assert len(ids) == 4
    # A user is the same caller in another session.
    again = send(server.login("ada@example.com"), "POST", PATH, key, json={"n": 1})
    assert again.headers[REPLAYED] == "true"


def test_routes_may_use_the_same_key(ada: httpx.Client, key: str) -> None:
    created = send(ada, "POST", PATH, key, json={"n": 1})
    path = created.headers["location"]
    operations = {"operations": [{"op": "create", "data": {"n": 1}}]}
    for answer in (
        send(ada, "POST", BATCH, key, json=operations),
        send(ada, "PUT", path, key, json={"n": 2}),
        send(ada, "PATCH", path, key, json={"n": 3}),
        send(ada, "DELETE", path, key),
    ):
        assert answer.is_success
        assert REPLAYED not in answer.headers
    assert send(ada, "DELETE", path, key).headers[REPLAYED] == "true"


@pytest.mark.parametrize("quoted", [True, False])
def test_the_key_of_a_request_in_work_is_refused(
    ada: httpx.Client, server: Server, database_url: str, key: str, *, quoted: bool
) -> None:
    text = f'"{key}"' if quoted else key
    me = ada.get("/auth/me").json()["id"]
    with held_lock(database_url, lock_of("user", me, "POST", PATH, key)):
        for _ in range(2):
            refused = send(ada, "POST", PATH, text, json={"n": 1})
            assert refused.status_code == 409
            assert refused.json()["code"] == "idempotency_key_in_progress"
            assert int(refused.headers["retry-after"]) > 0
        # Neither another caller nor another key waits.
        assert send(server.client(), "POST", PATH, text, json={"n": 1}).status_code == 201
        assert send(ada, "POST", PATH, str(uuid4()), json={"n": 1}).status_code == 201
    first = send(ada, "POST", PATH, text, json={"n": 1})
    assert first.status_code == 201
    # A replay needs no lock.
    with held_lock(database_url, lock_of("user", me, "POST", PATH, key)):
        assert replays(first, send(ada, "POST", PATH, text, json={"n": 1}))


def lock_of(kind: Any, id_: str, method: str, path: str, key: str) -> int:
    return KeyedRequest.from_parts(
        key, Actor(kind, UUID(id_)), method=method, path=path, rest=()
    ).lock


@pytest.mark.parametrize("field", ["", '""', "a" * 256, "a b", '"a', "\u00e4"])
@pytest.mark.parametrize(("method", "path"), [("POST", PATH), ("PUT", "/collections/orders")])
def test_malformed_keys_are_refused(ada: httpx.Client, method: str, path: str, field: str) -> None:
    headers = [(b"Idempotency-Key", field.encode())]
    answer = ada.request(method, path, json={"n": 1}, headers=headers)
    assert answer.status_code == 400
    assert answer.json()["code"] == "idempotency_key_invalid"


def test_two_keys_are_refused(ada: httpx.Client) -> None:
    headers = [("Idempotency-Key", "one"), ("Idempotency-Key", "two")]
    answer = ada.post(PATH, json={"n": 1}, headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (400, "idempotency_key_invalid")


def test_reads_ignore_the_key(ada: httpx.Client) -> None:
    assert send(ada, "GET", PATH, "not , valid").status_code == 200


def creates(number: int) -> dict[str, Any]:
    return {"operations": [{"op": "create", "data": {"n": n}} for n in range(number)]}


def test_a_batch_of_a_thousand_is_replayed(ada: httpx.Client, database_url: str, key: str) -> None:
    before = kept(database_url)
    first = send(ada, "POST", BATCH, key, json=creates(1000))
    assert first.status_code == 200
    assert replays(first, send(ada, "POST", BATCH, key, json=creates(1000)))
    ids = [result["id"] for result in first.json()["results"]]
    found = fetch(database_url, "SELECT 1 FROM records.orders WHERE id = ANY($1)", ids)
    assert len(found) == 1000
    assert kept(database_url) == before + 1


@pytest.mark.parametrize(
    ("method", "body", "headers", "status"),
    [
        ("PUT", {"n": 2}, {}, 200),
        ("PATCH", {"n": 2}, {"If-Match": '"1"'}, 200),
        ("PATCH", {"n": 2}, {"If-Match": '"7"'}, 412),
        ("PATCH", {"n": "x"}, {}, 422),
        ("DELETE", None, {"If-Match": '"1"'}, 204),
    ],
)
def test_changes_are_replayed(
    ada: httpx.Client, key: str, method: str, body: Any, headers: Any, status: int
) -> None:
    path = ada.post(PATH, json={"n": 1}).headers["location"]
    first = send(ada, method, path, key, json=body, headers=headers)
    assert first.status_code == status
    after = ada.get(path).headers.get("etag")
    # The record has a later version, yet the replay is the first answer, and changes no version.
    assert replays(first, send(ada, method, path, key, json=body, headers=headers))
    assert ada.get(path).headers.get("etag") == after
