"""kill -9 under a writing load: what was acknowledged is there, once.

ROUNDS=20 make test-crash is the long run; every other round kills PostgreSQL as well.
"""

from __future__ import annotations

import asyncio
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import UUID, uuid4

import httpx
import psutil
import pytest

from app.db import migrations
from app.dev.postgres import EmbeddedPostgres
from fixtures.cluster import execute, fetch
from fixtures.server import ADMIN

if TYPE_CHECKING:
    from collections.abc import Iterator

API = Path(__file__).parents[2] / "services" / "api"
ROUNDS = int(os.environ.get("ROUNDS", "3"))
WRITERS = 4


@pytest.fixture
def postgres() -> Iterator[EmbeddedPostgres]:
    folder = Path(tempfile.mkdtemp(prefix="listo-crash-"))
    folder.chmod(0o755)
    cluster = EmbeddedPostgres(folder)
    cluster.start()
    execute(cluster.url("postgres"), "CREATE DATABASE listo")
    migrations.upgrade(cluster.url())
    yield cluster
    cluster.stop()
    shutil.rmtree(folder, ignore_errors=True)


def start(url: str, port: int) -> subprocess.Popen[bytes]:
    process = subprocess.Popen(
        [sys.executable, "-m", "uvicorn", "app.main:app", "--port", str(port),
         "--log-level", "critical"],
        cwd=API,
        env={**os.environ, "DATABASE_URL": url, "JWT_SECRET": "0123456789abcdefghijklmnopqrstuv",
             "ADMIN_EMAIL": ADMIN["email"], "ADMIN_PASSWORD": ADMIN["password"],
             "LOG_LEVEL": "CRITICAL", "RATE_LIMIT_USER": "off", "RATE_LIMIT_LOGIN": "off",
             "RATE_LIMIT_ANONYMOUS": "off", "LISTO_ENV_FILE": os.devnull},
        stdout=subprocess.DEVNULL,
    )  # fmt: skip
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        assert process.poll() is None, "the server did not start"
        try:
            if httpx.get(f"http://127.0.0.1:{port}/health/ready", trust_env=False).is_success:
                return process
        except httpx.TransportError:
            pass
    raise AssertionError("the server was not ready in time")


class Writers:
    """Creates and changes records until told to stop; remembers what was acknowledged."""

    def __init__(self, port: int, token: str) -> None:
        self.base = f"http://127.0.0.1:{port}/collections/crash/records"
        self.headers = {"Authorization": f"Bearer {token}"}
        self.acknowledged: dict[str, int] = {}
        self.titles: set[str] = set()
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._write) for _ in range(WRITERS)]
        for thread in self._threads:
            thread.start()

    def join(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _write(self) -> None:
        with httpx.Client(headers=self.headers, trust_env=False, timeout=5) as client:
            while not self._stop.is_set():
                try:
                    title = uuid4().hex
                    created = client.post(self.base, json={"title": title})
                    if created.status_code != 201:
                        continue
                    self.titles.add(title)
                    id_ = created.json()["id"]
                    self.acknowledged[id_] = 1
                    changed = client.patch(f"{self.base}/{id_}", json={"changed": True})
                    if changed.status_code == 200:
                        self.acknowledged[id_] = 2
                except httpx.TransportError:
                    continue


def test_what_is_acknowledged_survives(postgres: EmbeddedPostgres) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    url = postgres.url()
    server = start(url, port)
    login = httpx.post(f"http://127.0.0.1:{port}/auth/login", json=ADMIN, trust_env=False)
    token = login.json()["access_token"]
    httpx.put(
        f"http://127.0.0.1:{port}/collections/crash",
        json={"schema": {"type": "object", "required": ["title"]}},
        headers={"Authorization": f"Bearer {token}"},
        trust_env=False,
    ).raise_for_status()
    total = 0
    try:
        for round_ in range(ROUNDS):
            writers = Writers(port, token)
            # A random moment is what is wanted here, not a wait for something.
            asyncio.run(asyncio.sleep(random.uniform(0.1, 0.6)))
            server.send_signal(signal.SIGKILL)
            if round_ % 2:
                pid = int((postgres.data / "postmaster.pid").read_text().split()[0])
                postmaster = psutil.Process(pid)
                children = postmaster.children()
                postmaster.kill()
                psutil.wait_procs([postmaster, *children], timeout=30)
            server.wait()
            writers.join()
            postgres.start()
            server = start(url, port)
            rows = fetch(
                url,
                "SELECT id, version, data->>'title' AS title FROM records.crash WHERE id = ANY($1)",
                [UUID(id_) for id_ in writers.acknowledged],
            )
            found = {str(row["id"]): row["version"] for row in rows}
            assert found.keys() == writers.acknowledged.keys()
            assert all(found[id_] >= version for id_, version in writers.acknowledged.items())
            total += len(found)
        assert total > 0
        twice = fetch(
            url, "SELECT data->>'title' FROM records.crash GROUP BY 1 HAVING count(*) > 1"
        )
        assert twice == []
        # An event for each write, and none for what was not written.
        odd = fetch(
            url,
            "SELECT r.id FROM records.crash r FULL JOIN (SELECT subject, max(version) AS version,"
            " count(*) AS n FROM listo.events WHERE collection = 'crash' GROUP BY subject) e"
            " ON e.subject = r.id WHERE r.version IS DISTINCT FROM e.version OR e.n <> r.version",
        )
        assert odd == []
    finally:
        server.kill()
        server.wait()
