"""Users, as admins see and change them."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest

from fixtures.cluster import database
from fixtures.server import ADMIN, PASSWORD, serving, settings

if TYPE_CHECKING:
    import httpx

    from fixtures.server import Server

NOBODY = "/users/01a00000-0000-7000-8000-000000000000"


def make(admin: httpx.Client, email: str, **more: Any) -> Any:
    response = admin.post("/users", json={"email": email, "password": PASSWORD, **more})
    assert response.status_code == 201, response.text
    return response.json()


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("GET", "/users", None),
        ("GET", NOBODY, None),
        ("POST", "/users", {"email": "new@example.com", "password": PASSWORD}),
        ("PATCH", NOBODY, {"roles": ["admin"]}),
    ],
)
def test_only_admins(
    anonymous: httpx.Client, ada: httpx.Client, method: str, path: str, body: Any
) -> None:
    refused = anonymous.request(method, path, json=body)
    assert refused.status_code == 401
    assert refused.json()["code"] == "authentication_required"
    assert ada.request(method, path, json=body).json()["code"] == "forbidden"


# body, status, code
MADE: list[tuple[dict[str, Any], int, str | None]] = [
    ({"email": "eve@example.com", "password": PASSWORD, "roles": ["member", "editor-2_x"]}, 201,
     None),
    ({"email": "ada@example.com", "password": PASSWORD}, 409, "email_taken"),
    ({"email": "x@example.com", "password": PASSWORD, "roles": ["Editor"]}, 422,
     "validation_failed"),
    ({"email": "x@example.com", "password": PASSWORD, "roles": ["x\n"]}, 422, "validation_failed"),
    ({"email": "x@example.com", "password": PASSWORD, "roles": ["1x"]}, 422, "validation_failed"),
    ({"email": "x@example.com", "password": PASSWORD, "roles": ["x" * 33]}, 422,
     "validation_failed"),
    ({"email": "x@example.com", "password": PASSWORD, "roles": "admin"}, 422,
     "validation_failed"),
    ({"email": "x@example.com", "password": PASSWORD, "id": NOBODY}, 422, "validation_failed"),
    ({"email": "x@example.com"}, 422, "validation_failed"),
]  # fmt: skip


@pytest.mark.parametrize(("body", "status", "code"), MADE)
def test_making_one(
    admin: httpx.Client, ada: httpx.Client, body: Any, status: int, code: str | None
) -> None:
    response = admin.post("/users", json=body)
    assert response.status_code == status, response.text
    assert response.json().get("code") == code
    assert PASSWORD not in response.text


# body, status, code
CHANGED: list[tuple[dict[str, Any], int, str | None]] = [
    ({}, 200, None),
    ({"name": "Ada"}, 200, None),
    ({"name": ""}, 422, "validation_failed"),
    ({"disabled": "yes"}, 422, "validation_failed"),
    ({"disabled": 1}, 422, "validation_failed"),
    ({"email": "other@example.com"}, 422, "validation_failed"),
    ({"password": PASSWORD}, 422, "validation_failed"),
    ({"roles": ["a b"]}, 422, "validation_failed"),
]


@pytest.mark.parametrize(("body", "status", "code"), CHANGED)
def test_changing_one(
    admin: httpx.Client, ada: httpx.Client, body: Any, status: int, code: str | None
) -> None:
    path = f"/users/{ada.get('/auth/me').json()['id']}"
    response = admin.patch(path, json=body)
    assert response.status_code == status, response.text
    assert response.json().get("code") == code
    assert admin.patch(NOBODY, json={}).json()["code"] == "user_not_found"


def test_only_what_is_sent_changes(admin: httpx.Client) -> None:
    user = make(admin, "parts@example.com", name="Parts", roles=["member", "editor"])
    path = f"/users/{user['id']}"
    changed = admin.patch(path, json={"roles": ["editor", "editor"]}).json()
    assert changed == {**user, "roles": ["editor"], "updated_at": changed["updated_at"]}
    assert admin.patch(path, json={"name": None}).json()["name"] is None
    assert admin.patch(path, json={"roles": []}).json()["roles"] == []
    assert admin.get(path).json()["updated_at"] > user["updated_at"]


def test_a_role_is_effective_at_once(server: Server, admin: httpx.Client) -> None:
    client = server.member("promoted@example.com")
    path = f"/users/{client.get('/auth/me').json()['id']}"
    for roles, status in ((["admin"], 200), (["member"], 403), (["admin"], 200), ([], 403)):
        assert admin.patch(path, json={"roles": roles}).status_code == 200
        assert client.get("/users").status_code == status


@pytest.mark.parametrize("limit", [1, 2, 500])
def test_walking_the_list(admin: httpx.Client, limit: int) -> None:
    for number in range(5):
        admin.post("/users", json={"email": f"walk{number}@example.com", "password": PASSWORD})
    seen: list[str] = []
    cursor: str | None = None
    while True:
        parameters: dict[str, int | str] = {
            "limit": limit,
            **({"cursor": cursor} if cursor else {}),
        }
        page = admin.get("/users", params=parameters).json()
        assert len(page["items"]) <= limit
        seen += [item["email"] for item in page["items"]]
        cursor = page["next"]
        if cursor is None:
            break
    assert len(seen) == len(set(seen))
    assert {f"walk{number}@example.com" for number in range(5)} <= set(seen)


def test_there_is_always_an_admin(cluster_url: str) -> None:
    with database(cluster_url) as url, serving(settings(url)) as server:
        admin = server.admin()
        first = f"/users/{admin.get('/auth/me').json()['id']}"
        changes: list[dict[str, Any]] = [{"disabled": True}, {"roles": ["member"]}, {"roles": []}]
        for change in changes:
            refused = admin.patch(first, json=change)
            assert refused.status_code == 409
            assert refused.json()["code"] == "last_admin"
        assert admin.patch(first, json={"name": "Root"}).status_code == 200
        # A disabled admin is none.
        other = server.member("second@example.com", ("admin",))
        second = f"/users/{other.get('/auth/me').json()['id']}"
        assert admin.patch(second, json={"disabled": True}).status_code == 200
        assert admin.patch(first, json={"roles": []}).status_code == 409
        assert admin.patch(second, json={"disabled": False}).status_code == 200
        # Two who demote each other at the same moment.
        clients = (admin, server.login("second@example.com"))
        with ThreadPoolExecutor(2) as pool:
            answers = [
                pool.submit(client.patch, path, json={"roles": ["member"]})
                for client, path in zip(clients, (second, first), strict=True)
            ]
            assert 200 in [answer.result().status_code for answer in answers]
        roles = [
            server.login(email, password).get("/auth/me").json()["roles"]
            for email, password in (
                (ADMIN["email"], ADMIN["password"]), ("second@example.com", PASSWORD),
            )
        ]  # fmt: skip
        assert sum("admin" in given for given in roles) == 1


def test_a_restart_leaves_the_first_admin_alone(cluster_url: str) -> None:
    new = "the admin's new password"
    with database(cluster_url) as url:
        with serving(settings(url)) as server:
            body = {"current_password": ADMIN["password"], "new_password": new}
            assert server.admin().post("/auth/password", json=body).status_code == 204
        with serving(settings(url, admin_email=" Admin@Example.com")) as server:
            assert len(server.login(ADMIN["email"], new).get("/users").json()["items"]) == 1


def test_an_api_key_neither_makes_nor_changes_admins(server: Server, admin: httpx.Client) -> None:
    key = {"name": "k", "scopes": ["users:admin"]}
    program = server.client(admin.post("/auth/api-keys", json=key).json()["key"])
    account = {"email": "program@example.com", "password": PASSWORD}
    other = f"/users/{server.member('twin@example.com', ('admin',)).get('/auth/me').json()['id']}"
    made = program.post("/users", json=account)
    assert made.status_code == 201
    path = f"/users/{made.json()['id']}"
    assert program.patch(path, json={"roles": ["editor"]}).json()["roles"] == ["editor"]
    assert program.patch(path, json={"disabled": True}).json()["disabled"] is True
    before = admin.get(other).json()
    for refused in (
        program.post("/users", json={**account, "email": "x@example.com", "roles": ["admin"]}),
        program.patch(path, json={"roles": ["editor", "admin"]}),
        program.patch(other, json={"roles": ["member"]}),
        program.patch(other, json={"disabled": True}),
    ):
        assert refused.status_code == 403, refused.text
        assert refused.json()["code"] == "session_required"
    assert admin.get(other).json() == before
    assert admin.get(path).json()["roles"] == ["editor"]
    assert admin.patch(other, json={"disabled": True}).status_code == 200


def test_a_key_for_users_is_not_limited_to_collections(admin: httpx.Client) -> None:
    key = {"name": "k", "scopes": ["records:read", "users:admin"], "collections": ["one"]}
    refused = admin.post("/auth/api-keys", json=key)
    assert refused.status_code == 422
    assert refused.json()["errors"][0]["pointer"] == "/collections"
