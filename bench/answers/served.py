"""A tree's server, as it ships, on new stores of its own."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from app.dev.postgres import THROW_AWAY, EmbeddedPostgres
from bench.answers import wire
from bench.answers.errors import CannotCompare
from fixtures.cluster import execute
from fixtures.redis import PROGRAM, redis_server

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

WITH_REDIS = PROGRAM is not None
_START_SECONDS = 60
_MOST_SAID = 400
_READY = b"GET /health/ready HTTP/1.1\r\nHost: listo.example\r\n\r\n"
# Only these variables of the developer are handed on, so that both servers have the same settings.
_KEPT = ("PATH", "HOME", "TMPDIR", "LANG", "LC_ALL")


@contextmanager
def cluster() -> Iterator[EmbeddedPostgres]:
    """A PostgreSQL that is thrown away afterwards."""
    with ExitStack() as stack:
        folder = Path(tempfile.mkdtemp(prefix="listo-answers-"))
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        # PostgreSQL may run as another user.
        folder.chmod(0o755)
        postgres = EmbeddedPostgres(folder, THROW_AWAY)
        stack.callback(postgres.stop)
        postgres.start()
        yield postgres


@contextmanager
def new_stores(postgres: EmbeddedPostgres, name: str) -> Iterator[dict[str, str]]:
    """The settings that name an empty database and, where Redis is installed, an empty Redis."""
    execute(postgres.url("postgres"), f"CREATE DATABASE {name}")
    settings = {"DATABASE_URL": postgres.url(name)}
    if not WITH_REDIS:
        yield settings
        return
    with redis_server() as url:
        yield {**settings, "REDIS_URL": url}


@contextmanager
def serving(tree: Path, name: str, settings: Mapping[str, str]) -> Iterator[int]:
    """The port of the server of the code in `tree`. Raises CannotCompare where it does not start.

    A single process answers one request at a time, so that all events have an order.
    """
    api = tree / "services" / "api"
    if not (api / "gunicorn.conf.py").exists():
        raise CannotCompare(f"{name} has no services/api/gunicorn.conf.py to be served by.")
    port = _free_port()
    environment = {
        **{name: os.environ[name] for name in _KEPT if name in os.environ},
        "PYTHONPATH": str(api),
        # This fixes the order of sets.
        "PYTHONHASHSEED": "0",
        "LISTO_ENV_FILE": os.devnull,
        "JSON_LOGGING": "true",
        **settings,
    }
    command = [
        sys.executable, "-m", "gunicorn", "app.main:app", f"--bind=127.0.0.1:{port}",
        "--workers=1", "--log-level=warning",
    ]  # fmt: skip
    with tempfile.TemporaryFile() as output:
        # The server has a group of its own, which Ctrl-C spares.
        process = subprocess.Popen(
            command, cwd=api, env=environment, stdin=subprocess.DEVNULL, stdout=output,
            stderr=output, process_group=0,
        )  # fmt: skip
        try:
            if not _comes_up(process, port):
                output.seek(0)
                said = output.read().decode(errors="replace").strip().splitlines()
                last = said[-1][:_MOST_SAID] if said else "it says nothing"
                raise CannotCompare(f"the server of {name} does not start: {last}")
            yield port
        finally:
            process.terminate()
            process.wait()


def _comes_up(process: subprocess.Popen[bytes], port: int) -> bool:
    deadline = time.monotonic() + _START_SECONDS
    while process.poll() is None and time.monotonic() < deadline:
        if wire.send(port, _READY, to_the_end=False).status == 200:
            return True
        time.sleep(0.1)
    return False


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
