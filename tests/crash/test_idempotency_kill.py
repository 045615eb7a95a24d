"""kill -9 while many clients send one request with one key: the request is carried out once.

Every third round kills PostgreSQL, others a replica. `make test-crash ROUNDS=200` is the long run.
"""

from __future__ import annotations

import os
import random
import signal
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import httpx
import pytest

from fixtures.background_program import Program, free_ports
from fixtures.cluster import fetch
from fixtures.crash import kill, lasting_postgres, launch, start
from fixtures.server import ADMIN
from fixtures.waiting import PATIENCE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from app.dev.postgres import EmbeddedPostgres

ROUNDS = int(os.environ.get("ROUNDS", "3"))
CLIENTS = 50
RECORDS = "/collections/crash/records"
# Two processes need a REDIS_URL, but also serve while Redis is away.
AWAY = {"REDIS_URL": "redis://127.0.0.1:1"}


@pytest.fixture
def postgres() -> Iterator[EmbeddedPostgres]:
    with lasting_postgres() as cluster:
        yield cluster


class Replicas:
    """Servers on one database, of which one at a time is killed and replaced."""

    def __init__(self, postgres: EmbeddedPostgres, number: int) -> None:
        self.postgres = postgres
        self.database_url = postgres.url()
        self.ports = free_ports(number)
        limits = httpx.Limits(max_connections=2 * CLIENTS)
        self.client = httpx.Client(trust_env=False, timeout=PATIENCE, limits=limits)
        # The servers start one after the other: the first makes the admin.
        self.servers: list[Program] = [
            start(self.database_url, port, **AWAY) for port in self.ports
        ]

    def url(self, index: int) -> str:
        return f"http://127.0.0.1:{self.ports[index % len(self.ports)]}"

    def kill_one(self) -> None:
        index = random.randrange(len(self.ports))
        self.servers[index].stop(signal.SIGKILL)
        self.servers[index] = launch(self.database_url, self.ports[index], **AWAY)
        self.servers[index].wait_ready(f"{self.url(index)}/health/ready")

    def kill_postgres(self) -> None:
        kill(self.postgres)
        self.postgres.start()

    def stop(self) -> None:
        self.client.close()
        for server in self.servers:
            if server.process.poll() is None:
                server.stop(signal.SIGKILL)


def persist(replicas: Replicas, first: int, send: dict[str, Any]) -> httpx.Response:
    """Send the request to each replica by turns, until an answer is final."""
    turn, pause = first, threading.Event()
    while True:
        try:
            answer = replicas.client.post(replicas.url(turn) + send["path"], **send["rest"])
        except httpx.TransportError:
            answer = None
        if answer is not None and answer.is_success:
            return answer
        if answer is not None and answer.status_code not in (409, 503):
            raise AssertionError(answer.text)
        turn += 1
        pause.wait(random.uniform(0.005, 0.05))


def test_one_key_is_one_write(postgres: EmbeddedPostgres) -> None:
    replicas = Replicas(postgres, 2)
    try:
        client, url = replicas.client, replicas.url(0)
        token = client.post(f"{url}/auth/login", json=ADMIN).json()["access_token"]
        headers = {"Authorization": f"Bearer {token}"}
        made = client.put(f"{url}/collections/crash", json={"schema": {}}, headers=headers)
        assert made.status_code == 201
        with ThreadPoolExecutor(CLIENTS) as pool:
            for round_ in range(ROUNDS):
                one_round(replicas, pool, headers, round_)
    finally:
        replicas.stop()


def one_round(
    replicas: Replicas, pool: ThreadPoolExecutor, headers: dict[str, str], round_: int
) -> None:
    title, key = uuid4().hex, str(uuid4())
    headers = {**headers, "Idempotency-Key": f'"{key}"'}
    number, path, body = 1, RECORDS, {"title": title}
    if round_ % 2:
        number, path = 10, f"{RECORDS}:batch"
        body = {"operations": [{"op": "create", "data": {"title": title}}] * number}  # type: ignore[dict-item]
    send = {"path": path, "rest": {"json": body, "headers": headers}}
    waiting = [pool.submit(persist, replicas, first, send) for first in range(CLIENTS)]
    threading.Event().wait(random.uniform(0, 0.25))
    if round_ % 3 == 2:
        replicas.kill_postgres()
    else:
        replicas.kill_one()
    answers = [each.result(PATIENCE) for each in waiting]

    # The first answer is lost if its replica died before sending it; there are never two firsts.
    firsts = [each for each in answers if "idempotency-replayed" not in each.headers]
    assert len(firsts) <= 1
    assert len({each.content for each in answers}) == 1
    query = "SELECT id::text FROM records.crash WHERE data->>'title' = $1"
    ids = {row[0] for row in fetch(replicas.database_url, query, title)}
    assert len(ids) == number
    told = answers[0].json()
    assert {each["id"] for each in told.get("results", [told])} == ids
    events = "SELECT 1 FROM listo.events WHERE subject::text = ANY($1)"
    assert len(fetch(replicas.database_url, events, list(ids))) == number
    once = "SELECT count(*) FROM listo.idempotency_keys"
    assert fetch(replicas.database_url, once)[0][0] == round_ + 1
