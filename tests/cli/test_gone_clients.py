"""PostgreSQL ends the statements of a process that is gone."""

from __future__ import annotations

import subprocess
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from fixtures.background_program import API
from fixtures.cluster import fetch
from fixtures.listo import COMMAND, Listo, environment
from fixtures.open_transactions import open_transaction
from fixtures.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

EMAIL = "ada@example.com"
WAITING = (
    "SELECT application_name FROM pg_stat_activity WHERE datname = current_database()"
    " AND wait_event_type = 'Lock'"
)


@contextmanager
def killed_at_work(url: str, *arguments: object) -> Iterator[Callable[[], None]]:
    """A command that runs; the yielded function kills it."""
    process = subprocess.Popen(
        (*COMMAND, *map(str, arguments)), cwd=API,
        env=environment(url, LISTO_PASSWORD="a long enough password"),
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip

    def kill() -> None:
        assert process.poll() is None
        process.kill()
        process.wait()

    try:
        yield kill
    finally:
        process.kill()
        process.wait()


def programs_that_wait(url: str) -> list[str]:
    return [row["application_name"] for row in fetch(url, WAITING)]


@pytest.fixture
def listo(database_url: str) -> Listo:
    return Listo(database_url)


def test_the_building_of_an_index_ends(listo: Listo, database_url: str, tmp_path: Path) -> None:
    file = tmp_path / "books.yaml"
    file.write_text("name: books\nschema: {}\n")
    listo.succeed("collections", "apply", file, "--yes")
    file.write_text("name: books\nschema: {}\nindexes: [a]\n")
    old = "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ; SELECT 1"
    with (
        open_transaction(database_url, old),
        killed_at_work(database_url, "collections", "apply", file, "--yes") as kill,
    ):
        wait_until(lambda: programs_that_wait(database_url) == ["listo-indexes"])
        kill()
        wait_until(lambda: programs_that_wait(database_url) == [])


def test_a_waiting_statement_ends(listo: Listo, database_url: str) -> None:
    assert listo("admin", "create", EMAIL, LISTO_PASSWORD="a long enough password").status == 0
    with (
        open_transaction(
            database_url, f"SELECT FROM listo.users WHERE email = '{EMAIL}' FOR UPDATE"
        ),
        killed_at_work(database_url, "admin", "reset-password", EMAIL) as kill,
    ):
        wait_until(lambda: programs_that_wait(database_url) == ["listo-cli"])
        kill()
        wait_until(lambda: programs_that_wait(database_url) == [])
