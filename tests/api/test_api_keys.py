"""API keys: scopes, named collections, expiry, deletion, and when they were last used."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from app.auth.identity import authenticator as credentials
from fixtures.api_keys import READ, make
from fixtures.cluster import database, execute, fetch
from fixtures.rules import ANYONE
from fixtures.server import serving, settings

if TYPE_CHECKING:
    import httpx

    from fixtures.server import Server

WRITE = "records:write"
BATCH = {"operations": [{"op": "create", "data": {}}]}
ALL = [READ, WRITE, "collections:admin", "webhooks:admin", "users:admin"]


@pytest.fixture(scope="module", autouse=True)
def collections(admin: httpx.Client) -> None:
    rules = ANYONE
    for name in ("one", "two"):
        body = {"schema": {"type": "object"}, "rules": rules}
        assert admin.put(f"/collections/{name}", json=body).is_success


def test_a_key_is_shown_once(ada: httpx.Client, database_url: str) -> None:
    made = make(ada, READ)
    key = made.pop("key")
    assert key.startswith("lk_")
    assert len(key) == 46
    assert key.startswith(made["prefix"])
    assert made in ada.get("/auth/api-keys").json()["items"]
    assert key not in ada.get("/auth/api-keys").text
    stored = fetch(database_url, f"SELECT k::text FROM listo.api_keys k WHERE id = '{made['id']}'")
    assert key[9:] not in stored[0][0]


def test_a_key_acts_as_its_user(server: Server, ada: httpx.Client) -> None:
    client = server.client(make(ada, READ, WRITE)["key"])
    assert client.get("/auth/me").json() == ada.get("/auth/me").json()
    record = client.post("/collections/one/records", json={"a": 1}).json()
    assert record["owner"] == ada.get("/auth/me").json()["id"]


@pytest.mark.parametrize(
    ("scopes", "method", "path", "body", "status"),
    [
        ([READ], "GET", "/collections/one/records", None, 200),
        ([WRITE], "GET", "/collections/one/records", None, 403),
        (["collections:admin"], "GET", "/collections/one/records", None, 403),
        ([READ], "POST", "/collections/one/records", {}, 403),
        ([WRITE], "POST", "/collections/one/records", {}, 201),
        ([READ], "POST", "/collections/one/records:batch", BATCH, 403),
        ([READ, WRITE], "PUT", "/collections/new", {"schema": {}}, 403),
        (["collections:admin"], "PUT", "/collections/new", {"schema": {}}, 201),
        (["collections:admin"], "GET", "/users", None, 403),
        (["users:admin"], "GET", "/users", None, 200),
        (["users:admin"], "PUT", "/collections/other", {"schema": {}}, 403),
    ],
)  # fmt: skip
def test_scopes_bound_the_key_of_an_admin(
    server: Server,
    admin: httpx.Client,
    scopes: list[str],
    method: str,
    path: str,
    body: Any,
    status: int,
) -> None:
    client = server.client(make(admin, *scopes)["key"])
    response = client.request(method, path, json=body)
    assert response.status_code == status, response.text


@pytest.mark.parametrize("scopes", [[scope] for scope in ALL[2:]])
def test_members_give_keys_no_more_scopes_than_they_have(
    ada: httpx.Client, scopes: list[str]
) -> None:
    response = ada.post("/auth/api-keys", json={"name": "x", "scopes": [READ, *scopes]})
    assert response.status_code == 403
    assert response.json()["code"] == "scope_not_held"


def test_a_key_of_named_collections_reaches_no_other(server: Server, ada: httpx.Client) -> None:
    client = server.client(make(ada, READ, WRITE, collections=["one"])["key"])
    assert client.get("/collections/one/records").status_code == 200
    assert client.post("/collections/one/records", json={}).status_code == 201
    for method, path, body in (
        ("GET", "/collections/two/records", None),
        ("POST", "/collections/two/records", {}),
        ("POST", "/collections/two/records:batch", BATCH),
        ("GET", "/collections/two", None),
    ):
        response = client.request(method, path, json=body)
        assert response.status_code in (403, 404), (path, response.text)
    named = [item["name"] for item in client.get("/collections").json()["items"]]
    assert "two" not in named


def test_an_admins_key_of_named_collections_defines_no_other(
    server: Server, admin: httpx.Client
) -> None:
    client = server.client(make(admin, "collections:admin", collections=["one"])["key"])
    two = admin.get("/collections/two").json()
    assert client.put("/collections/two", json={"schema": {}}).status_code in (403, 404)
    assert client.put("/collections/three", json={"schema": {}}).status_code in (403, 404)
    assert client.delete("/collections/two?confirm=two").status_code in (403, 404)
    assert admin.get("/collections/two").json() == two


def test_a_key_names_collections_that_exist(
    server: Server, admin: httpx.Client, ada: httpx.Client
) -> None:
    rules: dict[str, Any]
    for name, rules in (("hidden", {}), ("passing", {"read": ""})):
        assert admin.put(f"/collections/{name}", json={"schema": {}, "rules": rules}).is_success
    body = {"name": "k", "scopes": [READ], "collections": ["one", "no-such", "hidden"]}
    # To a member a collection out of reach looks like a missing one.
    for client, unknown in (
        (admin, ["/collections/1"]),
        (ada, ["/collections/1", "/collections/2"]),
    ):
        refused = client.post("/auth/api-keys", json=body)
        assert refused.status_code == 422
        assert [error["pointer"] for error in refused.json()["errors"]] == unknown
        assert refused.json()["errors"][0]["code"] == "unknown_collection"
    # The key does not reach a later collection of the same name.
    both = make(ada, READ, collections=["one", "passing"])
    alone = make(ada, READ, collections=["passing"])
    clients = [server.client(key["key"]) for key in (both, alone)]
    assert [client.get("/collections/passing").status_code for client in clients] == [200, 200]
    assert admin.delete("/collections/passing?confirm=passing").status_code == 204
    assert admin.put("/collections/passing", json={"schema": {}, "rules": rules}).is_success
    assert [client.get("/collections/passing").status_code for client in clients] == [404, 404]
    assert clients[0].get("/collections/one").status_code == 200
    kept = {key["id"]: key["collections"] for key in ada.get("/auth/api-keys").json()["items"]}
    assert (kept[both["id"]], kept[alone["id"]]) == (["one"], [])


# method, path, body
SESSION_ONLY = [
    ("POST", "/auth/api-keys", {"name": "x", "scopes": [READ]}),
    ("GET", "/auth/api-keys", None),
    ("DELETE", "/auth/api-keys/01a00000-0000-7000-8000-000000000000", None),
    ("POST", "/auth/logout", None),
    ("POST", "/auth/password", {"current_password": "x", "new_password": "long enough it is"}),
]


@pytest.mark.parametrize(("method", "path", "body"), SESSION_ONLY)
def test_a_key_cannot_do_what_takes_a_session(
    server: Server,
    admin: httpx.Client,
    anonymous: httpx.Client,
    method: str,
    path: str,
    body: Any,
) -> None:
    client = server.client(make(admin, *ALL)["key"])
    response = client.request(method, path, json=body)
    assert response.status_code == 403
    assert response.json()["code"] == "session_required"
    assert anonymous.request(method, path, json=body).status_code == 401


def test_a_deleted_key_is_out_at_once(server: Server, ada: httpx.Client, bob: httpx.Client) -> None:
    made = make(ada, READ)
    client = server.client(made["key"])
    assert client.get("/auth/me").status_code == 200
    path = f"/auth/api-keys/{made['id']}"
    # Only the owner reaches the key.
    assert bob.delete(path).json()["code"] == "api_key_not_found"
    assert client.get("/auth/me").status_code == 200
    assert ada.delete(path).status_code == 204
    assert client.get("/auth/me").status_code == 401
    assert ada.delete(path).status_code == 404
    assert made["id"] not in [item["id"] for item in ada.get("/auth/api-keys").json()["items"]]


def test_keys_of_others_are_not_listed(ada: httpx.Client, bob: httpx.Client) -> None:
    made = make(ada, READ)
    assert made["id"] not in [item["id"] for item in bob.get("/auth/api-keys").json()["items"]]


def test_an_expired_key_is_out(server: Server, ada: httpx.Client, database_url: str) -> None:
    made = make(ada, READ, expires_at="2100-01-01T00:00:00+01:00")
    assert made["expires_at"] == "2099-12-31T23:00:00Z"
    execute(
        database_url,
        f"UPDATE listo.api_keys SET expires_at = now() WHERE id = '{made['id']}'",
    )
    response = server.client(made["key"]).get("/auth/me")
    assert response.status_code == 401
    assert response.json()["code"] == "invalid_token"


def test_a_remembered_key_is_forgotten_when_it_expires(
    server: Server, ada: httpx.Client, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    soon = datetime.now(UTC) + timedelta(seconds=30)
    made = make(ada, READ, expires_at=soon.isoformat())
    client = server.client(made["key"])
    assert client.get("/auth/me").status_code == 200
    # No process is notified of this, so the remembered key works until the expiry that was known.
    execute(
        database_url,
        f"UPDATE listo.api_keys SET expires_at = now() WHERE id = '{made['id']}'",
    )
    assert client.get("/auth/me").status_code == 200
    later = SimpleNamespace(time=lambda: time.time() + 31)
    monkeypatch.setattr(credentials, "time", later)
    assert client.get("/auth/me").status_code == 401


@pytest.mark.parametrize(
    ("expires_at", "status"),
    [
        ("2100-01-01T00:00:00Z", 201),
        (None, 201),
        ("9999-12-31T23:59:59Z", 201),
        ("2100-01-01T00:00:00", 422),
        ("2020-01-01T00:00:00Z", 422),
        ("9999-12-31T23:59:59-23:59", 422),
        ("0001-01-01T00:00:00+23:59", 422),
        ("tomorrow", 422),
        (True, 422),
    ],
)
def test_a_time_of_expiry_is_taken_or_refused(
    server: Server, ada: httpx.Client, expires_at: object, status: int
) -> None:
    body = {"name": "x", "scopes": [READ], "expires_at": expires_at}
    response = ada.post("/auth/api-keys", json=body)
    assert response.status_code == status, response.text
    if status == 201:
        assert server.client(response.json()["key"]).get("/auth/me").status_code == 200
    else:
        assert response.json()["errors"][0]["pointer"] == "/expires_at"


def test_a_role_that_a_user_loses_is_lost_to_keys_too(server: Server, admin: httpx.Client) -> None:
    owner = server.member("demoted@example.com", ("admin",))
    client = server.client(make(owner, "users:admin", READ)["key"])
    assert client.get("/users").status_code == 200
    path = f"/users/{owner.get('/auth/me').json()['id']}"
    assert admin.patch(path, json={"roles": ["member"]}).status_code == 200
    assert client.get("/users").status_code == 403
    assert admin.patch(path, json={"disabled": True}).status_code == 200
    assert client.get("/auth/me").status_code == 401


def test_use_is_noted_without_a_write_per_request(cluster_url: str) -> None:
    with database(cluster_url) as url:
        with serving(settings(url)) as server:
            made = make(server.admin(), READ)
            client = server.client(made["key"])
            assert made["last_used_at"] is None
            client.get("/nothing")
            server.statements.clear()
            for _ in range(3):
                client.get("/nothing")
            assert server.statements == []
        # A stopping server stores the last uses.
        with serving(settings(url)) as server:
            keys = server.admin().get("/auth/api-keys").json()["items"]
            assert keys[0]["last_used_at"] > made["created_at"]


def test_a_key_creates_where_its_user_may_create_but_not_read(
    admin: httpx.Client, ada: httpx.Client, server: Server
) -> None:
    assert admin.put("/collections/inbox", json={"schema": {}, "rules": {"create": ""}}).is_success
    path = "/collections/inbox/records"

    def status(**limits: list[str]) -> int:
        body = {"name": "k", "scopes": ["records:write"], **limits}
        key = server.client(ada.post("/auth/api-keys", json=body).json()["key"])
        return key.post(path, json={}).status_code

    assert ada.post(path, json={}).status_code == 201
    assert status() == 201
    assert status(collections=["inbox"]) == 201
    assert status(collections=["two"]) == 404
    assert status(scopes=["records:read"]) == 403


def test_a_key_that_only_writes_is_shown_no_record(server: Server, admin: httpx.Client) -> None:
    path = admin.post("/collections/one/records", json={"secret": "s"}).headers["location"]
    id_ = path.rpartition("/")[2]
    client = server.client(make(admin, WRITE)["key"])
    patched = client.patch(path, json={"n": 1})
    assert patched.status_code == 200
    assert patched.json() == {"id": id_, "version": 2}
    assert patched.headers["etag"] == '"2"'
    key = {"Idempotency-Key": f"write-only-{id_}"}
    for answer in (client.patch(path, json={}, headers=key) for _ in range(2)):
        # This patch changes nothing.
        assert answer.json() == {"id": id_, "version": 2}
    assert client.put(path, json={"n": 2}).json() == {"id": id_, "version": 3}
    # A key without the scope to read gets back the record that it sent.
    assert client.post("/collections/one/records", json={"n": 3}).json()["n"] == 3
    both = server.client(make(admin, READ, WRITE)["key"])
    assert both.patch(path, json={}).json()["n"] == 2
