"""The command line in general, `settings` and `migrate`: exit statuses, messages and --json."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest

from app import __version__
from app.db import migrations
from fixtures.cluster import execute, fetch
from fixtures.listo import Listo

if TYPE_CHECKING:
    from collections.abc import Iterator

COMMANDS = [
    (), ("migrate",), ("check",), ("settings",), ("settings", "check"), ("admin",),
    ("admin", "create"), ("admin", "reset-password"), ("keys",), ("keys", "create"),
    ("collections",), ("collections", "apply"),
]  # fmt: skip
NOBODY = "postgresql://nobody:s3cr3t-and-long@127.0.0.1:1/listo"


@pytest.fixture
def unmigrated_url(cluster_url: str) -> Iterator[str]:
    name = f"test_{uuid4().hex}"
    execute(cluster_url, f"CREATE DATABASE {name}")
    try:
        yield cluster_url.replace("/postgres?", f"/{name}?")
    finally:
        execute(cluster_url, f"DROP DATABASE {name} WITH (FORCE)")


def test_the_installed_command_tells_its_version() -> None:
    command = Path(sys.executable).parent / "listo"
    ended = subprocess.run((command, "--version"), capture_output=True, text=True, check=True)
    assert ended.stdout.strip() == __version__
    assert Listo(NOBODY).succeed("--version", "--json").report == {"version": __version__}


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_every_command_has_help_and_those_that_do_something_take_json(
    command: tuple[str, ...],
) -> None:
    outcome = Listo(NOBODY)(*command, "--help")
    assert outcome.status == 0
    assert "Usage: " in outcome.output
    # `--json` may stand after `listo` or at the end.
    assert ("--json" in outcome.output) is (not command or "Commands" not in outcome.output)


@pytest.mark.parametrize(
    "arguments",
    [
        ("nonsense",),
        ("migrate", "--nonsense"),
        ("admin", "create"),
        ("keys", "create", "ada@example.com"),
        ("keys", "create", "ada@example.com", "--scope", "records:all"),
        ("keys", "create", "ada@example.com", "--scope", "records:read", "--days", "0"),
        ("keys", "create", "ada@example.com", "--scope", "records:read", "--days", "99999999"),
        ("collections", "apply"),
    ],
    ids=" ".join,
)
def test_wrong_usage_is_status_2(arguments: tuple[str, ...]) -> None:
    outcome = Listo(NOBODY)(*arguments)
    assert (outcome.status, outcome.output) == (2, "")
    assert "Usage: " in outcome.errors
    for with_json in ((*arguments, "--json"), ("--json", *arguments)):
        outcome = Listo(NOBODY)(*with_json)
        assert (outcome.status, outcome.errors) == (2, "")
        assert outcome.report.keys() == {"error"}
        assert len(outcome.report["error"].splitlines()) == 1


def test_right_settings_are_confirmed(database_url: str) -> None:
    listo = Listo(database_url)
    assert listo.succeed("settings", "check").output == "The settings are right.\n"
    assert listo.succeed("settings", "check", "--json").report == {"ok": True}
    assert listo.succeed("--json", "settings", "check").report == {"ok": True}


@pytest.mark.parametrize("command", ["settings check", "migrate", "admin create a@example.com"])
def test_wrong_settings_are_status_4(command: str) -> None:
    wrong = {"JWT_SECRET": "too-short-a-secret", "LOG_LEVEL": "loud", "LISTO_PASSWORD": "x" * 12}
    outcome = Listo(NOBODY)(*command.split(), **wrong)
    assert (outcome.status, outcome.output) == (4, "")
    lines = outcome.errors.splitlines()
    assert lines[0] == "2 settings are wrong:"
    assert re.match(r"  JWT_SECRET: .*example", lines[1])
    assert re.match(r"  LOG_LEVEL: .*example", lines[2])
    for secret in ("too-short-a-secret", "s3cr3t"):
        assert secret not in outcome.errors
    outcome = Listo(NOBODY)(*command.split(), "--json", **wrong)
    assert outcome.status == 4
    assert outcome.report == {"error": "\n".join(lines)}


def test_migrate_tells_whether_it_changed_anything(unmigrated_url: str) -> None:
    listo = Listo(unmigrated_url)
    head = migrations.head()
    assert listo.succeed("migrate").output == f"Migrated to {head}.\n"
    assert listo.succeed("migrate").output == f"Already at {head}.\n"
    assert listo.succeed("migrate", "--json").report == {"changed": False, "migration": head}
    (row,) = fetch(unmigrated_url, "SELECT version_num FROM listo.migrations")
    assert row[0] == head


def test_two_migrations_at_once_are_one(unmigrated_url: str) -> None:
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(3) as threads:
        runs = [threads.submit(Listo(unmigrated_url), "migrate", "--json") for _ in range(3)]
        outcomes = [run.result() for run in runs]
    assert [outcome.status for outcome in outcomes] == [0, 0, 0]
    assert sorted(outcome.report["changed"] for outcome in outcomes) == [False, False, True]


@pytest.mark.parametrize("as_json", [False, True])
def test_a_database_that_is_away_is_status_3(as_json: bool) -> None:  # noqa: FBT001
    flags = ("--json",) if as_json else ()
    for command in ("migrate", "admin create ada@example.com --password long-enough-password"):
        outcome = Listo(NOBODY)(*command.split(), *flags)
        assert outcome.status == 3
        fault = outcome.report["error"] if as_json else outcome.fault
        assert "cannot be reached" in fault
        assert "s3cr3t" not in fault


def test_a_database_that_does_not_exist_is_status_3(database_url: str) -> None:
    outcome = Listo(re.sub(r"/test_\w+", "/nowhere", database_url))("migrate")
    assert outcome.status == 3
    assert '"nowhere" does not exist' in outcome.fault


def test_a_database_that_was_never_migrated_is_status_3(unmigrated_url: str) -> None:
    outcome = Listo(unmigrated_url)(
        "admin", "create", "ada@example.com", "--password", "long enough password"
    )
    assert outcome.status == 3
    assert outcome.fault == "The database was never migrated; run: listo migrate"


def test_what_postgresql_refuses_is_status_1(database_url: str) -> None:
    role = f"stranger_{uuid4().hex}"
    execute(database_url, f"CREATE ROLE {role} LOGIN")
    try:
        listo = Listo(database_url.replace("//postgres@", f"//{role}@"))
        create = ("admin", "create", "ada@example.com", "--password", "long enough password")
        outcome = listo(*create)
        assert outcome.status == 1
        assert outcome.fault == "PostgreSQL refused: permission denied for schema listo"
        assert listo(*create, "--json").report == {"error": outcome.fault}
    finally:
        execute(database_url, f"DROP ROLE {role}")


def test_a_question_without_an_answer_is_status_1() -> None:
    outcome = Listo(NOBODY)("admin", "create", "ada@example.com", "--json")
    assert outcome.status == 1
    asked, told = outcome.output.splitlines()
    assert asked == "Password:"
    assert json.loads(told) == {"error": "Aborted."}


def test_a_newer_database_is_left_alone(unmigrated_url: str) -> None:
    listo = Listo(unmigrated_url)
    listo.succeed("migrate")
    execute(unmigrated_url, "UPDATE listo.migrations SET version_num = '9999'")
    create = ("keys", "create", "ada@example.com", "--scope", "records:read")
    for command in (("migrate",), create):
        outcome = listo(*command)
        assert outcome.status == 3
        assert "deploy the newer code" in outcome.fault
    assert json.loads(listo("migrate", "--json").output).keys() == {"error"}
