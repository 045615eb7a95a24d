"""The rate limit of an API key, and the maximum number of API keys for each user."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from fixtures.api_keys import READ, make
from fixtures.cluster import database, execute
from fixtures.server import serving, settings

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fixtures.server import Server


@pytest.fixture(scope="module")
def keyed(cluster_url: str) -> Iterator[Server]:
    """A server with limited API keys, three for each user."""
    with database(cluster_url) as url:
        configured = settings(url, rate_limit_api_key="2/second, 60/hour", api_keys_per_user=3)
        with serving(configured) as server:
            yield server


def test_a_key_has_the_limit_that_it_was_given(keyed: Server) -> None:
    client = keyed.member("own@example.com")
    made = make(client, READ, rate_limit="2/hour")
    assert made["rate_limit"] == "2/hour"
    assert client.get("/auth/api-keys").json()["items"][0]["rate_limit"] == "2/hour"
    key = keyed.client(made["key"])
    answers = [key.get("/auth/me") for _ in range(3)]
    assert [answer.status_code for answer in answers] == [200, 200, 429]
    assert answers[0].headers["ratelimit-policy"] == '"api_key";q=2;w=3600'
    assert answers[2].json()["violated-policies"] == ["api_key"]
    other = keyed.client(make(client, READ)["key"]).get("/auth/me")
    assert other.headers["ratelimit-policy"] == '"api_key";q=2;w=1, "api_key";q=60;w=3600'


@pytest.mark.parametrize(
    ("rate_limit", "status"),
    [
        ("2/second, 60/hour", 201),
        ("1/minute", 201),
        ("2/second, 1/hour", 201),
        ("60/hour", 403),
        ("2/second", 403),
        ("3/second, 60/hour", 403),
        ("1/second, 61/hour", 403),
        ("off", 403),
    ],
)
def test_only_admins_give_keys_more_than_the_usual_limit(
    keyed: Server, rate_limit: str, status: int
) -> None:
    body = {"name": "x", "scopes": [READ], "rate_limit": rate_limit}
    for client, expected in (
        (keyed.member("more@example.com"), status),
        (keyed.admin(), 201),
    ):
        response = client.post("/auth/api-keys", json=body)
        assert response.status_code == expected, response.text
        if expected == 201:
            fields = keyed.client(response.json()["key"]).get("/auth/me").headers
            assert ("ratelimit" in fields) is (rate_limit != "off")
            client.delete(f"/auth/api-keys/{response.json()['id']}")
        else:
            assert response.json()["code"] == "rate_limit_not_held"
            assert "2/second, 60/hour" in response.json()["detail"]


@pytest.mark.parametrize(
    "rate_limit",
    [
        "",
        "often",
        "0/second",
        "1/second,",
        5,
        "1/second," * 20,
        "1/2 days",
        "1/25 hours",
        "9/second, 8/minute, 7/hour, 6/day",
    ],
)
def test_an_invalid_limit_is_refused(keyed: Server, rate_limit: object) -> None:
    body = {"name": "x", "scopes": [READ], "rate_limit": rate_limit}
    response = keyed.member("none@example.com").post("/auth/api-keys", json=body)
    assert response.status_code == 422
    assert response.json()["errors"][0]["pointer"] == "/rate_limit"


def test_a_user_has_at_most_three_valid_keys(keyed: Server) -> None:
    client = keyed.member("many@example.com")
    with ThreadPoolExecutor(8) as pool:
        body = {"name": "x", "scopes": [READ]}
        answers = list(pool.map(lambda _: client.post("/auth/api-keys", json=body), range(8)))
    assert sorted(answer.status_code for answer in answers) == [201] * 3 + [409] * 5
    assert {a.json()["code"] for a in answers if a.status_code == 409} == {"too_many_api_keys"}
    kept, gone, *_ = client.get("/auth/api-keys").json()["items"]
    client.delete(f"/auth/api-keys/{gone['id']}")
    make(client, READ)
    url = keyed.settings.database_url.get_secret_value()
    execute(url, f"UPDATE listo.api_keys SET expires_at = now() WHERE id = '{kept['id']}'")
    make(client, READ)
    # Expired keys do not count.
    assert len(client.get("/auth/api-keys").json()["items"]) == 3
    assert client.post("/auth/api-keys", json=body).status_code == 409
