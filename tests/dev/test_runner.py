"""`make dev` as its user meets it: real processes in a project folder of the test's own."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import psutil
import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

API = Path(__file__).parents[2] / "services" / "api"
PATIENCE = 60


class Run:
    """One `python -m app.dev`, and what it has said so far."""

    def __init__(self, project: Path, port: int, **environment: str) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self.process = subprocess.Popen(
            [sys.executable, "-m", "app.dev"],
            cwd=API,
            env={**os.environ, "LISTO_PROJECT": str(project), "LISTO_ENV_FILE": os.devnull,
                 "PORT": str(port), **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            process_group=0,
        )  # fmt: skip
        self.lines: list[str] = []
        self._said = threading.Condition()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def wait_for(self, text: str) -> str:
        """The first line that holds `text`."""

        def found() -> str | None:
            return next((line for line in self.lines if text in line), None)

        with self._said:
            assert self._said.wait_for(lambda: found() or not self._reader.is_alive(), PATIENCE)
            line = found()
        assert line is not None, self.output
        return line

    def finish(self) -> int:
        status = self.process.wait(PATIENCE)
        self._reader.join(PATIENCE)
        return status

    def interrupt(self) -> int:
        os.killpg(self.process.pid, signal.SIGINT)
        return self.finish()

    @property
    def output(self) -> str:
        return "".join(self.lines)

    def _read(self) -> None:
        assert self.process.stdout is not None
        with self.process.stdout as stream:
            for line in stream:
                with self._said:
                    self.lines.append(line)
                    self._said.notify_all()
        with self._said:
            self._said.notify_all()


@pytest.fixture
def project() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="listo-dev-"))
    folder.chmod(0o755)
    yield folder
    for process in processes_of(folder):
        process.kill()
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        number: int = probe.getsockname()[1]
        return number


def processes_of(project: Path) -> list[psutil.Process]:
    """All processes that work for the project: server, worker and PostgreSQL."""
    found = []
    for process in psutil.process_iter():
        try:
            about = " ".join(process.cmdline()) + process.environ().get("LISTO_PROJECT", "")
        except (psutil.NoSuchProcess, psutil.AccessDenied, psutil.ZombieProcess):
            continue
        if str(project) in about and process.pid != os.getpid():
            found.append(process)
    return found


def login(run: Run, password: str) -> httpx.Client:
    client = httpx.Client(base_url=run.url, trust_env=False, timeout=30)
    body = {"email": "admin@example.com", "password": password}
    answer = client.post("/auth/login", json=body)
    assert answer.status_code == 200
    client.headers["Authorization"] = f"Bearer {answer.json()['access_token']}"
    return client


def test_start_stop_kill_and_start_again(project: Path, port: int) -> None:
    first = Run(project, port)
    curl = first.wait_for("curl -s")
    for path in ("/docs", "/health/ready", "/metrics"):
        assert f"localhost:{port}{path}" in first.output
    printed = subprocess.run(["sh", "-c", curl], capture_output=True, text=True, check=True)
    assert "access_token" in printed.stdout
    password = re.search(r'"password":"([^"]+)"', curl)
    assert password is not None
    with closing(login(first, password[1])) as client:
        assert client.put("/collections/kept", json={"schema": {}}).status_code == 201

    second = Run(project, port + 1 if port < 65535 else port - 1)
    assert second.finish() == 1
    assert second.output.splitlines() == [
        "make dev: make dev already runs in this folder; stop that one first."
    ]

    assert first.interrupt() == 0
    assert "Traceback" not in first.output
    assert "KeyboardInterrupt" not in first.output
    assert processes_of(project) == []

    again = Run(project, port)
    again.wait_for("Ctrl-C")
    assert password[1] not in again.output
    assert "curl -s" in again.output
    postgres = int((project / ".listo/postgres/postmaster.pid").read_text().split()[0])
    os.killpg(again.process.pid, signal.SIGKILL)
    again.finish()
    assert psutil.pid_exists(postgres)

    taken_over = Run(project, port)
    taken_over.wait_for("Ctrl-C")
    assert int((project / ".listo/postgres/postmaster.pid").read_text().split()[0]) == postgres
    with closing(login(taken_over, password[1])) as client:
        assert client.get("/collections/kept").status_code == 200
    taken_over.process.terminate()
    assert taken_over.finish() == 0
    assert processes_of(project) == []


def test_a_taken_port(project: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        number = taken.getsockname()[1]
        run = Run(project, number)
        assert run.finish() == 1
    assert len(run.output.splitlines()) == 1
    assert f"Port {number} cannot be used" in run.output


def test_a_port_that_is_none(project: Path) -> None:
    run = Run(project, 1, PORT="http")
    assert run.finish() == 1
    assert run.output.splitlines() == ["make dev: PORT must be 1 to 65535, not 'http'."]


def test_wrong_settings(project: Path, port: int) -> None:
    run = Run(project, port, JWT_SECRET="short", LOG_LEVEL="loud")
    assert run.finish() == 1
    assert "JWT_SECRET: must have at least 32 characters" in run.output
    assert "LOG_LEVEL:" in run.output
    assert "Traceback" not in run.output
    assert processes_of(project) == []


def test_an_unwritable_folder(project: Path, port: int) -> None:
    (project / ".listo").write_text("in the way")
    run = Run(project, port)
    assert run.finish() == 1
    assert run.output.startswith("make dev: Cannot write to")
    assert len(run.output.splitlines()) == 1
