"""`listo check`: whether a server would start, tried without serving."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from app.db import migrations
from fixtures.cluster import execute
from fixtures.listo import Listo

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

NOBODY = "postgresql://nobody:s3cr3t-and-long@127.0.0.1:1/listo"


@pytest.fixture
def set_migration(database_url: str) -> Iterator[Callable[[str], None]]:
    """Sets the migration that the database says it is at, until the test ends."""

    def set_to(revision: str) -> None:
        execute(database_url, f"UPDATE listo.migrations SET version_num = '{revision}'")

    yield set_to
    set_to(migrations.head())


def test_a_complete_setup_can_start(database_url: str) -> None:
    done = Listo(database_url)("check")
    assert (done.status, done.output) == (0, "It can start.\n")
    report = Listo(database_url)("check", "--json").report
    assert report == {"ok": True, "migration": migrations.head(), "wanted": migrations.head()}


def test_an_older_database_is_to_be_migrated(
    database_url: str, set_migration: Callable[[str], None]
) -> None:
    set_migration("0001")
    done = Listo(database_url)("check")
    assert done.status == 0
    assert f"after `listo migrate`, to {migrations.head()}" in done.output


def test_a_newer_database_is_status_3(
    database_url: str, set_migration: Callable[[str], None]
) -> None:
    set_migration("9999")
    done = Listo(database_url)("check")
    assert (done.status, "at migration 9999" in done.fault) == (3, True)


def test_a_database_that_is_away_is_status_3_if_it_is_asked() -> None:
    assert Listo(NOBODY)("check").status == 3
    assert Listo(NOBODY)("check", "--no-database").status == 0


@pytest.mark.parametrize(
    ("code", "why"),
    [
        ("router = 1", "is not a FastAPI router"),
        ("import nowhere", "No module named 'nowhere'"),
        ("routr = 1", "has no attribute 'router'"),
        ("router =", "SyntaxError"),
        ("1 / 0", "ZeroDivisionError"),
    ],
)
def test_an_extension_that_does_not_load_is_status_4(
    database_url: str, tmp_path: Path, code: str, why: str
) -> None:
    (tmp_path / "of_a_test.py").write_text(f"{code}\n")
    done = Listo(database_url)(
        "check", LISTO_EXTENSIONS="of_a_test:router", PYTHONPATH=str(tmp_path)
    )
    assert done.status == 4
    assert done.fault.startswith("LISTO_EXTENSIONS: ")
    assert why in done.fault


def test_wrong_settings_are_status_4(database_url: str) -> None:
    done = Listo(database_url)("check", RATE_LIMIT_USER="foo")
    assert done.status == 4
    assert "RATE_LIMIT_USER" in done.errors
