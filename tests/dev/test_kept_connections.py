"""Under each server command, no answer on a kept connection waits for an acknowledgement."""

from __future__ import annotations

import signal
import sys
from pathlib import Path

import pytest

from fixtures.background_program import Program
from fixtures.dev import GREETED, Run
from fixtures.packets import holds_back

BIN = Path(sys.executable).parent
SERVERS = {
    "uvicorn": [str(BIN / "uvicorn"), "app.main:app", "--port", "{port}"],
    "gunicorn": [str(BIN / "gunicorn"), "app.main:app", "-w", "1", "--bind", "127.0.0.1:{port}"],
}


def test_make_dev_holds_nothing_back(project: Path, port: int, fresh_database: str) -> None:
    run = Run(project, port, DATABASE_URL=fresh_database)
    run.wait_for(GREETED)
    assert not holds_back("127.0.0.1", port)
    assert run.stop(signal.SIGINT) == 0


@pytest.mark.parametrize("server", SERVERS)
def test_a_server_by_itself_holds_nothing_back(server: str, port: int, fresh_database: str) -> None:
    command = [word.format(port=port) for word in SERVERS[server]]
    environment = {
        "DATABASE_URL": fresh_database, "JWT_SECRET": "0123456789abcdefghijklmnopqrstuv",
    }  # fmt: skip
    running = Program(command, environment)
    try:
        running.wait_ready(f"http://127.0.0.1:{port}/health/ready")
        assert not holds_back("127.0.0.1", port)
    finally:
        running.stop(signal.SIGTERM)
