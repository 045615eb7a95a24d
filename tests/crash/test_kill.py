"""kill -9 under a writing load: every acknowledged write is there, and none is there twice.

`make test-crash ROUNDS=20` is the long run; every other round kills PostgreSQL as well.
"""

from __future__ import annotations

import os
import random
import signal
import threading
from collections import Counter
from typing import TYPE_CHECKING
from uuid import uuid4

import httpx
import pytest

from fixtures.background_program import free_port
from fixtures.cluster import fetch
from fixtures.crash import kill, lasting_postgres, start
from fixtures.server import ADMIN
from fixtures.waiting import PATIENCE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from app.dev.postgres import EmbeddedPostgres

ROUNDS = int(os.environ.get("ROUNDS", "3"))
RECORDS = "/collections/crash/records"


@pytest.fixture
def postgres() -> Iterator[EmbeddedPostgres]:
    with lasting_postgres() as cluster:
        yield cluster


class Writers:
    """Clients that write until the server is gone, and remember the acknowledged writes.

    Each record has a title of its own, so a record that was written twice would show.
    """

    def __init__(self, url: str, token: str) -> None:
        self.url = url
        self.headers = {"Authorization": f"Bearer {token}"}
        self.versions: dict[str, int] = {}
        self.batches: list[tuple[set[str], bool]] = []
        self.unanswered: dict[str, str] = {}
        self._started: list[threading.Thread] = []

    def start(self) -> None:
        for write in (self._create, self._create, self._batch, self._put):
            thread = threading.Thread(target=self._repeat, args=(write,))
            thread.start()
            self._started.append(thread)

    def wait_until(self, number: int) -> None:
        """Return once `number` records were acknowledged."""
        while len(self.versions) < number:
            assert self._started[0].is_alive()
            self._started[0].join(0.001)

    def wait(self) -> None:
        """Return once all clients have noticed that the server is gone."""
        while self._started:
            self._started.pop().join()

    def _repeat(self, write: Callable[[httpx.Client], None]) -> None:
        with httpx.Client(
            base_url=self.url, headers=self.headers, trust_env=False, timeout=PATIENCE
        ) as client:
            try:
                while True:
                    write(client)
            except httpx.TransportError:
                return

    def _create(self, client: httpx.Client) -> None:
        title = uuid4().hex
        created = client.post(RECORDS, json={"title": title})
        if created.status_code != 201:
            return
        self.versions[title] = 1
        if client.patch(created.headers["location"], json={"changed": True}).status_code == 200:
            self.versions[title] = 2

    def _batch(self, client: httpx.Client) -> None:
        titles = {uuid4().hex for _ in range(10)}
        operations = [{"op": "create", "data": {"title": title}} for title in titles]
        self.batches.append((titles, False))
        if client.post(f"{RECORDS}:batch", json={"operations": operations}).status_code == 200:
            self.batches[-1] = (titles, True)

    def _put(self, client: httpx.Client) -> None:
        """Create with the client's own id, so that an unanswered write can be tried again."""
        for id_, title in [*self.unanswered.items(), (str(uuid4()), uuid4().hex)]:
            self.unanswered[id_] = title
            answer = client.put(
                f"{RECORDS}/{id_}", json={"title": title}, headers={"If-None-Match": "*"}
            )
            if answer.status_code in (201, 412):
                self.versions[title] = 1
                del self.unanswered[id_]


def test_acknowledged_writes_survive(postgres: EmbeddedPostgres) -> None:
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    server = start(postgres.url(), port)
    try:
        answer = httpx.post(f"{url}/auth/login", json=ADMIN, trust_env=False)
        writers = Writers(url, answer.json()["access_token"])
        schema = {"type": "object", "required": ["title"]}
        httpx.put(
            f"{url}/collections/crash",
            json={"schema": schema, "indexes": ["title"]},
            headers=writers.headers,
            trust_env=False,
        ).raise_for_status()
        for round_ in range(ROUNDS):
            writers.start()
            writers.wait_until(len(writers.versions) + random.randint(1, 200))
            if round_ % 2:
                kill(postgres)
            server.stop(signal.SIGKILL)
            writers.wait()
            postgres.start()
            server = start(postgres.url(), port)
            check(postgres.url(), writers)
    finally:
        if server.process.poll() is None:
            server.stop(signal.SIGKILL)


def check(database_url: str, writers: Writers) -> None:
    rows = fetch(database_url, "SELECT data->>'title' AS title, version FROM records.crash")
    times = Counter(row["title"] for row in rows)
    assert [title for title, number in times.items() if number > 1] == []
    found = {row["title"]: row["version"] for row in rows}
    lost = {t: v for t, v in writers.versions.items() if found.get(t, 0) < v}
    assert lost == {}
    for titles, acknowledged in writers.batches:
        there = len(titles & found.keys())
        assert there == 10 if acknowledged else there in (0, 10)
    # Each write has one event, and there are no other events.
    odd = fetch(
        database_url,
        "SELECT r.id FROM records.crash r FULL JOIN (SELECT subject, max(version) AS version,"
        " count(*) AS n FROM listo.events WHERE collection = 'crash' GROUP BY subject) e"
        " ON e.subject = r.id WHERE r.version IS DISTINCT FROM e.version OR e.n <> r.version",
    )
    assert odd == []
