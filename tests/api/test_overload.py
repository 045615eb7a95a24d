"""More work than the server can take: which requests are refused, how fast, and the recovery."""

from __future__ import annotations

import asyncio
import socket
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import httpx
import pytest
from prometheus_client import REGISTRY

from app.overload.concurrency import WAITING_PER_PLACE, Importance
from fixtures.cluster import database
from fixtures.open_transactions import open_transaction
from fixtures.server import serving, settings
from fixtures.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fixtures.server import Server

PLACES, POOL = 10, 3
PATIENCE = 20
ORIGIN = "https://app.example.com"
KEY = {"Idempotency-Key": "overload-0001"}


@pytest.fixture(scope="module")
def server(database_url: str) -> Iterator[Server]:
    configured = settings(
        database_url, max_concurrent_requests=PLACES, database_pool_size=POOL, request_timeout=60,
        cors_origins=(ORIGIN,),
    )  # fmt: skip
    with serving(configured) as running:
        slow(running)
        yield running


def slow(server: Server) -> None:
    """Have the server answer /slow once `release` is set."""
    state = server.app.state
    state.release = asyncio.Event()

    @server.app.get("/slow")
    async def answer() -> dict[str, Any]:
        state.loop = asyncio.get_running_loop()
        await state.release.wait()
        return {}


@pytest.fixture(scope="module")
def notes(server: Server) -> str:
    rules = {"list": "", "read": ""}
    made = server.admin().put("/collections/notes", json={"schema": {}, "rules": rules})
    assert made.status_code == 201, made.text
    return "/collections/notes/records"


@contextmanager
def in_work(server: Server, number: int) -> Iterator[None]:
    """`number` requests that do not end."""
    client = server.client()
    with ThreadPoolExecutor(number) as pool:
        waiting = [pool.submit(client.get, "/slow") for _ in range(number)]
        try:
            yield
        finally:
            server.app.state.loop.call_soon_threadsafe(server.app.state.release.set)
    assert all(each.result().status_code == 200 for each in waiting)
    server.app.state.release.clear()


def ask_until(client: httpx.Client, path: str, status: int) -> httpx.Response:
    """The first answer with `status`."""
    answers: list[httpx.Response] = []

    def answered() -> bool:
        answers.append(client.get(path))
        return answers[-1].status_code == status

    wait_until(answered)
    return answers[-1]


@contextmanager
def connection(server: Server) -> Iterator[socket.socket]:
    address = urlsplit(server.url)
    with socket.create_connection((address.hostname, address.port), timeout=PATIENCE) as client:
        yield client


def received(client: socket.socket) -> bytes:
    """The bytes that come until the server closes the connection."""
    return b"".join(iter(lambda: client.recv(65536), b""))


def wait_until_queued(server: Server, number: int) -> None:
    """Return once exactly `number` anonymous requests are in the queue."""
    wait_until(lambda: server.services.concurrency.waiting(Importance.ANONYMOUS) == number)


def number_served(route: str) -> float:
    labels = {"method": "GET", "handler": route, "status": "200"}
    return REGISTRY.get_sample_value("http_request_duration_seconds_count", labels) or 0.0


def shed(importance: str) -> float:
    labels = {"reason": "concurrency", "importance": importance}
    return REGISTRY.get_sample_value("listo_requests_shed_total", labels) or 0.0


def until_shed(importance: str, before: float) -> None:
    """Return once more requests were shed than before."""
    wait_until(lambda: shed(importance) > before)


def test_lists_of_strangers_make_room_for_writes_with_a_key(server: Server, notes: str) -> None:
    admin, stranger = server.admin(), server.client()
    before = shed("anonymous")
    # Strangers get at most six of ten places once requests turn out to be slow.
    with in_work(server, 6):
        refused = ask_until(stranger, notes, 503)
        assert refused.json()["code"] == "overloaded"
        assert 1 <= int(refused.headers["retry-after"]) <= 3
        until_shed("anonymous", before)
        assert admin.get(notes).status_code == 200
        assert admin.post(notes, json={}, headers=KEY).status_code == 201
    ask_until(stranger, notes, 200)


def test_with_eight_in_work_only_writes_get_in(server: Server, notes: str) -> None:
    admin = server.admin()
    with in_work(server, 8):
        ask_until(admin, notes, 503)
        wrong = {"email": "nobody@example.com", "password": "a wrong guess"}
        assert server.client().post("/auth/login", json=wrong).status_code == 503
        assert admin.post(notes, json={}).status_code == 201
        assert server.client().get("/health").status_code == 200


def test_a_refusal_of_an_unread_request_is_a_whole_answer(server: Server, notes: str) -> None:
    client = server.client()
    own = {"X-Request-ID": "refused-00001"}
    with in_work(server, PLACES):
        # The first refusal shows that all of the slow requests have arrived.
        ask_until(client, notes, 503)
        refused = client.get(notes, headers=own)
        cors = client.get(notes, headers=own | {"Origin": ORIGIN})
        head = client.head(notes, headers=own)
        probe = client.get("/health")
    assert [answer.status_code for answer in (refused, cors, head, probe)] == [503] * 3 + [200]
    for answer in (refused, cors):
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.json() == {
            "type": "urn:listo:problem:overloaded",
            "title": "Service unavailable",
            "status": 503,
            "detail": "The server has as much work as it can take; try again shortly.",
            "code": "overloaded",
            "request_id": "refused-00001",
        }
    for answer in (refused, cors, head):
        assert answer.headers["x-request-id"] == "refused-00001"
        assert 1 <= int(answer.headers["retry-after"]) <= 3
    fields = (
        "cache-control",
        "x-content-type-options",
        "x-frame-options",
        "content-security-policy",
    )
    assert {name: refused.headers[name] for name in fields} == {
        name: head.headers[name] for name in fields
    }
    assert cors.headers["access-control-allow-origin"] == ORIGIN
    assert head.content == b""


def test_each_request_of_a_pipeline_is_refused(server: Server, notes: str) -> None:
    request = f"GET {notes} HTTP/1.1\r\nHost: x\r\n\r\n".encode()
    last = f"GET {notes} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode()
    with in_work(server, PLACES), connection(server) as client:
        ask_until(server.client(), notes, 503)
        client.sendall(request * 2 + last)
        answers = received(client)
    assert answers.count(b"HTTP/1.1 503 ") == 3
    assert answers.count(b"\r\nconnection: close\r\n") == 1


def test_requests_that_do_not_fit_into_the_queue_are_refused_at_once(
    server: Server, notes: str
) -> None:
    """A request behind one with `Connection: close` is not carried out either."""
    admin, get = server.admin(), f"GET {notes} HTTP/1.1\r\nHost: x\r\n"
    fields = f"Host: x\r\nAuthorization: {admin.headers['authorization']}\r\n"
    write = f"POST {notes} HTTP/1.1\r\n{fields}Content-Type: application/json\r\n"
    before = len(admin.get(notes).json()["items"])
    with ExitStack() as stack:
        stack.enter_context(in_work(server, PLACES))
        ask_until(server.client(), notes, 503)
        max_waiting = WAITING_PER_PLACE * PLACES
        waiting = [stack.enter_context(connection(server)) for _ in range(max_waiting)]
        for each in waiting:
            each.sendall(f"{get}Connection: close\r\n\r\n".encode())
        wait_until_queued(server, max_waiting)
        # The queue is full, and nothing in it is less important, so these are refused at once.
        client = stack.enter_context(connection(server))
        body = "x" * 100_000
        client.sendall(
            f"{get}\r\n{get}Content-Length: {len(body)}\r\n\r\n{body}"
            f"{get}Connection: close\r\n\r\n{write}Content-Length: 2\r\n\r\n{{}}".encode()
        )
        answers = received(client)
        assert answers.count(b"HTTP/1.1 503 ") == 3
        assert answers.count(b"HTTP/1.1 ") == 3
        # A more important request takes the last one's place in the queue, and then waits in vain,
        # as all others do.
        assert admin.post(notes, json={}, headers={"Connection": "close"}).status_code == 503
        assert all(received(each).startswith(b"HTTP/1.1 503 ") for each in waiting)
    ask_until(server.client(), notes, 200)
    assert len(admin.get(notes).json()["items"]) == before


def test_a_client_that_has_gone_while_waiting_is_not_served(server: Server, notes: str) -> None:
    before = number_served("/slow")
    with in_work(server, PLACES):
        ask_until(server.client(), notes, 503)
        with connection(server) as client:
            client.sendall(b"GET /slow HTTP/1.1\r\nHost: x\r\n\r\n")
            wait_until_queued(server, 1)
    wait_until_queued(server, 0)
    ask_until(server.client(), notes, 200)
    assert number_served("/slow") == before + PLACES


def test_another_protocol_refuses_as_well(cluster_url: str) -> None:
    """With uvicorn's own protocol, as in `uvicorn app.main:app`."""
    with (
        database(cluster_url) as url,
        serving(settings(url, max_concurrent_requests=1), http="httptools") as other,
    ):
        slow(other)
        with in_work(other, 1):
            refused = ask_until(other.client(), "/collections", 503)
        assert refused.json()["code"] == "overloaded"
        assert 1 <= int(refused.headers["retry-after"]) <= 3
        ask_until(other.client(), "/collections", 200)


def test_fast_requests_fill_the_limit(server: Server, notes: str) -> None:
    async def burst() -> list[int]:
        limits = httpx.Limits(max_connections=PLACES)
        async with httpx.AsyncClient(base_url=server.url, trust_env=False, limits=limits) as client:
            answers = await asyncio.gather(*(client.get(notes) for _ in range(300)))
            return [answer.status_code for answer in answers]

    ask_until(server.client(), notes, 200)
    assert asyncio.run(burst()) == [200] * 300


def test_a_stalled_database_is_noticed_at_once_and_recovered_from(
    server: Server, notes: str, database_url: str
) -> None:
    admin, stranger = server.admin(), server.client()
    concurrency = server.services.concurrency
    note = f"{notes}/{admin.post(notes, json={}).json()['id']}"
    statement = "LOCK TABLE records.notes IN ACCESS EXCLUSIVE MODE"
    with ThreadPoolExecutor(PLACES) as pool:
        with open_transaction(database_url, statement):
            # The first POOL of them hold the connections, the others wait for one: unlike reads,
            # deletions are not gathered into one statement.
            waiting = [pool.submit(admin.delete, note) for _ in range(POOL + 3)]
            wait_until(lambda: concurrency.limit <= POOL)
            refused = stranger.get("/collections")
            assert refused.json()["code"] == "overloaded"
        statuses = {each.result().status_code for each in waiting}
    # Requests that waited too long for a connection were refused.
    assert 204 in statuses
    assert statuses <= {204, 404, 503}
    ask_until(stranger, "/collections", 200)
    wait_until(lambda: concurrency.limit >= PLACES)
