"""Every route that writes takes an idempotency key, and writes in the transaction of its answer."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest

from fixtures.cluster import database, execute, fetch
from fixtures.open_transactions import open_transaction
from fixtures.rules import ANYONE
from fixtures.server import PASSWORD, serving, settings

if TYPE_CHECKING:
    from collections.abc import Callable

    import httpx

    from fixtures.server import Server

RECORDS = "/collections/orders/records"
TABLES = ("users", "sessions", "api_keys", "removals", "collections", "events", "jobs")

Call = tuple["httpx.Client", str, Any]


class Callers:
    """The records and users that the routes need."""

    def __init__(self, server: Server) -> None:
        self.anonymous = server.client()
        self.admin = server.admin()
        self.email = f"{uuid4().hex}@example.com"
        self.member = server.member(self.email)

    @property
    def account(self) -> dict[str, str]:
        return {"email": f"{uuid4().hex}@example.com", "password": PASSWORD}

    @property
    def record(self) -> str:
        location: str = self.admin.post(RECORDS, json={"n": 1}).headers["location"]
        return location

    @property
    def key(self) -> str:
        body = {"name": "k", "scopes": ["records:read"]}
        return f"/auth/api-keys/{self.member.post('/auth/api-keys', json=body).json()['id']}"

    @property
    def user(self) -> str:
        return f"/users/{self.admin.post('/users', json=self.account).json()['id']}"

    @property
    def job(self) -> str:
        location: str = self.member.post("/collections/orders/exports").headers["location"]
        return location

    @property
    def collection(self) -> str:
        name = f"c{uuid4().hex}"
        assert self.admin.put(f"/collections/{name}", json={"schema": {}}).status_code == 201
        return f"/collections/{name}"


CALLS: dict[str, Callable[[Callers], Call]] = {
    "POST /auth/register": lambda c: (c.anonymous, "/auth/register", c.account),
    "POST /auth/logout": lambda c: (c.member, "/auth/logout", None),
    "POST /auth/password": lambda c: (
        c.member, "/auth/password",
        {"current_password": PASSWORD, "new_password": PASSWORD + " now"},
    ),
    "POST /auth/api-keys": lambda c: (
        c.member, "/auth/api-keys", {"name": "k", "scopes": ["records:read"]},
    ),
    "DELETE /auth/api-keys/{key_id}": lambda c: (c.member, c.key, None),
    "POST /users": lambda c: (c.admin, "/users", c.account),
    "PATCH /users/{user_id}": lambda c: (c.admin, c.user, {"name": "A", "disabled": True}),
    "DELETE /users/{user_id}": lambda c: (c.admin, f"{c.user}?records=delete", None),
    "PUT /collections/{collection}": lambda c: (c.admin, f"/collections/c{uuid4().hex}", {
        "schema": {}, "indexes": ["a"]}),
    "DELETE /collections/{collection}": lambda c: (
        c.admin, (path := c.collection) + f"?confirm={path.rpartition('/')[2]}", None,
    ),
    "POST /collections/orders/exports": lambda c: (c.member, "/collections/orders/exports", None),
    "POST /jobs/{job_id}/cancel": lambda c: (c.member, f"{c.job}/cancel", None),
    f"POST {RECORDS}": lambda c: (c.anonymous, RECORDS, {"n": 1}),
    f"POST {RECORDS}:batch": lambda c: (c.anonymous, f"{RECORDS}:batch", {
        "operations": [
            {"op": "update", "id": c.record.rpartition("/")[2], "data": {"n": 2}},
            {"op": "create", "data": {}}]}),
    f"PUT {RECORDS}/{{record_id}}": lambda c: (c.anonymous, c.record, {"n": 2}),
    f"PATCH {RECORDS}/{{record_id}}": lambda c: (c.anonymous, c.record, {"n": 2}),
    f"DELETE {RECORDS}/{{record_id}}": lambda c: (c.anonymous, c.record, None),
}  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def orders(admin: httpx.Client) -> None:
    body = {"schema": {"type": "object"}, "rules": ANYONE}
    assert admin.put("/collections/orders", json=body).is_success


def state(url: str) -> list[object]:
    """Count and digest of every table that a route writes to."""
    names = "SELECT format('records.%I', name) FROM listo.collections"
    tables = [*(f"listo.{name}" for name in TABLES), *(row[0] for row in fetch(url, names))]
    rows = "SELECT count(*), md5(string_agg(t::text, '' ORDER BY t::text)) FROM"
    return [fetch(url, f"{rows} {table} t")[0] for table in tables]


def test_every_route_that_writes_is_called(admin: httpx.Client) -> None:
    routes = {
        f"{method.upper()} {path}"
        for path, operations in admin.get("/openapi.json").json()["paths"].items()
        for method in operations
        if method != "get"
        # Their answers are credentials, which are kept nowhere.
        and path not in {"/auth/login", "/auth/refresh"}
        # A file is no part of what is kept, and a job is undone once; see the tests of both.
        and not path.endswith(("/import", "/undo"))
        # Other tests of this file make collections.
        and not (path.startswith("/collections/c") and "/records" in path)
    }
    assert routes == CALLS.keys()


@pytest.mark.parametrize("name", CALLS)
def test_a_route_writes_with_its_answer_or_not_at_all(
    server: Server, database_url: str, name: str
) -> None:
    client, path, body = CALLS[name](Callers(server))
    method, key = name.split(maxsplit=1)[0], {"Idempotency-Key": str(uuid4())}
    table = "ALTER TABLE listo.idempotency_keys"
    before = state(database_url)
    execute(database_url, f"{table} ADD CONSTRAINT broken CHECK (false) NOT VALID")
    try:
        assert client.request(method, path, json=body, headers=key).status_code == 500
        assert state(database_url) == before
    finally:
        execute(database_url, f"{table} DROP CONSTRAINT broken")

    first = client.request(method, path, json=body, headers=key)
    assert first.is_success, first.text
    assert "idempotency-replayed" not in first.headers
    after = state(database_url)
    assert after != before
    again = client.request(method, path, json=body, headers=key)
    assert state(database_url) == after
    if path == "/auth/logout":
        # An ended session gets no replay.
        assert again.status_code == 401
    else:
        assert (again.status_code, again.content) == (first.status_code, first.content)
        assert again.headers["idempotency-replayed"] == "true"


def test_a_request_that_is_given_up_frees_its_key(cluster_url: str) -> None:
    key = {"Idempotency-Key": str(uuid4())}
    with database(cluster_url) as url, serving(settings(url, request_timeout=1)) as server:
        admin = server.admin()
        admin.put("/collections/orders", json={"schema": {}})
        with open_transaction(url, "LOCK TABLE records.orders IN ACCESS EXCLUSIVE MODE"):
            given_up = admin.post(RECORDS, json={"n": 1}, headers=key)
            assert (given_up.status_code, given_up.json()["code"]) == (503, "request_timeout")
        done = admin.post(RECORDS, json={"n": 1}, headers=key)
        assert done.status_code == 201
        assert "idempotency-replayed" not in done.headers
        assert len(fetch(url, "SELECT 1 FROM records.orders")) == 1


@pytest.mark.parametrize(
    ("target", "status"),
    [("POST /collections/nope/imports", 404), ("PATCH /collections", 405), ("POST /health", 405)],
)
def test_a_route_that_is_not_there_does_not_wait_for_the_body(
    server: Server, target: str, status: int
) -> None:
    with socket.create_connection(("127.0.0.1", int(server.url.rsplit(":", 1)[1]))) as peer:
        peer.settimeout(20)
        peer.sendall(
            f"{target} HTTP/1.1\r\nHost: x\r\nIdempotency-Key: {uuid4()}\r\n"
            "Content-Type: application/json\r\nContent-Length: 100\r\n\r\n{".encode()
        )
        # The rest of the body never comes.
        assert peer.recv(1000).startswith(f"HTTP/1.1 {status}".encode())
