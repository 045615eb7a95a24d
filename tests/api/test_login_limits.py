"""Guessing passwords: counted per address and per account, and closed registration."""

from __future__ import annotations

from itertools import count
from typing import TYPE_CHECKING

import pytest
from prometheus_client import REGISTRY

from fixtures.server import PASSWORD, serving, settings

if TYPE_CHECKING:
    from collections.abc import Iterator

    import httpx

    from fixtures.server import Server

LIMIT = 3
_addresses = (f"198.51.{number // 250}.{number % 250 + 1}" for number in count())


@pytest.fixture(scope="module")
def server(database_url: str) -> Iterator[Server]:
    configured = settings(
        database_url,
        rate_limit_login=f"{LIMIT}/hour",
        trusted_proxies=("127.0.0.0/8",),
        registration="closed",
    )
    with serving(configured) as running:
        yield running


def attempt(server: Server, email: str, address: str | None = None) -> httpx.Response:
    """A try with a wrong password, from a fresh address unless one is given."""
    return server.client().post(
        "/auth/login",
        json={"email": email, "password": "a wrong guess"},
        headers={"X-Forwarded-For": address or next(_addresses)},
    )


def test_guesses_at_an_account_count_over_all_addresses(server: Server) -> None:
    spelled = ["jos\u00e9@example.com", "JOSE\u0301@Example.com", " jos\u00e9@example.com"]
    answers = [attempt(server, email).status_code for email in spelled]
    assert answers == [401] * LIMIT
    hashed = REGISTRY.get_sample_value("listo_password_hash_seconds_count")
    refused = attempt(server, spelled[0])
    assert refused.status_code == 429
    assert refused.json()["code"] == "rate_limited"
    assert refused.json()["violated-policies"] == ["login-account"]
    assert 1 <= int(refused.headers["retry-after"]) <= 3600 / LIMIT
    # A refused try costs nothing.
    assert REGISTRY.get_sample_value("listo_password_hash_seconds_count") == hashed
    assert attempt(server, "josefa@example.com").status_code == 401


def test_guesses_from_an_address_count_over_all_accounts(server: Server) -> None:
    address = next(_addresses)
    answers = [attempt(server, f"many{n}@example.com", address) for n in range(LIMIT + 1)]
    assert [answer.status_code for answer in answers] == [401] * LIMIT + [429]
    assert answers[-1].json()["violated-policies"] == ["login"]
    assert attempt(server, "many0@example.com").status_code == 401


def test_an_ipv6_subscriber_counts_as_one(server: Server) -> None:
    answers = [attempt(server, f"six{n}@example.com", f"2001:db8::{n}") for n in range(LIMIT + 1)]
    assert [answer.status_code for answer in answers] == [401] * LIMIT + [429]


def test_registration_and_changes_of_passwords_are_counted(server: Server) -> None:
    address = next(_addresses)
    body = {"email": "new@example.com", "password": PASSWORD}
    for _ in range(LIMIT):
        response = server.client().post(
            "/auth/register", json=body, headers={"X-Forwarded-For": address}
        )
        assert response.status_code == 403
        assert response.json()["code"] == "registration_closed"
    assert attempt(server, "else@example.com", address).status_code == 429

    admin = server.admin()
    change = {"current_password": "a wrong guess", "new_password": PASSWORD}
    answers = [
        admin.post("/auth/password", json=change, headers={"X-Forwarded-For": next(_addresses)})
        for _ in range(LIMIT + 1)
    ]
    assert [answer.status_code for answer in answers] == [401] * LIMIT + [429]
