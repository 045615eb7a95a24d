"""Two servers on one database: each knows the changes of the other, although Redis is away."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from fixtures.server import PASSWORD, serving, settings
from fixtures.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import httpx

    from fixtures.server import Server

# After a longer time, servers forget credentials and definitions anyway.
PATIENCE = 10
OBJECT = {"type": "object"}


@pytest.fixture(scope="module")
def pair(database_url: str) -> Iterator[tuple[Server, Server]]:
    shared = settings(database_url, redis_url="redis://127.0.0.1:1")
    with serving(shared) as one, serving(shared) as other:
        yield one, other


def until(condition: Callable[[], object]) -> None:
    wait_until(condition, PATIENCE)


def on(server: Server, client: httpx.Client) -> httpx.Client:
    """The same caller on another server."""
    return server.client(str(client.headers["authorization"]).removeprefix("Bearer "))


def test_logout_disabling_and_roles_reach_the_other_server(pair: tuple[Server, Server]) -> None:
    one, other = pair
    admin, ada = one.admin(), one.member("ada@example.com")
    there = on(other, ada)
    me = there.get("/auth/me").json()["id"]
    admin.put(
        "/collections/news", json={"schema": OBJECT, "rules": {"list": '@user.roles has "editor"'}}
    )
    assert there.get("/users").status_code == 403
    admin.patch(f"/users/{me}", json={"roles": ["admin"]})
    until(lambda: there.get("/users").status_code == 200)
    admin.patch(f"/users/{me}", json={"roles": ["member"]})
    until(lambda: there.get("/users").status_code == 403)
    ada.post("/auth/logout")
    until(lambda: there.get("/auth/me").status_code == 401)
    again = on(other, one.login("ada@example.com"))
    assert again.get("/auth/me").status_code == 200
    admin.patch(f"/users/{me}", json={"disabled": True})
    until(lambda: again.get("/auth/me").status_code == 401)


def test_a_deletion_of_a_user_reaches_the_other_server(pair: tuple[Server, Server]) -> None:
    one, other = pair
    admin, leaver = one.admin(), one.member("leaver@example.com")
    login = {"email": "leaver@example.com", "password": PASSWORD}
    tokens = one.client().post("/auth/login", json=login).json()
    key = leaver.post("/auth/api-keys", json={"name": "k", "scopes": ["records:read"]}).json()
    there = [other.client(text) for text in (tokens["access_token"], key["key"])]
    assert [client.get("/auth/me").status_code for client in there] == [200, 200]
    id_ = leaver.get("/auth/me").json()["id"]
    assert admin.delete(f"/users/{id_}?records=keep").status_code == 204
    for client in there:
        until(lambda client=client: client.get("/auth/me").status_code == 401)  # type: ignore[misc]
    body = {"refresh_token": tokens["refresh_token"]}
    assert other.client().post("/auth/refresh", json=body).status_code == 401
    assert other.client().post("/auth/login", json=login).status_code == 401


def test_redis_away_is_degraded_and_serves(pair: tuple[Server, Server]) -> None:
    response = pair[0].client().get("/health/ready")
    assert response.status_code == 200
    assert response.json()["status"] == "degraded"
    assert response.json()["checks"]["redis"]["ok"] is False
    assert pair[0].client().get("/collections").status_code == 200


def test_rules_and_a_deletion_reach_the_other_server(pair: tuple[Server, Server]) -> None:
    one, other = pair
    admin, stranger = one.admin(), other.client()
    path = "/collections/doors/records"
    for rule, status in (("", 200), (None, 404), ("", 200)):
        admin.put("/collections/doors", json={"schema": OBJECT, "rules": {"list": rule}})
        until(lambda status=status: stranger.get(path).status_code == status)  # type: ignore[misc]
    admin.delete("/collections/doors?confirm=doors")
    until(lambda: stranger.get(path).status_code == 404)


def test_a_server_without_messages_holds_writes_to_the_present_schema(
    pair: tuple[Server, Server],
) -> None:
    one, other = pair
    admin = one.admin()
    deaf = on(other, admin)
    path = "/collections/strict/records"
    admin.put("/collections/strict", json={"schema": OBJECT})
    location = deaf.post(path, json={"n": 1}).headers["location"]
    callbacks = other.services.database.notifications._callbacks
    heard = dict(callbacks)
    callbacks.clear()
    try:
        schema = {"type": "object", "properties": {"n": {"type": "integer"}}}
        assert admin.put("/collections/strict", json={"schema": schema}).status_code == 200
        assert deaf.post(path, json={"n": "x"}).status_code == 422
        other.services.registry.clear()
        admin.put("/collections/strict", json={"schema": {**schema, "required": ["n"]}})
        assert deaf.put(location, json={}).status_code == 422
        assert deaf.patch(location, json={"n": 2}).status_code == 200
    finally:
        callbacks.update(heard)


def test_an_api_key_ends_everywhere(pair: tuple[Server, Server]) -> None:
    one, other = pair
    ada = one.member("eve@example.com")
    made = ada.post("/auth/api-keys", json={"name": "k", "scopes": ["records:read"]}).json()
    there = other.client(made["key"])
    assert there.get("/auth/me").status_code == 200
    ada.delete(f"/auth/api-keys/{made['id']}")
    until(lambda: there.get("/auth/me").status_code == 401)
