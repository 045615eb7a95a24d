"""The embedded PostgreSQL: what a killed or half-made one leaves is no obstacle."""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest

from app.dev.postgres import THROW_AWAY, EmbeddedPostgres
from fixtures.cluster import execute, fetch

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def folder() -> Iterator[Path]:
    made = Path(tempfile.mkdtemp(prefix="listo-pg-"))
    made.chmod(0o755)
    yield made
    EmbeddedPostgres(made, THROW_AWAY).stop()
    shutil.rmtree(made, ignore_errors=True)


def pid(postgres: EmbeddedPostgres) -> int:
    return int((postgres.data / "postmaster.pid").read_text().split()[0])


def test_a_cluster_is_made_kept_and_taken_over(folder: Path) -> None:
    # With the settings of `make dev`: what was committed is there after a crash.
    first = EmbeddedPostgres(folder)
    first.start()
    execute(first.url("postgres"), "CREATE TABLE kept (x int)")
    other = EmbeddedPostgres(folder)
    other.start()
    assert pid(other) == pid(first)
    os.kill(pid(first), signal.SIGKILL)
    psutil.wait_procs([psutil.Process(pid(first))], timeout=30)
    other.start()
    assert fetch(other.url("postgres"), "SELECT * FROM kept") == []
    other.stop()
    assert not other.running()
    other.stop()


def test_a_half_made_cluster_is_made_anew(folder: Path) -> None:
    half = folder / "postgres.new"
    half.mkdir()
    (half / "PG_VERSION").write_text("18")
    postgres = EmbeddedPostgres(folder, THROW_AWAY)
    postgres.start()
    assert fetch(postgres.url("postgres"), "SELECT 1")[0][0] == 1


def test_a_pid_file_that_names_somebody_else_is_forgotten(folder: Path) -> None:
    postgres = EmbeddedPostgres(folder, THROW_AWAY)
    postgres.start()
    text = (postgres.data / "postmaster.pid").read_text()
    postgres.stop()
    stale = text.replace(text.split()[0], str(os.getpid()), 1)
    (postgres.data / "postmaster.pid").write_text(stale)
    assert not postgres.running()
    postgres.start()
    assert fetch(postgres.url("postgres"), "SELECT 1")[0][0] == 1


def test_nobody_else_can_connect(folder: Path) -> None:
    postgres = EmbeddedPostgres(folder, THROW_AWAY)
    postgres.start()
    addresses = fetch(postgres.url("postgres"), "SHOW listen_addresses")[0][0]
    assert addresses == ""
    sockets = Path(fetch(postgres.url("postgres"), "SHOW unix_socket_directories")[0][0])
    assert sockets.stat().st_mode & 0o077 == 0


def test_text_sorts_by_code_point(folder: Path) -> None:
    postgres = EmbeddedPostgres(folder, THROW_AWAY)
    postgres.start()
    rows = fetch(postgres.url("postgres"), "SELECT x FROM unnest('{a,Z,é,z}'::text[]) x ORDER BY x")
    assert [row[0] for row in rows] == ["Z", "a", "z", "é"]
