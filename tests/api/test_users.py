"""Users, as admins see and change them."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest

from app.auth.api_keys import repository as api_key_repository
from fixtures.cluster import database, execute
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
def test_only_admins_reach_users(
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
def test_a_new_user_is_made_or_refused(
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
    ({"password": "short"}, 422, "validation_failed"),
    ({"password": PASSWORD}, 409, "password_already_set"),
    ({"roles": ["a b"]}, 422, "validation_failed"),
]


@pytest.mark.parametrize(("body", "status", "code"), CHANGED)
def test_a_change_of_a_user_is_made_or_refused(
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
def test_a_walk_meets_every_user_once(admin: httpx.Client, limit: int) -> None:
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
        # A disabled admin does not count.
        other = server.member("second@example.com", ("admin",))
        second = f"/users/{other.get('/auth/me').json()['id']}"
        assert admin.patch(second, json={"disabled": True}).status_code == 200
        assert admin.patch(first, json={"roles": []}).status_code == 409
        assert admin.patch(second, json={"disabled": False}).status_code == 200
        # Two admins demote each other at the same moment.
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


@pytest.fixture
def program(server: Server, admin: httpx.Client) -> httpx.Client:
    """A client with an API key for users and records."""
    scopes = ["users:admin", "records:read", "records:write"]
    made = admin.post("/auth/api-keys", json={"name": "k", "scopes": scopes})
    return server.client(made.json()["key"])


def test_an_api_key_neither_makes_nor_changes_admins(
    server: Server, admin: httpx.Client, program: httpx.Client
) -> None:
    other = f"/users/{server.member('twin@example.com', ('admin',)).get('/auth/me').json()['id']}"
    made = program.post("/users", json={"email": "program@example.com", "roles": ["editor"]})
    path = f"/users/{made.json()['id']}"
    before = admin.get(other).json()
    for refused in (
        program.post("/users", json={"email": "x@example.com", "roles": ["admin"]}),
        program.patch(path, json={"roles": ["editor", "admin"]}),
        program.patch(other, json={"roles": ["member"]}),
        program.patch(other, json={"disabled": True}),
        program.delete(f"{other}?records=keep"),
    ):
        assert refused.status_code == 403, refused.text
        assert refused.json()["code"] == "session_required"
    assert admin.get(other).json() == before
    assert admin.get(path).json()["roles"] == ["editor"]
    assert admin.patch(other, json={"disabled": True}).status_code == 200


def test_a_user_made_by_an_api_key_logs_in_once_an_admin_enables_it(
    server: Server, admin: httpx.Client, program: httpx.Client, anonymous: httpx.Client
) -> None:
    account = {"email": "prepared@example.com", "password": PASSWORD}
    assert program.post("/users", json=account).json()["code"] == "session_required"
    made = program.post("/users", json={"email": account["email"], "roles": ["editor"]})
    assert made.status_code == 201
    assert made.json()["disabled"] is True
    path = f"/users/{made.json()['id']}"
    for more in (
        {"disabled": False},
        {"password": PASSWORD},
        {"password": PASSWORD, "disabled": False},
        {"roles": ["editor", "auditor"]},
    ):
        refused = program.patch(path, json=more)
        assert refused.json()["code"] == "session_required", refused.text
    assert anonymous.post("/auth/login", json=account).status_code == 401
    without = admin.patch(path, json={"disabled": False})
    assert without.status_code == 422
    assert without.json()["errors"][0]["pointer"] == "/password"
    enabled = admin.patch(path, json={"disabled": False, "password": PASSWORD})
    assert enabled.json() == {
        **made.json(), "disabled": False, "updated_at": enabled.json()["updated_at"],
    }  # fmt: skip
    assert server.login(account["email"]).get("/auth/me").status_code == 200
    # Only the first password is set by another user.
    again = admin.patch(path, json={"password": "another long password"})
    assert again.json()["code"] == "password_already_set"
    # Taking roles away and renaming are allowed.
    changed = program.patch(path, json={"roles": [], "disabled": True, "name": "P."}).json()
    assert (changed["roles"], changed["disabled"], changed["name"]) == ([], True, "P.")


def test_a_user_whom_an_admin_makes_needs_a_password(admin: httpx.Client) -> None:
    refused = admin.post("/users", json={"email": "bare@example.com"})
    assert refused.status_code == 422
    assert refused.json()["errors"][0]["pointer"] == "/password"


@pytest.mark.parametrize("how", ["over HTTP", "by SQL"])
def test_disabling_ends_sessions_and_keys_for_good(
    server: Server, admin: httpx.Client, database_url: str, how: str
) -> None:
    email = f"{how.replace(' ', '-').lower()}@example.com"
    session = server.member(email)
    path = f"/users/{session.get('/auth/me').json()['id']}"
    key = session.post("/auth/api-keys", json={"name": "k", "scopes": ["records:read"]}).json()
    program = server.client(key["key"])
    assert program.get("/auth/me").status_code == 200
    if how == "over HTTP":
        assert admin.patch(path, json={"disabled": True}).status_code == 200
        assert program.get("/auth/me").status_code == 401
    else:
        execute(database_url, f"UPDATE listo.users SET disabled_at = now() WHERE email = '{email}'")
    assert admin.patch(path, json={"disabled": False}).status_code == 200
    assert program.get("/auth/me").status_code == 401
    assert session.get("/auth/me").status_code == 401
    assert server.login(email).get("/auth/api-keys").json()["items"] == []


def test_a_key_that_is_made_while_its_maker_is_disabled_does_not_live(
    server: Server, admin: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = server.member("late@example.com")
    path = f"/users/{session.get('/auth/me').json()['id']}"
    number_of = api_key_repository.number_of

    async def after_the_disabling(*given: Any) -> int | None:
        await asyncio.to_thread(admin.patch, path, json={"disabled": True})
        await asyncio.to_thread(admin.patch, path, json={"disabled": False})
        return await number_of(*given)

    monkeypatch.setattr(api_key_repository, "number_of", after_the_disabling)
    refused = session.post("/auth/api-keys", json={"name": "k", "scopes": ["records:read"]})
    assert refused.json()["code"] == "invalid_token"


def test_a_key_for_users_is_not_limited_to_collections(admin: httpx.Client) -> None:
    key = {"name": "k", "scopes": ["records:read", "users:admin"], "collections": ["one"]}
    refused = admin.post("/auth/api-keys", json=key)
    assert refused.status_code == 422
    assert refused.json()["errors"][0]["pointer"] == "/collections"
