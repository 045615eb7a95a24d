"""Limits as a client meets them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from app.ratelimit.memory import MemoryLimiter
from fixtures.server import serving, settings

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fixtures.server import Server


@pytest.fixture
def limited(database_url: str) -> Iterator[Server]:
    """A server that has counted nothing yet."""
    configured = settings(
        database_url,
        rate_limit_anonymous="3/hour",
        rate_limit_user="100/hour, 5/second",
    )
    with serving(configured) as running:
        yield running


def test_exactly_the_limit_passes_and_the_fields_tell(limited: Server) -> None:
    client = limited.client()
    responses = [client.get("/collections/none/records") for _ in range(4)]
    assert [response.status_code for response in responses] == [404, 404, 404, 429]
    assert {r.headers["ratelimit-policy"] for r in responses} == {'"anonymous";q=3;w=3600'}
    assert responses[0].headers["ratelimit"] == '"anonymous";r=2;t=1200'
    assert responses[2].headers["ratelimit"].startswith('"anonymous";r=0;t=')
    assert "retry-after" not in responses[2].headers
    problem = responses[3].json()
    assert problem["code"] == "rate_limited"
    assert problem["violated-policies"] == ["anonymous"]
    assert 1190 <= int(responses[3].headers["retry-after"]) <= 1200


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("X-Forwarded-For", "192.0.2.{}"),
        ("X-Forwarded-For", "192.0.2.{}:4711"),
        ("X-Forwarded-For", "127.0.0.1, 192.0.2.{}, ::1"),
        ("X-Real-IP", "192.0.2.{}"),
        ("Forwarded", "for=192.0.2.{}"),
    ],
)
def test_nobody_gets_more_by_saying_to_be_somebody_else(
    limited: Server, name: str, value: str
) -> None:
    client = limited.client()
    answers = [
        client.get("/collections/none/records", headers={name: value.format(number)}).status_code
        for number in range(4)
    ]
    assert answers == [404, 404, 404, 429]


def test_wrong_credentials_count_as_none(limited: Server) -> None:
    responses = [limited.client(f"token-{n}").get("/auth/me") for n in range(4)]
    assert [response.status_code for response in responses] == [401, 401, 401, 429]
    assert responses[0].headers["ratelimit"] == '"anonymous";r=2;t=1200'
    assert limited.client().get("/auth/me").status_code == 429


def test_who_waits_as_long_as_told_gets_through(limited: Server) -> None:
    now = 0
    limited.app.state.limiter = MemoryLimiter(lambda: now)
    client = limited.client()
    for _ in range(5):
        while (response := client.get("/auth/me")).status_code == 401:
            now += 700_001
        assert response.status_code == 429
        now += (int(response.headers["retry-after"]) - 1) * 1_000_000
        assert client.get("/auth/me").status_code == 429
        now += 1_000_000
        assert client.get("/auth/me").status_code == 401


def test_limits_that_are_off_tell_nothing(database_url: str) -> None:
    with serving(settings(database_url)) as lifted:
        headers = lifted.client().get("/auth/me").headers
    assert not {"ratelimit", "ratelimit-policy", "retry-after"} & headers.keys()


@pytest.fixture
def behind_proxies(database_url: str) -> Iterator[Server]:
    configured = settings(
        database_url,
        rate_limit_anonymous="2/hour",
        trusted_proxies=("127.0.0.1/32", "198.51.100.0/24"),
    )
    with serving(configured) as running:
        yield running


@pytest.mark.parametrize(
    "forwarded",
    [
        # What the nearest proxy saw; what its client claims stands left of it.
        ["192.0.2.1", "10.1.1.1, 192.0.2.1", "evil, 192.0.2.1", "192.0.2.1, 198.51.100.7"],
        ["2001:db8::1", "2001:db8::2", "2001:db8:0:0:ffff::3"],
        ["::ffff:192.0.2.1", "192.0.2.1", "::FFFF:192.0.2.1"],
        # No address of a client's at all: it is the proxy's own request.
        ["", "evil", "192.0.2.1:80", "unknown"],
    ],
)
def test_one_client_behind_proxies_has_one_limit(
    behind_proxies: Server, forwarded: list[str]
) -> None:
    client = behind_proxies.client()
    answers = [
        client.get("/auth/me", headers={"X-Forwarded-For": value}).status_code
        for value in forwarded
    ]
    assert answers == [401, 401, *[429] * (len(forwarded) - 2)]


def test_clients_behind_proxies_have_their_own_limits(behind_proxies: Server) -> None:
    client = behind_proxies.client()
    for number in range(10):
        for _ in range(2):
            header = {"X-Forwarded-For": f"203.0.113.9, 192.0.2.{number}"}
            assert client.get("/auth/me", headers=header).status_code == 401
    # Several fields are one list.
    fields = [("X-Forwarded-For", "192.0.2.99"), ("X-Forwarded-For", "192.0.2.1")]
    assert client.get("/auth/me", headers=fields).status_code == 429


def test_keys_are_counted_apart_and_users_over_all_sessions(database_url: str) -> None:
    configured = settings(database_url, rate_limit_user="9/hour", rate_limit_api_key="2/hour")
    with serving(configured) as running:
        here = running.member("counted@example.com")
        there = running.login("counted@example.com")
        keys = [
            here.post("/auth/api-keys", json={"name": "x", "scopes": ["records:read"]}).json()
            for _ in range(2)
        ]
        for key in keys:
            client = running.client(key["key"])
            responses = [client.get("/auth/me") for _ in range(3)]
            assert [response.status_code for response in responses] == [200, 200, 429]
            assert responses[0].headers["ratelimit-policy"] == '"api_key";q=2;w=3600'
            assert responses[2].json()["violated-policies"] == ["api_key"]
        left = here.get("/auth/me").headers["ratelimit"]
        assert left.startswith('"user";r=6;')
        assert there.get("/auth/me").headers["ratelimit"].startswith('"user";r=5;')


@pytest.mark.parametrize("path", ["/health", "/health/ready", "/metrics", "/docs", "/openapi.json"])
def test_probes_metrics_and_documents_are_not_counted(limited: Server, path: str) -> None:
    for _ in range(5):
        response = limited.client().get(path)
        assert response.status_code == 200
        assert "ratelimit" not in response.headers


def test_users_are_counted_apart_from_their_address(limited: Server) -> None:
    admin = limited.admin()
    assert admin.get("/auth/me").headers["ratelimit-policy"] == (
        '"user";q=100;w=3600, "user";q=5;w=1'
    )
    anonymous = limited.client()
    for _ in range(3):
        anonymous.get("/collections/none/records")
    assert anonymous.get("/collections/none/records").status_code == 429
    assert admin.get("/auth/me").status_code == 200
