"""`make dev` as a user runs it: real processes in a project folder of the test's own."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import httpx
import psutil
import pytest
from dotenv import dotenv_values

from fixtures.background_program import API, free_port, wait_until_ended
from fixtures.dev import GREETED, Run, login, postmaster, processes_of
from fixtures.waiting import PATIENCE


def test_start_stop_kill_and_start_again(project: Path, port: int) -> None:
    first = Run(project, port)
    first.wait_for(GREETED)
    for path in ("/docs", "/health/ready", "/metrics"):
        assert f"localhost:{port}{path}" in first.output
    curl = first.wait_for("curl -s")
    printed = subprocess.run(["sh", "-c", curl], capture_output=True, text=True, check=True)
    assert "access_token" in printed.stdout
    password = re.search(r'"password":"([^"]+)"', curl)
    assert password is not None
    with closing(login(first, password[1])) as client:
        assert client.put("/collections/kept", json={"schema": {}}).status_code == 201

    second = Run(project, free_port())
    assert second.refused() == "make dev already runs in this folder; stop that one first."

    assert first.stop(signal.SIGINT) == 0
    assert first.lines[-1] == "Stopped.\n"
    assert "Traceback" not in first.output
    assert "KeyboardInterrupt" not in first.output
    assert processes_of(project) == []

    started = time.monotonic()
    again = Run(project, port)
    again.wait_ready(f"{again.url}/health/ready")
    # Alone on the machine a start takes less than 3 s; here other tests run beside it.
    assert time.monotonic() - started < 20
    again.wait_for(GREETED)
    assert password[1] not in again.output
    curl = again.wait_for("curl -s")
    printed = subprocess.run(["sh", "-c", curl], capture_output=True, text=True, check=True)
    assert "items" in printed.stdout
    postgres = postmaster(project)
    servers = json.loads((project / ".listo/processes.json").read_text())
    servers_left = [psutil.Process(pid) for pid, _ in servers]
    again.send(signal.SIGKILL)
    again.finish()
    if sys.platform == "linux":
        wait_until_ended(*servers_left)
    assert psutil.pid_exists(postgres)

    taken_over = Run(project, port)
    taken_over.wait_for(GREETED)
    assert postmaster(project) == postgres
    with closing(login(taken_over, password[1])) as client:
        assert client.get("/collections/kept").status_code == 200
    taken_over.process.terminate()
    assert taken_over.finish() == 0
    assert "Traceback" not in taken_over.output
    assert processes_of(project) == []


@pytest.mark.parametrize(
    ("reached", "number"),
    [
        ("dev.lock", signal.SIGTERM),
        ("postgres.new.*", signal.SIGINT),
        ("postgres", signal.SIGINT),
        ("processes.json", signal.SIGHUP),
    ],
)
def test_a_signal_during_the_start_ends_all_processes(
    project: Path, port: int, reached: str, number: signal.Signals
) -> None:
    run = Run(project, port)
    run.wait_for_file(project / ".listo", reached)
    assert run.stop(number) == 0
    assert "Traceback" not in run.output
    assert "KeyboardInterrupt" not in run.output
    assert processes_of(project) == []


def test_a_start_after_kills_during_the_start_succeeds(project: Path, port: int) -> None:
    for reached in ("postgres.new.*", "postgres", "admin_password", "processes.json"):
        run = Run(project, port)
        run.wait_for_file(project / ".listo", reached)
        run.send(signal.SIGKILL)
        run.finish()
    whole = Run(project, port)
    whole.wait_for(GREETED)
    password = (project / ".listo/admin_password").read_text()
    login(whole, password).close()
    assert whole.stop() == 0
    assert processes_of(project) == []


def test_requests_wait_while_changed_code_starts_anew(
    project: Path, port: int, database_url: str, tmp_path: Path
) -> None:
    code = tmp_path / "shop"
    code.mkdir()
    text = (
        "from fastapi import APIRouter\n"
        "router = APIRouter()\n"
        "@router.get('/answer')\n"
        "async def answer() -> int:\n"
        "    return {}\n"
    )
    (code / "__init__.py").write_text(text.format(41))
    path = os.pathsep.join([str(tmp_path), str(API)])
    run = Run(
        project, port, DATABASE_URL=database_url, LISTO_EXTENSIONS="shop:router", PYTHONPATH=path
    )
    run.wait_for(GREETED)
    with httpx.Client(base_url=run.url, trust_env=False, timeout=PATIENCE) as client:
        assert client.get("/answer").json() == 41

        (code / "__init__.py").write_text("print('not yet'\n")
        run.wait_for("the server ended")
        (code / "__init__.py").write_text(text.format(42))
    # From here on a server always takes connections.
    answer = httpx.get(f"{run.url}/answer", trust_env=False, timeout=PATIENCE)
    assert answer.json() == 42
    assert run.stop() == 0
    assert processes_of(project) == []


def test_an_extension_that_does_not_exist_is_told(
    project: Path, port: int, database_url: str
) -> None:
    run = Run(project, port, DATABASE_URL=database_url, LISTO_EXTENSIONS="nowhere:router")
    assert run.finish() == 1
    assert "make dev: the server did not start, see above.\n" in run.lines
    assert "nowhere" in run.output
    assert processes_of(project) == []


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0"])  # noqa: S104 - where it may listen
def test_a_taken_port_is_told(project: Path, host: str) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        number = taken.getsockname()[1]
        said = Run(project, number, HOST=host).refused()
    assert said == (
        f"Port {number} cannot be used (Address already in use); try: make dev PORT={number + 1}"
    )


@pytest.mark.parametrize("given", ["http", "65536", "٨٠"])
def test_a_value_that_is_no_port_is_told(project: Path, given: str) -> None:
    assert Run(project, 1, PORT=given).refused() == f"PORT must be 1 to 65535, not {given!r}."


def test_an_address_of_another_machine_is_told(project: Path, port: int) -> None:
    said = Run(project, port, HOST="192.0.2.1").refused()
    assert said.startswith(f"Port {port} cannot be used (Cannot assign requested address)")
    assert Run(project, port, HOST="not an address").refused().startswith("HOST is no address of")


def test_wrong_settings_are_told(project: Path, port: int) -> None:
    said = Run(project, port, JWT_SECRET="short", LOG_LEVEL="loud").refused()
    assert said.splitlines()[0] == "2 settings are wrong:"
    assert "JWT_SECRET: must have at least 32 characters" in said
    assert "LOG_LEVEL:" in said
    assert not (project / ".listo/postgres").exists()


def test_settings_of_the_env_file_hold_and_empty_ones_count_as_absent(
    project: Path, port: int, database_url: str
) -> None:
    (project / ".env").write_text(f"PORT={port}\nADMIN_EMAIL=eve@example.com\nLOG_LEVEL=\n"
                                  "ADMIN_PASSWORD=correct horse battery\n")  # fmt: skip
    run = Run(
        project, port, PORT="", JWT_SECRET="",
        LISTO_ENV_FILE=str(project / ".env"), DATABASE_URL=database_url,
    )  # fmt: skip
    run.wait_for(GREETED)
    answer = httpx.post(
        f"{run.url}/auth/login",
        json={"email": "eve@example.com", "password": "correct horse battery"},
        trust_env=False,
    )
    assert answer.status_code == 200
    assert "admin@example.com" not in run.output
    assert run.stop() == 0
    assert not (project / ".listo/postgres").exists()


def test_each_half_of_the_first_admin_that_is_not_given_is_made_up(
    project: Path, port: int, fresh_database: str
) -> None:
    given = "a password of one's own"
    run = Run(project, port, DATABASE_URL=fresh_database, ADMIN_PASSWORD=given)
    run.wait_for(GREETED)
    login(run, given).close()
    assert not (project / ".listo/admin_password").exists()
    assert "first password" not in run.output
    assert run.stop() == 0

    email = "o'neill@example.com"
    run = Run(project, port, DATABASE_URL=fresh_database, ADMIN_EMAIL=email)
    run.wait_for(f"Admin  {email}, password (shown this once)")
    login(run, (project / ".listo/admin_password").read_text(), email).close()
    printed = subprocess.run(
        ["sh", "-c", run.wait_for("curl -s")], capture_output=True, text=True, check=True
    )
    assert "access_token" in printed.stdout
    assert run.stop() == 0


@pytest.mark.parametrize(
    ("content", "why"),
    [(b"LOG_LEVEL=\xff\n", "line 1 is not UTF-8"), (None, "No such file or directory")],
)
def test_an_env_file_that_cannot_be_read_is_told(
    project: Path, port: int, content: bytes | None, why: str
) -> None:
    path = project / ".env"
    if content is not None:
        path.write_bytes(content)
    said = Run(project, port, LISTO_ENV_FILE=str(path)).refused()
    assert said == f"{path} cannot be read: {why}."


def test_the_workers_loops_run_beside_the_server(
    project: Path, port: int, database_url: str
) -> None:
    metrics = f"127.0.0.1:{free_port()}"
    run = Run(project, port, DATABASE_URL=database_url, WORKER_METRICS_ADDRESS=metrics)
    done = 'listo_worker_loop_runs_total{loop="build_indexes",outcome="succeeded"}'
    run.wait_ready(f"http://{metrics}/metrics", done)
    assert run.stop() == 0


def test_commands_beside_the_server_have_its_settings(project: Path, port: int) -> None:
    nasty = "x${HOME}y $1 \\ \\\" \" ' \\' # \r\n\t${JWT_SECRET:-z}é\\"
    run = Run(project, port, LISTO_EXTENSIONS="", ADMIN_PASSWORD=nasty)
    run.wait_for(GREETED)
    settings = project / ".listo/env"
    assert settings.stat().st_mode & 0o777 == 0o600
    assert dotenv_values(settings)["ADMIN_PASSWORD"] == nasty
    definition = project / "books.json"
    definition.write_text('{"name": "books", "schema": {"type": "object"}}')
    hidden = ("DATABASE_URL", "JWT_SECRET")
    applied = subprocess.run(
        [sys.executable, "-m", "app.cli", "collections", "apply", "--yes", str(definition)],
        cwd=API, capture_output=True, text=True, check=False,
        env={name: value for name, value in os.environ.items() if name not in hidden}
        | {"LISTO_ENV_FILE": str(settings)},
    )  # fmt: skip
    assert applied.returncode == 0, applied.stdout + applied.stderr
    assert Run(project, free_port()).refused().startswith("make dev already runs")
    assert settings.exists()
    assert run.stop() == 0
    assert not settings.exists()


def test_a_database_of_ones_own_that_is_away_is_told(project: Path, port: int) -> None:
    said = Run(project, port, DATABASE_URL="postgresql://a:b@127.0.0.1:1/c").refused()
    assert len(said.splitlines()) == 1
    assert "database" in said.lower()


def test_a_database_of_ones_own_that_does_not_exist_is_told(
    project: Path, port: int, cluster_url: str
) -> None:
    url = cluster_url.replace("/postgres?", "/absent?")
    said = Run(project, port, DATABASE_URL=url).refused()
    assert said == 'PostgreSQL says: database "absent" does not exist.'


def test_a_file_in_the_way_is_told(project: Path, port: int) -> None:
    (project / ".listo").write_text("in the way")
    said = Run(project, port).refused()
    assert said == f"Cannot write to {project}/.listo: File exists."


def test_an_unwritable_folder_is_told(project: Path, port: int) -> None:
    under: tuple[str, ...] = ()
    if os.geteuid() == 0:
        if shutil.which("setpriv") is None:
            pytest.skip("root may write everywhere, and setpriv is not here to keep it from that")
        under = ("setpriv", "--bounding-set", "-dac_override")
    project.chmod(0o555)
    said = Run(project, port, under=under).refused()
    assert said == f"Cannot write to {project}/.listo: Permission denied."
