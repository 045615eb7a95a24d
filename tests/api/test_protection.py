"""Limits on bodies, headers, time and concurrency; security headers."""

from __future__ import annotations

import asyncio
import socket
import time
from typing import TYPE_CHECKING, Any

import asyncpg
import httpx
import pytest
from fastapi import Response

from app.db.dependencies import SessionDep
from fixtures.server import serving, settings

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fixtures.server import Server

# The only server of these tests: two servers on one database would need Redis.
TIGHT = {
    "max_body_bytes": 2048,
    "max_concurrent_requests": 2,
    "request_timeout": 0.5,
}

# More than the kernel buffers for a connection.
LARGE = bytes(range(256)) * 100_000


@pytest.fixture(scope="module")
def tight(database_url: str) -> Iterator[Server]:
    with serving(settings(database_url, **TIGHT)) as running:
        release = running.app.state.release = asyncio.Event()

        @running.app.get("/slow")
        async def slow() -> dict[str, Any]:
            await release.wait()
            return {}

        @running.app.get("/large")
        async def large() -> Response:
            return Response(LARGE)

        yield running


def test_a_body_that_says_it_is_too_large_is_not_read(tight: Server) -> None:
    with socket.create_connection(("127.0.0.1", int(tight.url.rsplit(":", 1)[1]))) as peer:
        peer.sendall(
            b"POST /auth/login HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
            b"Content-Length: 1000000000\r\n\r\n{"
        )
        answer = peer.recv(65536)
    assert answer.startswith(b"HTTP/1.1 413")
    assert b"application/problem+json" in answer
    assert b"connection: close" in answer.lower()


def test_a_body_that_grows_too_large_is_cut_off(tight: Server) -> None:
    def chunks() -> Iterator[bytes]:
        for _ in range(100):
            yield b" " * 100

    response = tight.client().post(
        "/auth/login", content=chunks(), headers={"Content-Type": "application/json"}
    )
    assert response.status_code == 413
    assert response.json()["code"] == "content_too_large"


@pytest.mark.parametrize(
    ("path", "field", "status"),
    [
        ("/auth/login", b"X-Nothing: 1", 413),
        ("/auth/api-keys", b"Idempotency-Key: without-end", 413),
        ("/nothing", b"X-Nothing: 1", 404),
        ("/health", b"X-Nothing: 1", 405),
    ],
)
def test_a_body_without_end_is_not_read_on_once_it_is_answered(
    tight: Server, path: str, field: bytes, status: int
) -> None:
    with socket.create_connection(("127.0.0.1", int(tight.url.rsplit(":", 1)[1])), 30) as peer:
        peer.sendall(
            b"POST %b HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n%b\r\n"
            b"Transfer-Encoding: chunked\r\n\r\n1000\r\n%b\r\n"
            % (path.encode(), field, b" " * 4096)
        )
        answer = b""
        while part := peer.recv(65536):
            answer += part
    assert answer.startswith(b"HTTP/1.1 %d" % status)
    assert b"connection: close" in answer.lower()


def test_a_body_in_chunks_that_ends_leaves_the_connection_open(tight: Server) -> None:
    response = tight.client().post(
        "/auth/login", content=iter([b"{", b"}"]), headers={"Content-Type": "application/json"}
    )
    assert response.status_code == 422
    assert "connection" not in response.headers


@pytest.mark.parametrize(
    ("headers", "path", "status"),
    [
        ({"X-Large": "x" * 40_000}, "/collections", 431),
        ({f"X-{n}": "1" for n in range(120)}, "/collections", 431),
        ({}, "/collections?x=" + "y" * 20_000, 414),
        ({}, "/" + "y" * 20_000, 414),
    ],
)
def test_heads_that_are_too_large_are_refused(
    tight: Server, headers: dict[str, str], path: str, status: int
) -> None:
    response = tight.client().get(path, headers=headers)
    assert response.status_code == status
    assert response.json()["status"] == status


def test_a_request_that_takes_too_long_is_given_up(tight: Server) -> None:
    response = tight.client().get("/slow")
    assert response.status_code == 503
    assert response.json()["code"] == "request_timeout"
    assert response.headers["retry-after"] == "1"
    # Its place is free again.
    assert tight.client().get("/collections").status_code == 200


def test_a_large_answer_arrives_whole(tight: Server) -> None:
    response = tight.client().get("/large")
    assert response.content == LARGE
    assert response.headers["content-length"] == str(len(LARGE))
    assert "transfer-encoding" not in response.headers


def test_a_large_answer_that_nobody_reads_is_in_work_until_it_is_given_up(
    tight: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    def sampled(name: str) -> float:
        lines = tight.client().get("/metrics").text.splitlines()
        return sum(float(line.split()[1]) for line in lines if line.startswith(name))

    def wait_for(name: str, value: float) -> None:
        deadline = time.monotonic() + 20
        while (found := sampled(name)) != value:
            assert time.monotonic() < deadline, (name, found)

    in_work = 'listo_requests_in_progress{importance="anonymous"}'
    given_up = 'listo_requests_shed_total{importance="anonymous",reason="timeout"}'
    wait_for(in_work, 0)
    before = sampled(given_up)
    with monkeypatch.context() as unhurried, socket.socket() as peer:
        unhurried.setattr(tight.services.deadlines, "_limit", 3600.0)
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        peer.settimeout(30)
        peer.connect(("127.0.0.1", int(tight.url.rsplit(":", 1)[1])))
        peer.sendall(b"GET /large HTTP/1.1\r\nHost: x\r\n\r\n")
        assert peer.recv(1024).startswith(b"HTTP/1.1 200")
        wait_for(in_work, 1)
        unhurried.undo()
        wait_for(in_work, 0)
        wait_for(given_up, before + 1)
        received = 0
        while part := peer.recv(65536):
            received += len(part)
    assert received < len(LARGE)


def test_an_index_is_built_beyond_the_requests_deadline(
    tight: Server, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    schema = {"type": "object"}
    with monkeypatch.context() as unhurried:
        unhurried.setattr(tight.services.deadlines, "_limit", 3600.0)
        admin = tight.admin()
        assert admin.put("/collections/late", json={"schema": schema}).status_code == 201

    async def hold() -> None:
        holder = await asyncpg.connect(database_url)
        async with holder.transaction():
            # A concurrent build waits for transactions that have written before it began.
            await holder.execute(
                "INSERT INTO records.late (id, data) VALUES (gen_random_uuid(), '{}')"
            )
            changed = await asyncio.to_thread(
                admin.put, "/collections/late", json={"schema": schema, "indexes": ["a"]}
            )
            assert changed.json()["indexes"][0]["state"] == "building"
            # By the end of this request the deadline of the change is over as well.
            slow = await asyncio.to_thread(tight.client().get, "/slow")
            assert slow.json()["code"] == "request_timeout"
        await holder.close()

    asyncio.run(hold())
    deadline = time.monotonic() + 20
    while admin.get("/collections/late").json()["indexes"][0]["state"] != "ready":
        assert time.monotonic() < deadline


def test_a_timeout_of_a_route_is_not_taken_for_one_of_the_database(tight: Server) -> None:
    @tight.app.get("/impatient")
    async def impatient(session: SessionDep) -> None:
        await session.execute("SELECT 1")
        raise TimeoutError("somebody else's")

    response = tight.client().get("/impatient")
    assert response.status_code == 500
    assert response.json()["code"] == "internal_error"


def test_requests_whose_turn_does_not_come_are_refused(
    tight: Server,
) -> None:
    async def burst() -> list[httpx.Response]:
        async with httpx.AsyncClient(base_url=tight.url, trust_env=False) as client:
            return await asyncio.gather(*(client.get("/slow") for _ in range(10)))

    responses = asyncio.run(burst())
    codes = [response.json()["code"] for response in responses]
    # Each request in work takes all of its time.
    assert set(codes) == {"overloaded", "request_timeout"}
    assert codes.count("request_timeout") >= 2
    assert all(1 <= int(response.headers["retry-after"]) <= 3 for response in responses)
    assert tight.client().get("/health").status_code == 200


@pytest.mark.parametrize("path", ["/collections", "/nothing", "/health", "/docs", "/openapi.json"])
def test_every_answer_has_security_headers(tight: Server, path: str) -> None:
    headers = tight.client().get(path).headers
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["x-frame-options"] == "DENY"
    assert headers["referrer-policy"] == "no-referrer"
    assert "default-src 'none'" in headers["content-security-policy"]
    assert headers["x-request-id"]


def test_a_client_that_goes_in_the_middle_of_its_body_is_no_error(
    tight: Server, caplog: pytest.LogCaptureFixture
) -> None:
    def gone() -> float:
        lines = tight.client().get("/metrics").text.splitlines()
        return sum(
            float(line.rpartition(" ")[2])
            for line in lines
            if line.startswith("http_request_duration_seconds_count") and 'status="499"' in line
        )

    before = gone()
    with socket.create_connection(("127.0.0.1", int(tight.url.rsplit(":", 1)[1]))) as peer:
        peer.sendall(
            b"POST /auth/login HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
            b"Content-Length: 100\r\n\r\n{"
        )
    deadline = time.monotonic() + 10
    while gone() == before:
        assert time.monotonic() < deadline
    assert "unhandled exception" not in caplog.text


def test_a_method_that_is_not_there_is_405(tight: Server) -> None:
    response = tight.client().delete("/collections")
    assert response.status_code == 405
    assert response.json()["code"] == "method_not_allowed"
    assert "GET" in response.headers["allow"]
