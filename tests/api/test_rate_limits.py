"""Limits as a client meets them."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from fastapi import Depends

from app.db import notifications
from app.ratelimit.dependencies import limit
from app.ratelimit.memory import MemoryLimiter
from fixtures.cluster import database
from fixtures.rules import ANYONE
from fixtures.server import serving, settings
from fixtures.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    import httpx

    from fixtures.server import Server

NOWHERE = "redis://127.0.0.1:1"


def define(admin: httpx.Client) -> None:
    """A collection `counted` that everybody may do everything in."""
    rules = ANYONE
    assert admin.put("/collections/counted", json={"schema": {}, "rules": rules}).is_success


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
    assert problem["type"] == "https://iana.org/assignments/http-problem-types#quota-exceeded"
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
        ("Forwarded", 'for="[2001:db8::{}]:4711";proto=https, for=192.0.2.{}'),
        ("X-Real-IP", "192.0.2.{}, 198.51.100.{}"),
    ],
)
def test_no_client_gets_more_by_claiming_another_address(
    limited: Server, name: str, value: str
) -> None:
    client = limited.client()
    answers = [
        client.get(
            "/collections/none/records", headers={name: value.format(number, number)}
        ).status_code
        for number in range(4)
    ]
    assert answers == [404, 404, 404, 429]


def test_wrong_credentials_count_as_anonymous(limited: Server) -> None:
    responses = [limited.client(f"token-{n}").get("/auth/me") for n in range(4)]
    assert [response.status_code for response in responses] == [401, 401, 401, 429]
    assert responses[0].headers["ratelimit"] == '"anonymous";r=2;t=1200'
    assert limited.client().get("/auth/me").status_code == 429


BATCH = {"operations": [{"op": "delete", "id": "01a00000-0000-7000-8000-000000000000"}] * 9}


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/collections/none/records", None),
        ("/collections/counted/records?count=exact", None),
        ("/collections/counted/records:batch", BATCH),
    ],
)
def test_a_client_that_waits_as_long_as_told_gets_through(
    database_url: str, path: str, body: dict[str, Any] | None
) -> None:
    with serving(settings(database_url, rate_limit_anonymous="7/minute, 60/hour")) as running:
        define(running.admin())
        now = 0
        running.app.state.services = replace(running.services, limiter=MemoryLimiter(lambda: now))
        client = running.client()

        def ask() -> httpx.Response:
            response = client.request("GET" if body is None else "POST", path, json=body)
            assert response.status_code in (200, 404, 429)
            return response

        for _ in range(12):
            while (refused := ask()).status_code != 429:
                now += 700_001
            if body is None:
                # Batches differ: the size of a refused batch is unknown, since it is not read.
                now += (int(refused.headers["retry-after"]) - 1) * 1_000_000
                refused = ask()
                assert refused.status_code == 429
            # If only its count was refused, the request counted for one.
            now += int(refused.headers["retry-after"]) * 1_000_000
            assert ask().status_code != 429


def test_limits_that_are_off_tell_nothing(database_url: str) -> None:
    with serving(settings(database_url)) as lifted:
        off = Depends(limit("off", name="reports"))
        lifted.app.get("/reports", dependencies=[off])(lambda: "a report")
        answers = [lifted.client().get(path) for path in ("/auth/me", "/reports")]
    assert [answer.status_code for answer in answers] == [401, 200]
    for answer in answers:
        assert not {"ratelimit", "ratelimit-policy", "retry-after"} & answer.headers.keys()


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
        # The nearest proxy's own entry is the last; the client's claims stand left of it.
        ["192.0.2.1", "10.1.1.1, 192.0.2.1", "evil, 192.0.2.1", "192.0.2.1, 198.51.100.7"],
        ["2001:db8::1", "2001:db8::2", "2001:db8:0:0:ffff::3"],
        ["::ffff:192.0.2.1", "192.0.2.1", "::FFFF:192.0.2.1"],
        # Without an address of a client the request is the proxy's own.
        ["", "evil", "192.0.2.1:http", "unknown"],
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
        # Proxies are trusted in this field only.
        for other in ("X-Real-IP", "Forwarded", "X-Client-IP"):
            header[other] = f"for=198.51.100.{number}"
            assert client.get("/auth/me", headers=header).status_code == 429
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


@pytest.mark.parametrize("path", ["/", "/health", "/health/ready", "/metrics", "/docs"])
def test_probes_metrics_and_pages_are_not_counted(limited: Server, path: str) -> None:
    for _ in range(5):
        response = limited.client().get(path)
        assert response.status_code == (307 if path == "/" else 200)
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


def left(response: httpx.Response) -> int:
    assert response.headers["ratelimit"].count('"user"') == 1
    return int(response.headers["ratelimit"].split(";")[1].removeprefix("r="))


@pytest.fixture(scope="module")
def costing(cluster_url: str) -> Iterator[httpx.Client]:
    """A member whose limit gives back no request during a test."""
    with (
        database(cluster_url) as url,
        serving(settings(url, rate_limit_user="10000/day")) as running,
    ):
        define(running.admin())
        yield running.member("costs@example.com")


def operations(op: str, number: int) -> list[dict[str, Any]]:
    record = {"id": "01a00000-0000-7000-8000-000000000000"}
    return [{"op": op, **({"data": {}} if op == "create" else record)}] * number


@pytest.mark.parametrize(
    ("path", "body", "cost"),
    [
        ("", None, 1),
        ("?count=none", None, 1),
        ("?count=estimated", None, 1),
        ("?count=exact", None, 10),
        ("?count=%65xact&limit=1", None, 10),
        # Refused before records are counted.
        ("?count=exact&limit=0", None, 1),
        (":batch", operations("create", 10), 1),
        (":batch", operations("create", 11), 2),
        (":batch", operations("create", 1000), 100),
        (":batch", operations("delete", 2), 1),
        (":batch", operations("delete", 1000), 500),
        (":batch", operations("create", 15) + operations("delete", 3), 4),
        # A list of operations that is too long is refused as a whole.
        (":batch", operations("create", 1001), 1),
    ],
)
def test_requests_that_cost_more_count_for_more(
    costing: httpx.Client, path: str, body: list[dict[str, Any]] | None, cost: int
) -> None:
    before = left(costing.get("/auth/me"))
    method = "GET" if body is None else "POST"
    json = None if body is None else {"operations": body}
    response = costing.request(method, "/collections/counted/records" + path, json=json)
    assert response.status_code in (200, 404, 400, 422), response.text
    assert before - left(response) == cost
    assert before - left(costing.get("/auth/me")) == cost + 1


def test_an_estimate_that_has_to_count_costs_as_much_as_a_count(database_url: str) -> None:
    with serving(settings(database_url, rate_limit_user="100/day")) as running:
        body = {"schema": {}, "rules": {"list": "owner = @user.id"}}
        admin, ada = running.admin(), running.member("estimates@example.com")
        assert admin.put("/collections/own", json=body).is_success
        for client, cost in ((admin, 1), (ada, 10)):
            before = left(client.get("/auth/me"))
            assert before - left(client.get("/collections/own/records?count=estimated")) == cost


def test_a_batch_beyond_the_limit_is_not_done(database_url: str) -> None:
    with serving(settings(database_url, rate_limit_user="9/day")) as running:
        define(running.admin())
        client = running.member("batches@example.com")
        path = "/collections/counted/records"
        done, refused = (
            client.post(f"{path}:batch", json={"operations": operations("create", number)})
            for number in (70, 30)
        )
        assert done.status_code == 200
        assert refused.status_code == 429
        assert refused.json()["violated-policies"] == ["user"]
        assert running.admin().get(f"{path}?count=estimated&limit=71").json()["next"] is None


def test_guessing_at_the_document_is_counted(limited: Server) -> None:
    codes = [limited.client(f"lk_{n:043}").get("/openapi.json").status_code for n in range(4)]
    assert codes == [401, 401, 401, 429]


def test_without_redis_the_servers_share_the_limit(
    cluster_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(notifications, "CHECK_SECONDS", 0.02)
    with database(cluster_url) as url:
        configured = settings(url, redis_url=NOWHERE, rate_limit_anonymous="10/hour")
        with serving(configured) as one, serving(configured) as two:
            both = [each.services.database.notifications for each in (one, two)]
            wait_until(lambda: {each.listeners for each in both} == {2})
            codes = [
                server.client().get("/collections/none/records").status_code
                for server in (one, two)
                for _ in range(8)
            ]
        assert codes == ([404] * 5 + [429] * 3) * 2
