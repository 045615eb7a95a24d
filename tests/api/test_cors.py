"""Pages of other origins: allowed origins, allowed requests, and readable answers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from app.core.errors import Overloaded
from fixtures.cluster import database
from fixtures.server import serving, settings

if TYPE_CHECKING:
    from collections.abc import Iterator

    import httpx

    from fixtures.server import Server

PAGE, OTHER = "https://app.example.com", "https://evil.example.com"
PATH = "/collections/x/records"


@pytest.fixture(scope="module")
def server(database_url: str) -> Iterator[Server]:
    """A server in production, where only named origins may call."""
    configured = settings(
        database_url,
        environment="production",
        cors_origins=(PAGE,),
        cors_headers=("X-Tenant",),
        max_body_bytes=2048,
    )
    with serving(configured) as running:

        @running.app.get("/fault")
        async def fault() -> None:
            raise RuntimeError("a fault of the test")

        @running.app.get("/full")
        async def full() -> None:
            raise Overloaded

        yield running


def preflight(
    client: httpx.Client, origin: str = PAGE, method: str = "PATCH", **more: str
) -> httpx.Response:
    asked = {"Origin": origin, "Access-Control-Request-Method": method}
    asked |= {f"Access-Control-Request-{name.replace('_', '-')}": more[name] for name in more}
    return client.options(PATH, headers=asked)


def test_a_page_of_a_named_origin_may_call(server: Server) -> None:
    client = server.client()
    asked = preflight(client, headers="If-Match")
    assert asked.status_code == 204
    assert asked.content == b""
    assert asked.headers["access-control-allow-origin"] == PAGE
    assert "access-control-allow-credentials" not in asked.headers
    assert asked.headers["x-request-id"]
    answer = client.get("/collections", headers={"Origin": PAGE})
    assert answer.headers["access-control-allow-origin"] == PAGE
    assert "etag" in answer.headers["access-control-expose-headers"].lower()


@pytest.mark.parametrize(
    ("method", "path", "more", "status"),
    [
        ("GET", "/fault", {}, 500),
        ("GET", "/full", {}, 503),
        ("POST", PATH, {"content": b"x" * 4096}, 413),
        ("GET", PATH, {"headers": {"X-Large": "x" * 40_000}}, 431),
        ("GET", "/collections?x=" + "x" * 20_000, {}, 414),
        ("GET", "/auth/me", {}, 401),
        ("GET", "/nowhere", {}, 404),
        ("GET", "/health", {}, 200),
    ],
)  # fmt: skip
def test_a_page_of_a_named_origin_can_read_every_answer(
    server: Server, method: str, path: str, more: dict[str, Any], status: int
) -> None:
    headers = {"Origin": PAGE, **more.pop("headers", {})}
    answer = server.client().request(method, path, headers=headers, **more)
    assert answer.status_code == status
    assert answer.headers.get_list("access-control-allow-origin") == [PAGE]
    assert "origin" in answer.headers["vary"].lower()
    assert answer.json()["code" if status != 200 else "status"]


def test_a_page_can_read_the_refusal_of_a_full_password_queue(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server.services.passwords, "_limit", 0)
    refused = server.client().post("/auth/login", json={}, headers={"Origin": PAGE})
    assert refused.status_code == 503
    assert refused.headers["access-control-allow-origin"] == PAGE


def test_a_cache_gives_no_page_the_answer_for_another(server: Server) -> None:
    client = server.client()
    for headers in ({}, {"Origin": OTHER}, {"Origin": PAGE}):
        answer = client.get("/collections", headers=headers)
        assert "origin" in answer.headers["vary"].lower()
    assert "access-control-allow-origin" not in client.get(
        "/collections", headers={"Origin": OTHER}
    ).headers  # fmt: skip


@pytest.mark.parametrize("name", ["tracestate", "baggage", "X-Requested-With", "x-tenant",
                                  "traceparent, Authorization,idempotency-key"])  # fmt: skip
def test_a_page_may_send_the_usual_and_named_headers(server: Server, name: str) -> None:
    assert preflight(server.client(), headers=name).status_code == 204


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"])
def test_a_page_may_use_all_methods(server: Server, method: str) -> None:
    assert preflight(server.client(), method=method).status_code == 204


@pytest.mark.parametrize(
    ("asked", "allowed", "told"),
    [
        ({"origin": OTHER}, None, "CORS_ORIGINS"),
        ({"origin": "http://localhost:3000"}, None, "CORS_ORIGINS"),
        ({"origin": "null"}, None, "CORS_ORIGINS"),
        ({"method": "TRACE"}, PAGE, "TRACE"),
        ({"headers": "X-Other"}, PAGE, "CORS_HEADERS"),
    ],
)
def test_a_refusal_is_a_problem(
    server: Server, asked: dict[str, str], allowed: str | None, told: str
) -> None:
    refused = preflight(server.client(), **asked)
    assert refused.status_code == 403
    assert refused.headers["content-type"] == "application/problem+json"
    assert refused.json()["code"] == "preflight_refused"
    assert told in refused.json()["detail"]
    assert refused.headers.get("access-control-allow-origin") == allowed
    assert "PATCH" in refused.headers["access-control-allow-methods"]
    assert "X-Tenant" in refused.headers["access-control-allow-headers"]
    assert "origin" in refused.headers["vary"].lower()


def test_a_named_origin_may_call_into_a_private_network(server: Server) -> None:
    allowed = preflight(server.client(), Private_Network="true")
    assert allowed.headers["access-control-allow-private-network"] == "true"


def test_in_development_local_pages_may_call(cluster_url: str) -> None:
    with database(cluster_url) as url:
        with serving(settings(url)) as server:
            client = server.client()
            for origin, status in (
                ("http://localhost:5173", 204),
                ("https://localhost", 204),
                ("http://app.localhost:3000", 204),
                ("http://127.0.0.1:8080", 204),
                ("http://[::1]:3000", 204),
                ("http://localhost.evil.example.com", 403),
                ("http://evil-localhost:3000", 403),
                ("http://127.0.0.1.evil.example.com", 403),
                (OTHER, 403),
            ):
                assert preflight(client, origin).status_code == status, origin
        with serving(settings(url, cors_origins=("*",))) as server:
            client = server.client()
            assert preflight(client, OTHER).headers["access-control-allow-origin"] == "*"
            answer = client.get("/collections", headers={"Origin": OTHER})
            assert answer.headers["access-control-allow-origin"] == "*"
            private = preflight(client, OTHER, Private_Network="true")
            assert private.status_code == 403


def test_in_production_only_named_origins_may_call(cluster_url: str) -> None:
    with database(cluster_url) as url, serving(settings(url, environment="production")) as server:
        client = server.client()
        for origin in (PAGE, "http://localhost:3000"):
            assert "access-control-allow-origin" not in preflight(client, origin).headers
            answer = client.get("/collections", headers={"Origin": origin})
            assert "access-control-allow-origin" not in answer.headers
