"""Idempotency keys: which answers are kept, for which callers, and the cost."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import httpx
import pytest

from app.idempotency import service
from fixtures.cluster import database, execute, fetch
from fixtures.keyed import BATCH, PATH, REPLAYED, SCHEMA, count, kept, replays, send
from fixtures.open_transactions import open_transaction
from fixtures.rules import ANYONE
from fixtures.server import PASSWORD, serving, settings

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fixtures.server import Server

pytestmark = pytest.mark.usefixtures("orders")

WAITING = """
SELECT FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'
"""


def test_a_refusal_stays_what_it_was(ada: httpx.Client, database_url: str, key: str) -> None:
    id_ = str(uuid4())
    create: Any = {"json": {"n": 1}, "headers": {"If-None-Match": "*"}}
    assert ada.put(f"{PATH}/{id_}", **create).status_code == 201
    refused = send(ada, "PUT", f"{PATH}/{id_}", key, **create)
    assert refused.status_code == 412
    ada.delete(f"{PATH}/{id_}")
    again = send(ada, "PUT", f"{PATH}/{id_}", key, **create)
    assert replays(refused, again)
    assert again.json()["request_id"] == refused.headers["x-request-id"]
    assert ada.get(f"{PATH}/{id_}").status_code == 404


def test_a_refused_batch_leaves_nothing_but_its_answer(
    ada: httpx.Client, database_url: str, key: str
) -> None:
    operations = [{"op": "create", "data": {"n": 70_815}}, {"op": "create", "data": {"n": "x"}}]
    before = kept(database_url)
    first = send(ada, "POST", BATCH, key, json={"operations": operations})
    assert first.status_code == 422
    assert first.json()["index"] == 1
    assert replays(first, send(ada, "POST", BATCH, key, json={"operations": operations}))
    assert count(database_url, n=70_815) == 0
    assert kept(database_url) == before + 1


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/auth/register", {"email": "x@example.com", "password": "short"}),
        ("/auth/register", dict.fromkeys("abcdefgh", 1)),
        (PATH, {"n": "x"}),
    ],
)
def test_a_refusal_without_any_statement_is_not_kept(
    anonymous: httpx.Client, database_url: str, key: str, path: str, body: Any
) -> None:
    before = kept(database_url)
    for _ in range(2):
        answer = send(anonymous, "POST", path, key, json=body)
        assert answer.status_code == 422
        assert REPLAYED not in answer.headers
    assert kept(database_url) == before


def test_a_write_is_replayed_although_it_would_be_refused_now(
    ada: httpx.Client, admin: httpx.Client, key: str
) -> None:
    path = "/collections/stricter/records"
    admin.put("/collections/stricter", json={"schema": {}, "rules": ANYONE})
    first = send(ada, "POST", path, key, json={"n": "x"})
    assert ada.delete(first.headers["location"]).status_code == 204
    admin.put("/collections/stricter", json={"schema": SCHEMA, "rules": ANYONE})
    assert ada.post(path, json={"n": "x"}).status_code == 422
    assert replays(first, send(ada, "POST", path, key, json={"n": "x"}))
    other = send(ada, "POST", path, key, json={"n": "y"})
    assert other.json()["code"] == "idempotency_key_reused"


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/collections/nowhere/records", {"n": 1}, 404),
        (PATH, None, 400),
        ("/users", {"email": "x@example.com", "password": PASSWORD}, 403),
        ("/nowhere", {}, 404),
    ],
)
def test_an_answer_that_is_no_outcome_is_not_kept(
    ada: httpx.Client, database_url: str, key: str, path: str, body: Any, status: int
) -> None:
    before = kept(database_url)
    for _ in range(2):
        answer = send(ada, "POST", path, key, json=body)
        assert answer.status_code == status
        assert REPLAYED not in answer.headers
    assert kept(database_url) == before


def test_a_refusal_for_lack_of_a_right_is_not_kept(
    ada: httpx.Client, admin: httpx.Client, key: str
) -> None:
    definition = {"schema": SCHEMA, "rules": {**ANYONE, "create": None}}
    admin.put("/collections/gated", json=definition)
    path = "/collections/gated/records"
    assert send(ada, "POST", path, key, json={"n": 1}).status_code == 403
    admin.put("/collections/gated", json={**definition, "rules": ANYONE})
    assert send(ada, "POST", path, key, json={"n": 1}).status_code == 201
    assert send(ada, "POST", path, key, json={"n": 1}).headers[REPLAYED] == "true"
    # A caller who lost the right gets no replay of the former answer.
    admin.put("/collections/gated", json=definition)
    assert send(ada, "POST", path, key, json={"n": 1}).status_code == 403


def test_changes_of_collections_are_replayed(admin: httpx.Client, key: str) -> None:
    body = {"schema": SCHEMA, "indexes": ["n"]}
    path = "/collections/keyed"
    first = send(admin, "PUT", path, key, json=body)
    assert first.status_code == 201
    # Within the transaction the index is as ready as after it.
    assert first.json()["indexes"] == [{"fields": ["n"], "state": "ready"}]
    assert replays(first, send(admin, "PUT", path, key, json=body))
    changed = send(admin, "PUT", path, str(uuid4()), json={**body, "indexes": ["n", "note"]})
    assert changed.status_code == 200
    while admin.get(path).json()["indexes"][1]["state"] != "ready":
        pass
    assert admin.post(f"{path}/records", json={"n": "x"}).status_code == 422
    loose = send(admin, "PUT", path, str(uuid4()), json={"schema": {}})
    assert loose.status_code == 200
    # This server knows the change by the time of its answer.
    assert admin.post(f"{path}/records", json={"n": "x"}).status_code == 201
    gone = send(admin, "DELETE", f"{path}?confirm=keyed", key)
    assert gone.status_code == 204
    assert replays(gone, send(admin, "DELETE", f"{path}?confirm=keyed", key))


def test_registrations_and_changes_of_users_are_replayed(
    anonymous: httpx.Client, admin: httpx.Client, database_url: str, key: str
) -> None:
    for client, path in ((anonymous, "/auth/register"), (admin, "/users")):
        email = f"{uuid4().hex}@example.com"
        body = {"email": email, "password": PASSWORD}
        first = send(client, "POST", path, key, json=body)
        assert first.status_code == 201
        assert replays(first, send(client, "POST", path, key, json=body))
        # Another request with the key learns nothing of the first answer.
        other = send(client, "POST", path, key, json={**body, "password": PASSWORD + "!"})
        assert other.json()["code"] == "idempotency_key_reused"
        assert email not in other.text
        user = f"/users/{first.json()['id']}"
        patched = send(admin, "PATCH", user, key, json={"name": "A"})
        assert replays(patched, send(admin, "PATCH", user, key, json={"name": "A"}))
    taken = send(anonymous, "POST", "/auth/register", str(uuid4()), json=body)
    assert taken.json()["code"] == "email_taken"


def test_an_api_key_is_made_once_and_its_secret_not_legible(
    ada: httpx.Client, server: Server, database_url: str, key: str
) -> None:
    body = {"name": "once", "scopes": ["records:read"]}
    first = send(ada, "POST", "/auth/api-keys", key, json=body)
    assert replays(first, send(ada, "POST", "/auth/api-keys", key, json=body))
    names = [item["name"] for item in ada.get("/auth/api-keys").json()["items"]]
    assert names.count("once") == 1
    assert server.client(first.json()["key"]).get("/auth/me").status_code == 200
    rows = fetch(database_url, "SELECT id, fingerprint, answer FROM listo.idempotency_keys")
    everything = b"".join(value for row in rows for value in row)
    for secret in (first.json()["key"], key, first.json()["id"]):
        assert secret.encode() not in everything


@pytest.mark.parametrize("path", ["/auth/login", "/auth/refresh"])
def test_credentials_are_never_replayed(
    anonymous: httpx.Client, ada: httpx.Client, database_url: str, key: str, path: str
) -> None:
    login = {"email": "ada@example.com", "password": PASSWORD}
    tokens = anonymous.post("/auth/login", json=login).json()
    body = login if path == "/auth/login" else {"refresh_token": tokens["refresh_token"]}
    before = kept(database_url)
    answers = [send(anonymous, "POST", path, key, json=body) for _ in range(2)]
    assert all(answer.status_code == 200 for answer in answers)
    assert answers[0].json()["refresh_token"] != answers[1].json()["refresh_token"]
    assert not any(REPLAYED in answer.headers for answer in answers)
    assert kept(database_url) == before


def test_a_disabled_user_gets_no_replay(server: Server, admin: httpx.Client, key: str) -> None:
    eve = server.member(f"{uuid4().hex}@example.com")
    assert send(eve, "POST", PATH, key, json={"n": 1}).status_code == 201
    me = eve.get("/auth/me").json()["id"]
    admin.patch(f"/users/{me}", json={"disabled": True})
    assert send(eve, "POST", PATH, key, json={"n": 1}).status_code == 401


def test_replays_count_as_requests(cluster_url: str, key: str) -> None:
    with (
        database(cluster_url) as url,
        serving(settings(url, rate_limit_anonymous="3/minute")) as limited,
    ):
        limited.admin().put("/collections/orders", json={"schema": SCHEMA, "rules": ANYONE})
        client = limited.client()
        answers = [send(client, "POST", PATH, key, json={"n": 1}) for _ in range(4)]
        # The login of the admin was the first of three.
        assert [answer.status_code for answer in answers] == [201, 201, 429, 429]
        assert REPLAYED in answers[1].headers
        assert REPLAYED not in answers[2].headers


def test_an_answer_too_large_to_keep_is_not_replayed(
    ada: httpx.Client, database_url: str, key: str
) -> None:
    body = {"n": 70_099, "note": "x" * service.MAX_KEPT_BYTES}
    first = send(ada, "POST", PATH, key, json=body)
    assert first.status_code == 201
    for _ in range(2):
        again = send(ada, "POST", PATH, key, json=body)
        assert again.status_code == 409
        assert again.json()["code"] == "idempotency_answer_not_kept"
        assert again.json()["answered_status"] == 201
        assert again.headers["location"] == first.headers["location"]
        assert again.headers["etag"] == '"1"'
    assert count(database_url, n=70_099) == 1


@contextmanager
def breaking(database_url: str, table: str) -> Iterator[None]:
    """Have PostgreSQL refuse new rows in `table`."""
    change = f"ALTER TABLE listo.{table}"
    execute(database_url, f"{change} ADD CONSTRAINT broken CHECK (false) NOT VALID")
    try:
        yield
    finally:
        execute(database_url, f"{change} DROP CONSTRAINT broken")


def test_a_write_whose_answer_cannot_be_kept_is_undone(
    ada: httpx.Client, database_url: str, key: str
) -> None:
    before = fetch(database_url, "SELECT count(*) FROM listo.events")[0][0]
    with breaking(database_url, "idempotency_keys"):
        answer = send(ada, "POST", PATH, key, json={"n": 70_500})
    assert answer.status_code == 500
    assert count(database_url, n=70_500) == 0
    assert fetch(database_url, "SELECT count(*) FROM listo.events")[0][0] == before


def test_a_fault_is_not_kept(ada: httpx.Client, database_url: str, key: str) -> None:
    with breaking(database_url, "events"):
        assert send(ada, "POST", PATH, key, json={"n": 70_501}).status_code == 500
    again = send(ada, "POST", PATH, key, json={"n": 70_501})
    assert again.status_code == 201
    assert REPLAYED not in again.headers
    assert count(database_url, n=70_501) == 1


def test_a_definition_that_changed_meanwhile_is_no_outcome(
    ada: httpx.Client,
    admin: httpx.Client,
    server: Server,
    key: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """409 `collection_changed` says to send the request again, which must then work."""
    registry = server.services.registry
    ada.get(PATH)
    known = registry._known["orders"]

    async def deaf(*_: object) -> Any:
        return known

    definition = {"schema": {**SCHEMA, "title": key}, "rules": ANYONE}
    with monkeypatch.context() as patched:
        patched.setattr(registry, "get", deaf)
        assert admin.put("/collections/orders", json=definition).status_code == 200
        answer = send(ada, "POST", PATH, key, json={"n": 1})
        assert (answer.status_code, answer.json()["code"]) == (409, "collection_changed")
    again = send(ada, "POST", PATH, key, json={"n": 1})
    assert again.status_code == 201
    assert REPLAYED not in again.headers


def test_a_change_that_is_noticed_late_is_read_without_a_second_connection(
    cluster_url: str, key: str
) -> None:
    with database(cluster_url) as url, serving(settings(url, database_pool_size=3)) as server:
        admin = server.admin()
        for name in ("orders", "held"):
            body = {"schema": SCHEMA, "rules": ANYONE}
            assert admin.put(f"/collections/{name}", json=body).is_success
            admin.post(f"/collections/{name}/records", json={"n": 0})
        # By another process, whose message has not come yet.
        execute(url, "UPDATE listo.collections SET version = 7 WHERE name = 'orders'")
        with ThreadPoolExecutor() as pool:
            with open_transaction(url, "LOCK TABLE records.held IN EXCLUSIVE MODE"):
                waiting = pool.submit(admin.post, "/collections/held/records", json={"n": 1})
                deadline = time.monotonic() + 20
                while not fetch(url, WAITING):
                    assert time.monotonic() < deadline
                answer = send(server.client(), "POST", PATH, key, json={"n": 1})
            assert waiting.result().status_code == 201
        assert answer.status_code == 201, answer.text


def test_of_fifty_requests_at_once_one_writes(
    server: Server, ada: httpx.Client, database_url: str
) -> None:
    """A single request makes the record; the others are replays or have to wait."""
    token = str(ada.headers["authorization"]).removeprefix("Bearer ")
    clients = [server.client(token) for _ in range(50)]
    with ThreadPoolExecutor(50) as pool:
        for round_ in range(3):
            key, barrier = str(uuid4()), threading.Barrier(50)

            def one(
                client: httpx.Client, key: str = key, n: int = 10_000 + round_,
                barrier: threading.Barrier = barrier,
            ) -> httpx.Response:  # fmt: skip
                barrier.wait()
                return send(client, "POST", PATH, key, json={"n": n})

            answers = list(pool.map(one, clients))
            made = [a for a in answers if a.status_code == 201 and REPLAYED not in a.headers]
            assert len(made) == 1
            for answer in answers:
                if answer.status_code == 201:
                    assert answer.content == made[0].content
                else:
                    assert answer.status_code == 409
                    assert answer.json()["code"] == "idempotency_key_in_progress"
            assert count(database_url, n=10_000 + round_) == 1


@pytest.mark.parametrize(
    ("keyed", "statements"),
    # The write: BEGIN, claim, write, keep, COMMIT. The replay: BEGIN, claim, ROLLBACK, and a
    # check that every list has the write.
    [(False, [1, 1]), (True, [5, 4])],
)
def test_a_keyed_write_takes_five_statements_and_a_replay_four(
    server: Server, ada: httpx.Client, key: str, *, keyed: bool, statements: list[int]
) -> None:
    headers = {"Idempotency-Key": key} if keyed else {}
    ada.post(PATH, json={"n": 1})
    for number in statements:
        server.statements.clear()
        assert ada.post(PATH, json={"n": 1}, headers=headers).status_code == 201
        assert len(server.statements) == number, server.statements


def test_the_document_names_the_key_for_every_write(admin: httpx.Client) -> None:
    paths = admin.get("/openapi.json").json()["paths"]
    for path, operations in paths.items():
        for method, operation in operations.items():
            named = [p["name"] for p in operation.get("parameters", ())].count("Idempotency-Key")
            wanted = method in ("post", "put", "patch", "delete") and path not in (
                "/auth/login",
                "/auth/refresh",
                "/jobs/{job_id}/undo",
            )
            assert named == int(wanted), (method, path)
            if wanted:
                assert {"400", "409", "422"} <= set(operation["responses"])
