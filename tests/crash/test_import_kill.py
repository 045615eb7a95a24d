"""kill -9 of the client, the server, the worker or PostgreSQL during an import.

An import that its client waits for is done whole or not at all, and so is a job, which is done in
the end. `make test-crash ROUNDS=20` is the long run.
"""

from __future__ import annotations

import os
import random
import signal
import socket
import sys
import threading
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import pytest

from fixtures.background_program import Program, free_ports
from fixtures.cluster import fetch
from fixtures.crash import kill, lasting_postgres, start
from fixtures.server import ADMIN
from fixtures.waiting import PATIENCE, wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from app.dev.postgres import EmbeddedPostgres

ROUNDS = int(os.environ.get("ROUNDS", "2"))
RECORDS = 8_000
CONTENT = b"".join([b'{"n":%d,"title":"%s"}\n' % (n, b"t" * 300) for n in range(RECORDS)])
NDJSON = {"Content-Type": "application/x-ndjson"}
# How long an undisturbed import may take, from which the moment to kill is drawn.
_LONGEST = 1.2


@pytest.fixture
def postgres() -> Iterator[EmbeddedPostgres]:
    with lasting_postgres() as cluster:
        yield cluster


class Site:
    """A server and a worker, which are started again after each kill."""

    def __init__(self, postgres: EmbeddedPostgres) -> None:
        self.postgres = postgres
        (self.port,) = free_ports(1)
        self.url = f"http://127.0.0.1:{self.port}"
        self.server = start(postgres.url(), self.port)
        self.worker = self._worker()
        self.client = httpx.Client(base_url=self.url, trust_env=False, timeout=PATIENCE)
        login = {"email": ADMIN["email"], "password": ADMIN["password"]}
        token = self.client.post("/auth/login", json=login).json()["access_token"]
        self.client.headers["Authorization"] = f"Bearer {token}"

    def _worker(self) -> Program:
        program = str(Path(sys.executable).parent / "listo")
        secret = "0123456789abcdefghijklmnopqrstuv"
        return Program(
            [program, "worker"], {"DATABASE_URL": self.postgres.url(), "JWT_SECRET": secret}
        )

    def kill_server(self) -> None:
        self.server.stop(signal.SIGKILL)
        self.server = start(self.postgres.url(), self.port)

    def kill_worker(self) -> None:
        self.worker.stop(signal.SIGKILL)
        self.worker = self._worker()

    def kill_postgres(self) -> None:
        kill(self.postgres)
        self.postgres.start()

    def number(self, collection: str) -> int:
        """The records that are there, once nothing writes any more."""
        busy = (
            "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'listo-long'"
            " AND state <> 'idle'"
        )
        url = self.postgres.url()
        wait_until(lambda: fetch(url, busy)[0][0] == 0)
        found: int = fetch(url, f'SELECT count(*) FROM records."{collection}"')[0][0]
        return found

    def stop(self) -> None:
        self.client.close()
        for program in (self.server, self.worker):
            if program.process.poll() is None:
                program.stop(signal.SIGKILL)


@pytest.fixture
def site(postgres: EmbeddedPostgres) -> Iterator[Site]:
    made = Site(postgres)
    try:
        yield made
    finally:
        made.stop()


def define(site: Site, name: str) -> None:
    answer = site.client.put(f"/collections/{name}", json={"schema": {}, "rules": {}})
    assert answer.is_success, answer.text


def send(site: Site, name: str, gone: threading.Event) -> None:
    """Import, as a client that is killed once `gone` is set: its connection breaks."""
    head = (
        f"POST /collections/{name}/import HTTP/1.1\r\nHost: listo\r\n"
        f"Authorization: {site.client.headers['Authorization']}\r\n"
        f"Content-Type: application/x-ndjson\r\nContent-Length: {len(CONTENT)}\r\n\r\n"
    )
    with suppress(OSError), socket.create_connection(("127.0.0.1", site.port)) as connection:
        connection.settimeout(PATIENCE)
        connection.sendall(head.encode())
        for at in range(0, len(CONTENT), 65_536):
            if gone.is_set():
                return
            connection.sendall(CONTENT[at : at + 65_536])
        while not gone.is_set() and connection.recv(4096):
            pass


def test_an_import_is_done_whole_or_not_at_all(site: Site) -> None:
    chance = random.Random(7)
    outcomes = []
    for number in range(ROUNDS):
        name = f"direct{number}"
        define(site, name)
        gone = threading.Event()
        kills: list[Callable[[], object]] = [gone.set, site.kill_server, site.kill_postgres]
        sending = threading.Thread(target=send, args=(site, name, gone))
        sending.start()
        gone.wait(chance.random() * _LONGEST)
        kills[number % len(kills)]()
        gone.set()
        sending.join()
        found = site.number(name)
        assert found in (0, RECORDS)
        outcomes.append(found)
    print(f"{outcomes.count(0)} of {ROUNDS} left nothing")  # noqa: T201


def test_a_job_is_done_in_the_end(site: Site) -> None:
    chance = random.Random(8)
    for number in range(ROUNDS):
        name = f"later{number}"
        define(site, name)
        headers = {**NDJSON, "Prefer": "respond-async"}
        answer = site.client.post(f"/collections/{name}/import", content=CONTENT, headers=headers)
        assert answer.status_code == 202, answer.text
        where = answer.headers["location"]
        kills: list[Callable[[], object]] = [site.kill_worker, site.kill_postgres]
        threading.Event().wait(chance.random() * _LONGEST)
        kills[number % len(kills)]()

        def ended(where: str = where) -> bool:
            assert site.worker.process.poll() is None, site.worker.output
            answer = site.client.get(where)
            return answer.is_success and answer.json()["finished_at"] is not None

        wait_until(ended)
        assert site.client.get(where).json()["state"] == "succeeded"
        assert site.number(name) == RECORDS
