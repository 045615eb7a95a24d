"""The service under the servers that it is deployed with, started as the documents say."""

from __future__ import annotations

import json
import secrets
import signal
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import psutil
import pytest

from fixtures import needs, redis
from fixtures.background_program import Program, free_port, wait_until_ended
from fixtures.cluster import execute, fetch
from fixtures.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

BIN = Path(sys.executable).parent
GUNICORN = (
    str(BIN / "gunicorn"), "app.main:app", "-k", "uvicorn_worker.UvicornWorker"
)  # fmt: skip


@contextmanager
def running(database_url: str, *command: str, **environment: str) -> Iterator[Program]:
    """The program; processes that still run at the end are killed."""
    program = Program(
        command,
        {"DATABASE_URL": database_url, "JWT_SECRET": "0123456789abcdefghijklmnopqrstuv",
         "LOG_LEVEL": "WARNING", **environment},
    )  # fmt: skip
    try:
        yield program
    finally:
        if program.process.poll() is None:
            program.stop(signal.SIGKILL)


def sessions(database_url: str) -> set[int]:
    """The backends of PostgreSQL that serve Listo."""
    rows = fetch(
        database_url,
        "SELECT pid FROM pg_stat_activity"
        " WHERE datname = current_database() AND application_name LIKE 'listo%'",
    )
    return {row["pid"] for row in rows}


def test_uvicorn_reloads_and_listens_everywhere(database_url: str) -> None:
    port = free_port()
    everywhere = "0.0.0.0"  # noqa: S104 - as in the documents
    command = (
        str(BIN / "uvicorn"), "app.main:app", "--reload", "--host", everywhere, "--port", str(port)
    )  # fmt: skip
    with running(database_url, *command) as program:
        program.wait_ready(f"http://127.0.0.1:{port}/health/ready")
        assert program.stop(signal.SIGINT) == 0
    assert "Traceback" not in program.output


def test_listo_serves_by_one_process_in_development(database_url: str) -> None:
    port = free_port()
    command = (str(BIN / "listo"), "serve", "--port", str(port))
    with running(database_url, *command, LOG_LEVEL="INFO") as program:
        program.wait_ready(f"http://127.0.0.1:{port}/health/ready")
        assert not psutil.Process(program.process.pid).children()
        assert program.stop(signal.SIGINT) == 0
    assert f"http://127.0.0.1:{port}" in program.output
    assert "Traceback" not in program.output


def test_listo_serves_by_gunicorn_in_production(database_url: str, tmp_path: Path) -> None:
    port = free_port()
    # The command works in any folder.
    command = ("bash", "-c", f"cd {tmp_path} && exec {BIN}/listo serve --port {port}")
    production = {"ENVIRONMENT": "production", "JWT_SECRET": secrets.token_urlsafe(32)}
    with running(database_url, *command, **production) as program:
        program.wait_ready(f"http://127.0.0.1:{port}/health/ready")
        (worker,) = psutil.Process(program.process.pid).children()
        assert "gunicorn" in " ".join(worker.cmdline())
        assert program.stop(signal.SIGTERM) == 0
    assert "Traceback" not in program.output


@pytest.mark.parametrize(
    ("options", "status", "line"),
    [
        (["--workers=2"], 4, "2 workers need Redis"),
        (["--port=70000"], 2, "--port"),
        (["--host=192.0.2.1"], 3, "192.0.2.1"),
    ],
)
def test_listo_tells_why_it_does_not_serve(
    database_url: str, options: list[str], status: int, line: str
) -> None:
    with running(database_url, str(BIN / "listo"), "serve", *options) as program:
        assert program.finish() == status, program.output
    assert line in program.output
    assert "Traceback" not in program.output


def test_gunicorn_serves_with_one_worker(database_url: str) -> None:
    port = free_port()
    command = (*GUNICORN, "-w", "1", "--bind", f"127.0.0.1:{port}")
    with running(database_url, *command) as program:
        program.wait_ready(f"http://127.0.0.1:{port}/health/ready")
        assert program.stop(signal.SIGTERM) == 0
    assert "Traceback" not in program.output


def test_gunicorn_with_more_needs_redis(database_url: str) -> None:
    command = (*GUNICORN, "-w", "4", "--bind", f"127.0.0.1:{free_port()}")
    with running(database_url, *command) as program:
        assert program.finish() == 4, program.output
    (said,) = [line for line in program.lines if not line.startswith("[")]
    assert said == (
        "4 workers need Redis, so that limits and caches agree: "
        "set REDIS_URL, or start one worker (-w 1).\n"
    )


@needs.unless(None if redis.PROGRAM else "there is no redis-server here")
def test_gunicorn_serves_with_four_workers_on_redis(database_url: str) -> None:
    port = free_port()
    command = (*GUNICORN, "-w", "4", "--bind", f"127.0.0.1:{port}")
    with redis.redis_server() as url, running(database_url, *command, REDIS_URL=url) as program:
        program.wait_ready(f"http://127.0.0.1:{port}/health/ready")
        workers = psutil.Process(program.process.pid).children()
        assert len(workers) == 4
        workers[0].kill()
        wait_until_ended(workers[0])
        program.wait_ready(f"http://127.0.0.1:{port}/health/ready")
        assert program.stop(signal.SIGTERM) == 0
    assert "Traceback" not in program.output


def test_a_second_process_without_redis_is_refused(database_url: str) -> None:
    port = free_port()
    first = (str(BIN / "uvicorn"), "app.main:app", "--port", str(port))
    second = (str(BIN / "uvicorn"), "app.main:app", "--port", str(free_port()))
    with running(database_url, *first) as serving:
        serving.wait_ready(f"http://127.0.0.1:{port}/health/ready")
        before = sessions(database_url)
        with running(database_url, *second, JSON_LOGGING="true") as program:
            while sessions(database_url) <= before:
                assert program.process.poll() is None
            # While the second process looks whether it is alone, others can build indexes.
            execute(
                database_url,
                "SET statement_timeout = '30s'",
                "CREATE INDEX CONCURRENTLY ON listo.events (type)",
            )
            assert program.process.poll() is None
            assert program.finish() not in (0, -signal.SIGKILL)
        wait_until(lambda: sessions(database_url) <= before)
        levels = {json.loads(line)["level"]: json.loads(line)["message"] for line in program.lines}
        assert levels["CRITICAL"].startswith("Another process already serves this database.")
        assert "set REDIS_URL" in levels["CRITICAL"]
        assert levels["ERROR"] == "Application startup failed. Exiting."
        assert levels.keys() == {"CRITICAL", "ERROR"}
        assert httpx.get(f"http://127.0.0.1:{port}/health", trust_env=False).is_success


@pytest.mark.parametrize(
    "command",
    [("uvicorn", "app.main:app"), ("gunicorn", "app.main:app"), ("listo", "serve"),
     ("listo", "worker")],
)  # fmt: skip
def test_wrong_settings_are_told_without_a_traceback(
    database_url: str, command: tuple[str, ...]
) -> None:
    program, *rest = command
    with running(database_url, str(BIN / program), *rest, JWT_SECRET="short") as run:
        assert run.finish() == 4, run.output
    assert "Traceback" not in run.output
    assert "JWT_SECRET: must have at least 32 characters, has 5" in run.output


def test_logs_are_json_or_colours_as_the_setting_says(database_url: str) -> None:
    port = free_port()
    command = (str(BIN / "uvicorn"), "app.main:app", "--port", str(port))
    for setting, first in (("true", "{"), ("false", "\x1b[")):
        with running(database_url, *command, JSON_LOGGING=setting, LOG_LEVEL="INFO") as program:
            program.wait_ready(f"http://127.0.0.1:{port}/health/ready")
            program.stop(signal.SIGINT)
        # uvicorn writes the lines before the settings are read.
        own = [line for line in program.lines if "health/ready" in line]
        assert own
        assert all(line.startswith(first) for line in own)


@pytest.mark.parametrize(
    "command",
    [(str(BIN / "uvicorn"), "app.main:app"), (str(BIN / "listo"), "serve"), GUNICORN],
    ids=["uvicorn", "listo", "gunicorn"],
)
def test_no_server_takes_a_clients_word_for_its_address(
    database_url: str, command: tuple[str, ...]
) -> None:
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    where = ("--bind", f"127.0.0.1:{port}") if command == GUNICORN else ("--port", str(port))
    with running(database_url, *command, *where, RATE_LIMIT_ANONYMOUS="2/hour") as program:
        program.wait_ready(f"{url}/health/ready")
        answers = [
            httpx.get(
                f"{url}/auth/me", headers={"X-Forwarded-For": f"192.0.2.{n}"}, trust_env=False
            ).status_code
            for n in range(3)
        ]
        assert answers == [401, 401, 429]
        program.stop(signal.SIGTERM)


def test_the_worker_serves_metrics(database_url: str) -> None:
    port = free_port()
    with running(
        database_url, str(BIN / "listo"), "worker", WORKER_METRICS_ADDRESS=f"127.0.0.1:{port}"
    ) as worker:
        done = 'listo_worker_loop_runs_total{loop="build_indexes",outcome="succeeded"}'
        worker.wait_ready(f"http://127.0.0.1:{port}/metrics", done)
        assert worker.stop(signal.SIGTERM) == 0
