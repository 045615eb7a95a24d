"""Wrong passwords delay the next try, but strangers cannot lock owners out of known addresses."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import count
from threading import Event, Semaphore
from typing import TYPE_CHECKING, Any

import pytest
from prometheus_client import REGISTRY

from app.core.errors import Overloaded
from app.throttling.memory import MemoryLoginThrottle
from fixtures.cluster import database
from fixtures.server import PASSWORD, serving, settings

if TYPE_CHECKING:
    from collections.abc import Iterator

    import httpx

    from fixtures.server import Server

BUDGET = 40
FREE = 5
FREE_FROM_ANYWHERE = 20
_addresses = (f"203.0.{number // 250}.{number % 250 + 1}" for number in count())


@pytest.fixture(scope="module")
def server(database_url: str) -> Iterator[Server]:
    configured = settings(
        database_url,
        rate_limit_login=f"{BUDGET}/hour",
        trusted_proxies=("127.0.0.0/8",),
        registration="closed",
    )
    with serving(configured) as running:
        yield running


def attempt(
    server: Server, email: str, address: str, guess: str = "a wrong guess"
) -> httpx.Response:
    return server.client().post(
        "/auth/login",
        json={"email": email, "password": guess},
        headers={"X-Forwarded-For": address},
    )


def member(server: Server, name: str) -> tuple[str, str]:
    """The email of a new user named `name`, and the IP address of the user's first log-in."""
    email, home = f"{name}@example.com", next(_addresses)
    server.admin().post("/users", json={"email": email, "password": PASSWORD, "roles": ["member"]})
    assert attempt(server, email, home, PASSWORD).status_code == 200
    return email, home


def hashed() -> float | None:
    return REGISTRY.get_sample_value("listo_password_hash_seconds_count")


@pytest.fixture
def timeless(server: Server) -> Iterator[Server]:
    """Stop the throttle's clock: on a slow machine a hash takes longer than the first wait."""
    before = server.services
    server.app.state.services = replace(before, login_throttle=MemoryLoginThrottle(lambda: 0))
    yield server
    server.app.state.services = before


def test_the_sixth_guess_waits_and_costs_nothing_whether_or_not_the_user_exists(
    timeless: Server,
) -> None:
    server, told = timeless, []
    for email in (member(server, "exists")[0], "nobody@example.com"):
        address = next(_addresses)
        answers = [attempt(server, email, address).status_code for _ in range(FREE)]
        assert answers == [401] * FREE
        before = hashed()
        refused = attempt(server, email, address, PASSWORD)
        assert refused.status_code == 429
        assert refused.headers["retry-after"] == "1"
        assert hashed() == before
        told.append({**refused.json(), "request_id": None})
    assert told[0]["code"] == "too_many_guesses"
    assert told[0] == told[1]


def test_of_fifty_guesses_at_once_most_are_refused(server: Server) -> None:
    address = next(_addresses)
    with ThreadPoolExecutor(50) as pool:
        answers = list(
            pool.map(lambda _: attempt(server, "at-once@example.com", address), range(50))
        )
    # A slow machine may get beyond the first second, and then one more is due.
    guessed = sum(answer.status_code == 401 for answer in answers)
    assert FREE <= guessed <= FREE + 2
    assert sum(answer.status_code == 429 for answer in answers) == 50 - guessed


def test_strangers_cannot_lock_out_the_owner(timeless: Server) -> None:
    email, home = member(timeless, "victim")
    answers = [
        attempt(timeless, email, next(_addresses)).status_code
        for _ in range(FREE_FROM_ANYWHERE + 1)
    ]
    assert answers[:FREE_FROM_ANYWHERE] == [401] * FREE_FROM_ANYWHERE
    assert answers[-1] == 429
    assert attempt(timeless, email, home, PASSWORD).status_code == 200


def test_a_used_up_limit_of_the_account_does_not_lock_out_the_owner(server: Server) -> None:
    email, home = member(server, "budget")
    body = {"email": email, "password": PASSWORD}
    for _ in range(BUDGET):
        server.client().post(
            "/auth/register", json=body, headers={"X-Forwarded-For": next(_addresses)}
        )
    stranger = attempt(server, email, next(_addresses), PASSWORD)
    assert stranger.json()["code"] == "rate_limited"
    assert attempt(server, email, home, PASSWORD).status_code == 200


def test_an_email_that_mimics_a_counter_does_not_lock_out_the_owner(server: Server) -> None:
    email, home = member(server, "named")
    for _ in range(FREE_FROM_ANYWHERE):
        attempt(server, f"{email} {home}", next(_addresses))
    for _ in range(BUDGET - FREE_FROM_ANYWHERE + 1):
        assert attempt(server, email, home, PASSWORD).status_code == 200


def test_the_right_password_forgives_the_wrong_ones(server: Server) -> None:
    email, home = member(server, "clumsy")
    for _ in range(2):
        answers = [attempt(server, email, home).status_code for _ in range(FREE - 1)]
        assert answers == [401] * (FREE - 1)
        assert attempt(server, email, home, PASSWORD).status_code == 200


def test_a_password_that_was_not_checked_is_no_guess(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = next(_addresses)

    async def busy(*_: object) -> bool:
        raise Overloaded

    with monkeypatch.context() as patch:
        patch.setattr(server.services.passwords, "verify", busy)
        answers = [attempt(server, "busy@example.com", address) for _ in range(FREE + 1)]
        assert [answer.status_code for answer in answers] == [503] * (FREE + 1)
    assert attempt(server, "busy@example.com", address).status_code == 401


def test_a_full_queue_of_passwords_turns_log_ins_away_unread(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(server.services.passwords, "_limit", 0)
        refused = server.client().post("/auth/login", content=b"{")
        assert refused.status_code == 503
        assert refused.json()["code"] == "overloaded"
        assert int(refused.headers["retry-after"]) >= 1
        # Other requests do not wait for password hashes.
        refreshed = server.client().post("/auth/refresh", json={"refresh_token": "unknown"})
        assert refreshed.status_code == 401
    assert server.client().post("/auth/login", content=b"{").status_code == 400


def test_no_more_log_ins_are_let_in_than_the_queue_holds(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Log-ins on their way to the queue count as well; later ones are not even read."""
    waiting, release = Semaphore(0), Event()
    guesses = server.services.login_throttle
    begin = guesses.begin

    async def held_up(*given: str) -> Any:
        waiting.release()
        await asyncio.to_thread(release.wait)
        return await begin(*given)

    with monkeypatch.context() as patch, ThreadPoolExecutor(3) as pool:
        patch.setattr(server.services.passwords, "_limit", 3)
        patch.setattr(guesses, "begin", held_up)
        try:
            let_in = [
                pool.submit(attempt, server, "x@example.com", next(_addresses)) for _ in range(3)
            ]
            for _ in let_in:
                assert waiting.acquire(timeout=30)
            assert server.client().post("/auth/login", content=b"{").status_code == 503
        finally:
            release.set()
        assert [each.result().status_code for each in let_in] == [401] * 3
    assert server.client().post("/auth/login", content=b"{").status_code == 400


def test_changes_of_the_password_are_guesses_too(timeless: Server) -> None:
    email, home = member(timeless, "changes")
    token = attempt(timeless, email, home, PASSWORD).json()["access_token"]
    client = timeless.client(token)
    change = {"current_password": "a wrong guess", "new_password": PASSWORD}
    answers = [client.post("/auth/password", json=change) for _ in range(FREE + 1)]
    assert [answer.status_code for answer in answers] == [401] * FREE + [429]
    assert answers[-1].json()["code"] == "too_many_guesses"


def test_guesses_of_others_do_not_delay_a_change_of_the_password(server: Server) -> None:
    email, home = member(server, "id")
    client = server.client(attempt(server, email, home, PASSWORD).json()["access_token"])
    user = client.get("/auth/me").json()["id"]
    for _ in range(FREE_FROM_ANYWHERE):
        attempt(server, user, next(_addresses))
    change = {"current_password": PASSWORD, "new_password": PASSWORD}
    assert client.post("/auth/password", json=change).status_code == 204


def test_a_stolen_session_does_not_keep_the_owner_from_a_new_password(server: Server) -> None:
    email, home = member(server, "stolen")
    thief = server.client(attempt(server, email, home, PASSWORD).json()["access_token"])
    change = {"current_password": "a wrong guess", "new_password": PASSWORD}
    answers = []
    for _ in range(FREE_FROM_ANYWHERE + 8):
        from_anywhere = {"X-Forwarded-For": next(_addresses)}
        answers.append(thief.post("/auth/password", json=change, headers=from_anywhere))
    # Twenty guesses, and then the session is over.
    codes = [answer.json()["code"] for answer in answers]
    assert codes[:FREE_FROM_ANYWHERE] == ["invalid_credentials"] * FREE_FROM_ANYWHERE
    assert codes[FREE_FROM_ANYWHERE:] == ["invalid_token"] * 8
    owner = server.client(attempt(server, email, home, PASSWORD).json()["access_token"])
    change = {"current_password": PASSWORD, "new_password": "another long password"}
    assert owner.post("/auth/password", json=change).status_code == 204


def test_guesses_with_an_idempotency_key_end_the_session_too(server: Server) -> None:
    email, home = member(server, "stolen-key")
    thief = server.client(attempt(server, email, home, PASSWORD).json()["access_token"])
    for number in range(FREE_FROM_ANYWHERE):
        headers = {"X-Forwarded-For": next(_addresses), "Idempotency-Key": f"guess-{number}"}
        change = {"current_password": "a wrong guess", "new_password": PASSWORD}
        assert thief.post("/auth/password", json=change, headers=headers).status_code == 401
    assert thief.get("/auth/me").json()["code"] == "invalid_token"


def test_a_used_up_limit_does_not_keep_the_owner_from_a_new_password(cluster_url: str) -> None:
    with database(cluster_url) as url, serving(settings(url, rate_limit_user="5/hour")) as limited:
        email = "flooded@example.com"
        limited.client().post("/auth/register", json={"email": email, "password": PASSWORD})
        thief = limited.login(email)
        answers = [thief.get("/auth/me").status_code for _ in range(6)]
        assert answers == [200] * 5 + [429]
        owner = limited.login(email)
        assert owner.get("/auth/me").status_code == 429
        change = {"current_password": PASSWORD, "new_password": "another long password"}
        assert owner.post("/auth/password", json=change).status_code == 204
        assert thief.get("/auth/me").status_code == 401
        assert owner.post("/auth/logout").status_code == 204


def test_a_change_of_the_password_that_is_sent_again_is_no_guess(server: Server) -> None:
    email, home = member(server, "again")
    client = server.client(attempt(server, email, home, PASSWORD).json()["access_token"])
    for key in ("first-change", "second-change"):
        change = {"current_password": PASSWORD, "new_password": PASSWORD}
        for _ in range(FREE + 1):
            answer = client.post("/auth/password", json=change, headers={"Idempotency-Key": key})
            assert answer.status_code == 204
        assert answer.headers["idempotency-replayed"] == "true"


def test_a_change_of_the_password_with_a_used_key_is_still_a_guess(timeless: Server) -> None:
    email, home = member(timeless, "keyed")
    client = timeless.client(attempt(timeless, email, home, PASSWORD).json()["access_token"])

    def change(current: str) -> httpx.Response:
        body = {"current_password": current, "new_password": PASSWORD}
        return client.post("/auth/password", json=body, headers={"Idempotency-Key": "of-all"})

    assert change(PASSWORD).status_code == 204
    answers = [change(f"guess {number}") for number in range(FREE + 1)]
    assert [answer.status_code for answer in answers] == [422] * FREE + [429]
    assert answers[-1].json()["code"] == "too_many_guesses"


def test_an_ipv6_subscriber_counts_as_one(timeless: Server) -> None:
    answers = [attempt(timeless, "six@example.com", f"2001:db8:1::{n}") for n in range(FREE + 1)]
    assert [answer.status_code for answer in answers] == [401] * FREE + [429]
