"""Sessions: refreshing with rotation, and their end, which is effective immediately."""

from __future__ import annotations

import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any
from uuid import UUID

import jwt
import pytest

from app.worker import purge_refresh_tokens, purge_sessions
from fixtures.cluster import database, execute, fetch
from fixtures.server import PASSWORD, serving, settings

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    import httpx

    from fixtures.server import Server


@pytest.fixture
def tokens(server: Server, anonymous: httpx.Client, request: pytest.FixtureRequest) -> Any:
    """The tokens of a new user for this test."""
    email = f"{request.node.name[:40].replace('[', '-').replace(']', '')}@example.com"
    server.member(email)
    return anonymous.post("/auth/login", json={"email": email, "password": PASSWORD}).json()


def refresh(client: httpx.Client, token: str) -> httpx.Response:
    return client.post("/auth/refresh", json={"refresh_token": token})


def session_of(tokens: Any) -> str:
    claims = jwt.decode(tokens["access_token"], options={"verify_signature": False})
    return str(UUID(claims["sid"]))


def age(database_url: str, tokens: Any, interval: str) -> None:
    """Move the last use of the session's refresh tokens back by `interval`."""
    execute(
        database_url,
        f"UPDATE listo.refresh_tokens SET used_at = used_at - interval '{interval}'"
        f" WHERE session_id = '{session_of(tokens)}'",
    )


def test_a_login_gives_a_token_pair(server: Server, tokens: Any) -> None:
    assert tokens["token_type"] == "bearer"
    assert tokens["expires_in"] == server.settings.access_token_ttl
    assert tokens["refresh_token"].startswith("lr_")
    assert server.client(tokens["access_token"]).get("/auth/me").status_code == 200
    # A refresh token is no access token.
    assert server.client(tokens["refresh_token"]).get("/auth/me").status_code == 401


def test_refreshing_goes_on_with_the_session(
    server: Server, anonymous: httpx.Client, tokens: Any
) -> None:
    seen = {tokens["refresh_token"]}
    present = tokens
    for _ in range(3):
        response = refresh(anonymous, present["refresh_token"])
        assert response.status_code == 200
        present = response.json()
        assert session_of(present) == session_of(tokens)
        assert present["refresh_token"] not in seen
        seen.add(present["refresh_token"])
        assert server.client(present["access_token"]).get("/auth/me").status_code == 200


def test_parallel_tabs_may_use_a_token_for_ten_seconds(
    server: Server, anonymous: httpx.Client, database_url: str, tokens: Any
) -> None:
    first = refresh(anonymous, tokens["refresh_token"]).json()
    age(database_url, tokens, "9 seconds")
    second = refresh(anonymous, tokens["refresh_token"])
    assert second.status_code == 200
    # Both token pairs continue to work.
    for granted in (first, second.json()):
        assert refresh(anonymous, granted["refresh_token"]).status_code == 200
        assert server.client(granted["access_token"]).get("/auth/me").status_code == 200


def test_a_token_may_be_used_by_many_at_the_same_moment(
    server: Server, anonymous: httpx.Client, tokens: Any
) -> None:
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(refresh, [anonymous] * 8, [tokens["refresh_token"]] * 8))
    assert [answer.status_code for answer in answers] == [200] * 8
    given = {answer.json()["refresh_token"] for answer in answers}
    assert len(given) == 8
    for token in given:
        assert refresh(anonymous, token).status_code == 200


def test_a_stolen_token_ends_the_session_for_thief_and_owner(
    server: Server, anonymous: httpx.Client, database_url: str, tokens: Any
) -> None:
    owner = refresh(anonymous, tokens["refresh_token"]).json()
    client = server.client(owner["access_token"])
    assert client.get("/auth/me").status_code == 200
    age(database_url, tokens, "11 seconds")
    stolen = refresh(anonymous, tokens["refresh_token"])
    assert stolen.status_code == 401
    assert stolen.json()["code"] == "invalid_token"
    assert client.get("/auth/me").status_code == 401
    assert refresh(anonymous, owner["refresh_token"]).status_code == 401
    assert refresh(anonymous, tokens["refresh_token"]).status_code == 401


def test_using_a_token_again_and_again_does_not_lengthen_the_grace(
    anonymous: httpx.Client, database_url: str, tokens: Any
) -> None:
    for _ in range(2):
        assert refresh(anonymous, tokens["refresh_token"]).status_code == 200
        age(database_url, tokens, "6 seconds")
    assert refresh(anonymous, tokens["refresh_token"]).status_code == 401


def test_logout_is_effective_at_once(server: Server, anonymous: httpx.Client, tokens: Any) -> None:
    client = server.client(tokens["access_token"])
    assert client.get("/auth/me").status_code == 200
    assert client.post("/auth/logout").status_code == 204
    answer = client.get("/auth/me")
    assert answer.status_code == 401
    assert 'error="invalid_token"' in answer.headers["www-authenticate"]
    assert client.post("/auth/logout").status_code == 401
    assert refresh(anonymous, tokens["refresh_token"]).status_code == 401


def test_logout_ends_no_other_session(server: Server) -> None:
    here, there = server.member("two@example.com"), server.login("two@example.com")
    assert here.post("/auth/logout").status_code == 204
    assert there.get("/auth/me").status_code == 200


def test_a_disabled_user_is_out_at_once(
    server: Server, admin: httpx.Client, anonymous: httpx.Client, tokens: Any
) -> None:
    client = server.client(tokens["access_token"])
    path = f"/users/{client.get('/auth/me').json()['id']}"
    assert admin.patch(path, json={"disabled": True}).json()["disabled"] is True
    assert client.get("/auth/me").status_code == 401
    assert refresh(anonymous, tokens["refresh_token"]).status_code == 401
    # Enabling does not bring the sessions back.
    assert admin.patch(path, json={"disabled": False}).json()["disabled"] is False
    assert client.get("/auth/me").status_code == 401
    assert refresh(anonymous, tokens["refresh_token"]).status_code == 401


def test_an_expired_session_cannot_be_refreshed(
    anonymous: httpx.Client, database_url: str, tokens: Any
) -> None:
    query = f"UPDATE listo.sessions SET expires_at = now() WHERE id = '{session_of(tokens)}'"
    execute(database_url, query)
    assert refresh(anonymous, tokens["refresh_token"]).status_code == 401


def test_refreshing_lengthens_the_session(
    anonymous: httpx.Client, database_url: str, tokens: Any
) -> None:
    query = f"FROM listo.sessions WHERE id = '{session_of(tokens)}'"
    execute(
        database_url,
        "UPDATE listo.sessions SET expires_at = now() + interval '1 minute'"
        f" WHERE id = '{session_of(tokens)}'",
    )
    refresh(anonymous, tokens["refresh_token"])
    assert fetch(database_url, f"SELECT expires_at > now() + interval '29 days' {query}")[0][0]


def test_a_remembered_token_costs_no_statement(server: Server, tokens: Any) -> None:
    client = server.client(tokens["access_token"])
    server.statements.clear()
    assert client.get("/nothing").status_code == 404
    assert len(server.statements) == 1
    server.statements.clear()
    for _ in range(5):
        assert client.get("/nothing").status_code == 404
    assert server.statements == []


def test_nothing_is_remembered_while_no_notifications_come(
    server: Server, tokens: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = server.client(tokens["access_token"])
    monkeypatch.setattr(type(server.services.database.notifications), "trusted", False)
    for _ in range(2):
        server.statements.clear()
        assert client.get("/nothing").status_code == 404
        assert len(server.statements) == 1


def test_a_message_of_another_process_ends_a_session(
    server: Server, admin: httpx.Client, database_url: str, tokens: Any
) -> None:
    client = server.client(tokens["access_token"])
    assert client.get("/auth/me").status_code == 200
    # Another process does so in a transaction.
    execute(
        database_url,
        f"UPDATE listo.sessions SET revoked_at = now() WHERE id = '{session_of(tokens)}';"
        f"SELECT pg_notify('listo', 'other:session:{session_of(tokens)}')",
    )
    # Messages come in order: a later message shows that this one has come.
    received: list[str] = []
    server.services.database.notifications.subscribe("test", received.append, lambda: None)
    execute(database_url, "SELECT pg_notify('listo', 'other:test:x')")
    for _ in range(2000):
        if received:
            break
        admin.get("/auth/me")
    assert received
    assert client.get("/auth/me").status_code == 401


def run(server: Server, work: Callable[..., Awaitable[int]]) -> int:
    """Run a duty of the worker in the server's loop, since the pool is bound to that."""
    path = f"/test/{work.__name__}"

    @server.app.post(path)
    async def duty() -> int:
        return await work(server.services.database, server.settings)

    count: int = server.client().post(path).json()
    return count


def test_tokens_and_sessions_that_ended_long_ago_are_purged(
    server: Server, anonymous: httpx.Client, database_url: str, tokens: Any
) -> None:
    present = refresh(anonymous, tokens["refresh_token"]).json()
    age(database_url, tokens, "31 days")
    assert run(server, purge_refresh_tokens) == 1
    assert refresh(anonymous, tokens["refresh_token"]).status_code == 401
    # The session itself continues.
    assert refresh(anonymous, present["refresh_token"]).status_code == 200
    id_ = session_of(tokens)
    execute(
        database_url,
        f"UPDATE listo.sessions SET revoked_at = now() - interval '8 days' WHERE id = '{id_}'",
    )
    assert run(server, purge_sessions) == 1
    assert not fetch(database_url, f"SELECT 1 FROM listo.sessions WHERE id = '{id_}'")
    assert not fetch(database_url, f"SELECT 1 FROM listo.refresh_tokens WHERE session_id = '{id_}'")


@pytest.mark.parametrize(
    "head", ["POST /auth/api-keys", "PATCH /users/01a00000-0000-7000-8000-000000000000"]
)
def test_slow_bodies_hold_no_connection(server: Server, admin: httpx.Client, head: str) -> None:
    address = ("127.0.0.1", int(server.url.rsplit(":", 1)[1]))
    token = admin.headers["authorization"]
    peers = [socket.create_connection(address) for _ in range(server.settings.database_pool_size)]
    try:
        for peer in peers:
            peer.sendall(
                f"{head} HTTP/1.1\r\nHost: x\r\nAuthorization: {token}\r\nExpect: 100-continue\r\n"
                "Content-Type: application/json\r\nContent-Length: 100\r\n\r\n".encode()
            )
            # The server waits for the body.
            assert peer.recv(100).startswith(b"HTTP/1.1 100")
        assert admin.get("/users", timeout=4).status_code == 200
    finally:
        for peer in peers:
            peer.close()


def test_passwords_that_are_hashed_hold_no_connection(
    cluster_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    most = 3
    hashing, go_on = threading.Semaphore(0), threading.Event()
    with (
        database(cluster_url) as url,
        serving(settings(url, database_pool_size=most)) as server,
        ThreadPoolExecutor(most) as pool,
    ):
        admin = server.admin()
        members = [server.member(f"m{number}@example.com") for number in range(most)]
        passwords = server.services.passwords
        ask = passwords._ask

        def held(password: str, hashed: str | None) -> Any:
            hashing.release()
            assert go_on.wait(60)
            return ask(password, hashed)

        monkeypatch.setattr(passwords, "_ask", held)
        body = {"current_password": PASSWORD, "new_password": f"{PASSWORD} now"}

        def change(member: httpx.Client) -> httpx.Response:
            key = {"Idempotency-Key": "the-new-password"}
            return member.post("/auth/password", json=body, headers=key)

        waiting = [pool.submit(change, member) for member in members]
        try:
            assert all(hashing.acquire(timeout=60) for _ in members)
            assert admin.get("/users").status_code == 200
        finally:
            go_on.set()
        assert [each.result().status_code for each in waiting] == [204] * most
        again = change(members[0])
        assert (again.status_code, again.headers["idempotency-replayed"]) == (204, "true")
