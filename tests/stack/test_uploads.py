"""Bodies that never end: one address can hold a part of the edge only, and others get answers."""

from __future__ import annotations

import contextlib
import select
import socket
import ssl
from contextlib import ExitStack
from typing import TYPE_CHECKING

import httpx
import pytest

from fixtures.stack import trust

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fixtures.stack import Stack

BODY = 10_485_760
UPLOADS = 40
# The maximum of large bodies that one address sends at the same time, as in servers.conf.
HELD = 16


def upload(stack: Stack, head: str, body: int) -> ssl.SSLSocket:
    """A request whose body lacks its end, so that it stays in work; its answer is unread."""
    url = httpx.URL(stack.url)
    raw = socket.create_connection((url.host, url.port or 443), timeout=30)
    sock = trust().wrap_socket(raw, server_hostname="localhost")
    # A refusal may close the connection before all is sent.
    with contextlib.suppress(ConnectionError, ssl.SSLError):
        sock.sendall(f"{head}\r\nHost: localhost\r\n\r\n".encode())
        for _ in range(body // 65_536):
            sock.sendall(b" " * 65_536)
    return sock


def answer(sock: ssl.SSLSocket) -> bytes:
    """The first bytes of the answer, or none while nginx waits for the rest of the body."""
    if not sock.pending() and not select.select([sock], [], [], 0.2)[0]:
        return b""
    try:
        return sock.recv(65_536)
    except (ConnectionError, ssl.SSLError):
        return b"HTTP/1.1 reset"


def kills(stack: Stack) -> int:
    (nginx,) = stack.containers("nginx")
    return stack.docker("logs", nginx["Name"]).count("exited on signal 9")


@pytest.fixture
def unharmed(stack: Stack) -> Iterator[None]:
    """nginx keeps running: the kernel kills neither nginx nor a worker process for its memory."""
    (nginx,) = stack.containers("nginx")
    before = (nginx["ID"], start_time(stack, nginx["Name"]), kills(stack))
    yield
    assert (nginx["ID"], start_time(stack, nginx["Name"]), kills(stack)) == before


def start_time(stack: Stack, name: str) -> str:
    return stack.docker("inspect", "--format", "{{.State.StartedAt}} {{.State.OOMKilled}}", name)


@pytest.mark.usefixtures("unharmed")
def test_unfinished_uploads_of_one_address_leave_room_for_others(
    stack: Stack, collection: str
) -> None:
    with ExitStack() as opened:
        # nginx holds all of these bytes, so that it does not time out while they are sent.
        for length, count in ((BODY, HELD), (200_000, UPLOADS - HELD)):
            head = f"POST /collections/{collection}/records HTTP/1.1\r\nContent-Length: {length}"
            sockets = [
                opened.enter_context(upload(stack, head, length - 65_536)) for _ in range(count)
            ]
        refused = [said for said in map(answer, sockets) if said.startswith(b"HTTP/1.1 429")]
        assert len(refused) == UPLOADS - HELD
        assert b"application/problem+json" in refused[0]
        with stack.admin() as admin:
            made = admin.post(f"/collections/{collection}/records", json={"n": 1})
            assert made.status_code == 201, made.text


@pytest.mark.usefixtures("unharmed")
def test_bodies_of_unknown_length_count_as_large(stack: Stack) -> None:
    head = "POST /collections/none/records HTTP/1.1\r\nTransfer-Encoding: chunked"
    with ExitStack() as opened:
        sockets = [opened.enter_context(upload(stack, head, 0)) for _ in range(UPLOADS)]
        refused = [sock for sock in sockets if answer(sock).startswith(b"HTTP/1.1 429")]
        assert len(refused) == UPLOADS - HELD


@pytest.mark.parametrize("method", ["GET", "DELETE"])
def test_a_method_that_needs_no_body_may_have_a_small_one_only(stack: Stack, method: str) -> None:
    """Over HTTP/2 a client need not tell the length of a body, so it could be of any size."""

    def outcome(size: int) -> str:
        (nginx,) = stack.containers("nginx")
        send = f"head -c {size} /dev/zero | curl -sk --http2 -X {method} -T - -o /dev/null"
        url = "https://127.0.0.1:8443/collections/none/records/x"
        write = "%{http_version} %{http_code}"
        return stack.docker("exec", nginx["Name"], "sh", "-c", f"{send} -w '{write}' {url}")

    assert outcome(16_384) in ("2 401", "2 404")
    assert outcome(1_048_576) == "2 413"


def test_a_large_body_to_log_in_with_is_refused(stack: Stack) -> None:
    with stack.client() as client:
        refused = client.post("/auth/login", content=b" " * 70_000)
    assert refused.status_code == 413
    assert refused.json()["code"] == "content_too_large"
