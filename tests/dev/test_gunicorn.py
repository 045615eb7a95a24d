"""gunicorn with several workers: their number, the metrics of all, and changes without a loss."""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
import time
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Self

import httpx
import psutil
import pytest

from app.observability import machine
from fixtures import needs, redis
from fixtures.background_program import Program, free_port, wait_until_ended
from fixtures.waiting import PATIENCE

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = needs.unless(None if redis.PROGRAM else "there is no redis-server here")


@pytest.fixture(scope="module")
def redis_url() -> Iterator[str]:
    with redis.redis_server() as url:
        yield url


class Gunicorn(Program):
    def __init__(self, database_url: str, *arguments: str, **environment: str) -> None:
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        self.address = ("127.0.0.1", port)
        super().__init__(
            [str(Path(sys.executable).parent / "gunicorn"), "app.main:app", "--bind",
             f"127.0.0.1:{port}", *arguments],
            {"DATABASE_URL": database_url, "JWT_SECRET": "0123456789abcdefghijklmnopqrstuv",
             "LOG_LEVEL": "WARNING", "RATE_LIMIT_ANONYMOUS": "off", "DATABASE_POOL_SIZE": "4",
             **environment},
        )  # fmt: skip

    def workers(self) -> list[psutil.Process]:
        return psutil.Process(self.process.pid).children()

    def get(self, path: str) -> httpx.Response:
        return httpx.get(f"{self.url}{path}", trust_env=False, timeout=PATIENCE)

    def hash_password(self) -> psutil.Process:
        """Have a password hashed, and return the process that did it."""
        body = {"email": "nobody@example.com", "password": "a wrong guess"}
        answer = httpx.post(f"{self.url}/auth/login", json=body, trust_env=False, timeout=PATIENCE)
        assert answer.status_code == 401
        (process,) = set(psutil.Process(self.process.pid).children(recursive=True)) - set(
            self.workers()
        )
        return process

    def metrics(self) -> dict[str, float]:
        lines = self.get("/metrics").raise_for_status().text.split("\n")
        samples = [line.rsplit(" ", 1) for line in lines if line and line[0] != "#"]
        return {name: float(value) for name, value in samples}

    def wait_until(self, metric: str, value: float) -> None:
        deadline = time.monotonic() + PATIENCE
        while (found := self.metrics().get(metric)) != value:
            assert time.monotonic() < deadline, (metric, found)
            time.sleep(0.05)

    def wait_for_workers(self, number: int, *, other_than: set[int] | None = None) -> None:
        """Return once `number` workers serve, none of them in `other_than`."""
        deadline = time.monotonic() + PATIENCE
        before = other_than or set()
        while True:
            now = {worker.pid for worker in self.workers()}
            if len(now) == number and not now & before:
                break
            assert time.monotonic() < deadline, self.output
            time.sleep(0.05)
        # Each worker has a pool of four.
        self.wait_until("listo_database_pool_max_connections", 4 * number)


@contextmanager
def running(database_url: str, *arguments: str, **environment: str) -> Iterator[Gunicorn]:
    server = Gunicorn(database_url, *arguments, **environment)
    try:
        server.wait_ready(f"{server.url}/health/ready")
        yield server
        assert server.stop(signal.SIGTERM) == 0
        assert "Traceback" not in server.output, server.output
    finally:
        if server.process.poll() is None:
            server.stop(signal.SIGKILL)


IN_PROGRESS = 'listo_requests_in_progress{importance="login"}'
REQUESTS = 'http_request_duration_seconds_count{handler="/auth/me",method="GET",status="401"}'


class Clients:
    """Clients that ask without a pause, half of them on a new connection for each request."""

    def __init__(self, server: Gunicorn, number: int) -> None:
        self.server = server
        self.asked = 0
        self.failed: list[str] = []
        self._stop = threading.Event()
        self._threads = [
            threading.Thread(target=self._ask, args=(n % 2 == 0,)) for n in range(number)
        ]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _ask(self, anew: bool) -> None:  # noqa: FBT001
        headers = {"Connection": "close"} if anew else {}
        with httpx.Client(
            base_url=self.server.url, headers=headers, trust_env=False, timeout=PATIENCE
        ) as client:
            while not self._stop.is_set():
                try:
                    status = client.get("/auth/me").status_code
                except httpx.HTTPError as error:
                    self.failed.append(repr(error))
                    continue
                if status != 401:
                    self.failed.append(str(status))
                self.asked += 1


def test_counts_outlive_a_killed_worker(database_url: str, redis_url: str) -> None:
    with running(database_url, "-w", "2", REDIS_URL=redis_url) as server:
        server.wait_for_workers(2)
        for _ in range(40):
            server.get("/auth/me")
        before = server.metrics()
        assert before[REQUESTS] == 40
        for victim in server.workers():
            others = {victim.pid}
            victim.send_signal(signal.SIGKILL)
            server.wait_for_workers(2, other_than=others)
            after = server.metrics()
            assert after[REQUESTS] == 40
            started = "listo_master_start_time_seconds"
            assert after[started] == before[started]
        for _ in range(10):
            server.get("/auth/me")
        assert server.metrics()[REQUESTS] == 50
        # All dead workers together have one file of each kind, each living worker its own.
        counters = {path.name for folder in _folders(server) for path in folder.glob("counter_*")}
        living = {f"counter_{worker.pid}.db" for worker in server.workers()}
        assert counters == {"counter_gone.db", *living}
        folders = _folders(server)
    assert not any(folder.exists() for folder in folders)


def _folders(server: Gunicorn) -> list[Path]:
    """The folders with the metrics of this server alone; another may run at the same time."""
    pid = server.workers()[0].pid
    return [path.parent for path in Path("/dev/shm").glob(f"listo-metrics-*/counter_{pid}.db")]  # noqa: S108


def test_gauges_count_all_workers(database_url: str, redis_url: str) -> None:
    with running(database_url, "-w", "2", REDIS_URL=redis_url) as server:
        server.wait_for_workers(2)
        found = server.metrics()
        assert found["listo_database_pool_connections"] >= 2
        assert found["listo_resident_memory_bytes"] > 60_000_000
        assert found["listo_listener_connected"] == 1
        assert found[IN_PROGRESS] == 0
        open_ = [socket.create_connection(server.address) for _ in range(6)]
        for connection in open_:
            connection.sendall(
                b"POST /auth/login HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
                b"Content-Length: 10\r\n\r\n{"
            )
        server.wait_until(IN_PROGRESS, 6)
        for connection in open_:
            connection.sendall(b"         }"[1:])
            assert connection.recv(12) == b"HTTP/1.1 422"
            connection.close()
        server.wait_until(IN_PROGRESS, 0)


def test_hashing_ends_with_its_server(database_url: str) -> None:
    with running(database_url) as server:
        (first,) = server.workers()
        hashing = server.hash_password()
        assert hashing.ppid() == first.pid
        first.kill()
        wait_until_ended(hashing)
        server.wait_for_workers(1, other_than={first.pid})
        (second,) = server.workers()
        hashing = server.hash_password()
        # The signal goes to all processes at once, as from a terminal.
        server.send(signal.SIGINT)
        wait_until_ended(hashing, second)


def test_a_reload_loses_no_request(database_url: str, redis_url: str) -> None:
    with running(database_url, "-w", "2", REDIS_URL=redis_url) as server:
        server.wait_for_workers(2)
        with Clients(server, 8) as clients:
            for _ in range(2):
                before = {worker.pid for worker in server.workers()}
                os.kill(server.process.pid, signal.SIGHUP)
                server.wait_for_workers(2, other_than=before)
        assert clients.failed == []
        assert clients.asked > 20
        assert server.metrics()[REQUESTS] == clients.asked


def test_connections_are_spread_over_the_workers(database_url: str, redis_url: str) -> None:
    def held(worker: psutil.Process) -> int:
        connections = worker.net_connections("tcp")
        return sum(one.status == "ESTABLISHED" and one.laddr[:2] == server.address
                   for one in connections)  # fmt: skip

    with running(database_url, "--workers=2", REDIS_URL=redis_url) as server:
        server.wait_for_workers(2)
        for number in (16, 100):
            with ExitStack() as stack:
                for _ in range(number):
                    client = stack.enter_context(socket.create_connection(server.address))
                    client.sendall(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
                    assert client.recv(1)
                counts = sorted(held(worker) for worker in server.workers())
                # Others of this test's connections may not be closed yet.
                assert sum(counts) >= number
                assert counts[1] - counts[0] <= 2 + counts[0] / 8 + 1


def test_workers_are_replaced_after_some_requests(database_url: str, redis_url: str) -> None:
    with running(
        database_url, "-w", "2", REDIS_URL=redis_url, GUNICORN_MAX_REQUESTS="60"
    ) as server:
        server.wait_for_workers(2)
        before = {worker.pid for worker in server.workers()}
        with Clients(server, 4) as clients:
            server.wait_for_workers(2, other_than=before)
        assert clients.failed == []
        assert server.metrics()[REQUESTS] == clients.asked


def test_the_number_of_workers_follows_settings_and_cores(
    database_url: str, redis_url: str
) -> None:
    by_cores = max(1, min(int(machine.cores() + 0.5), 8))
    for environment, number in (
        ({"REDIS_URL": redis_url}, by_cores),
        ({"REDIS_URL": redis_url, "WEB_CONCURRENCY": "3"}, 3),
        ({}, 1),
    ):
        with running(database_url, **environment) as server:
            server.wait_for_workers(number)


@pytest.mark.parametrize(
    ("given", "graceful", "silent"), [("", 35, 45), ("0.5", 6, 16), ("3600", 3605, 3615)]
)
def test_a_worker_that_goes_lets_its_requests_have_their_time(
    database_url: str, given: str, graceful: int, silent: int
) -> None:
    server = Gunicorn(database_url, "--print-config", REQUEST_TIMEOUT=given)
    assert server.finish() == 0, server.output
    settings = dict(line.split("=", 1) for line in server.output.splitlines() if "=" in line)
    found = {name.strip(): value.strip() for name, value in settings.items()}
    assert (found["graceful_timeout"], found["timeout"]) == (str(graceful), str(silent))


def test_a_server_that_stops_refuses_connections_while_it_still_works(database_url: str) -> None:
    """A proxy then goes elsewhere at once."""
    with running(database_url, "-w", "1") as server:
        body = b'{"email": "nobody@example.com", "password": "a wrong guess"}'
        head = (
            "POST /auth/login HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(body)}\r\n\r\n"
        )
        with socket.create_connection(server.address, timeout=PATIENCE) as client:
            client.sendall(head.encode())
            server.wait_until(IN_PROGRESS, 1)
            server.process.send_signal(signal.SIGTERM)
            deadline = time.monotonic() + PATIENCE
            lost = 0
            while (answered := _answers(server)) is not None:
                lost += not answered
                assert time.monotonic() < deadline
            # A connection may come between the last look for one and the end of listening.
            assert lost <= 1
            client.sendall(body)
            assert client.recv(65536).startswith(b"HTTP/1.1 401 ")


def _answers(server: Gunicorn) -> bool | None:
    """Whether a connection gets an answer; None if the server takes no connection."""
    try:
        client = socket.create_connection(server.address, timeout=PATIENCE)
    except ConnectionRefusedError:
        return None
    with client, suppress(ConnectionResetError, BrokenPipeError):
        client.sendall(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
        return client.recv(65536).startswith(b"HTTP/1.1 200 ")
    return False


def test_a_given_folder_is_emptied(database_url: str, tmp_path: Path) -> None:
    (tmp_path / "counter_1.db").write_bytes(b"of a former run")
    with running(database_url, PROMETHEUS_MULTIPROC_DIR=str(tmp_path)) as server:
        assert not (tmp_path / "counter_1.db").exists()
        assert server.metrics()["listo_master_start_time_seconds"] == pytest.approx(
            time.time(), abs=60
        )
    assert tmp_path.exists()


def test_preloaded_code_is_refused(database_url: str) -> None:
    server = Gunicorn(database_url, "--preload")
    assert server.finish() != 0
    assert "drop --preload" in server.output
