"""The stack's PostgreSQL by its own entry point: cluster, roles, passwords, settings."""

from __future__ import annotations

import os
import re
import signal
import stat
import subprocess
import time
from typing import TYPE_CHECKING

import asyncpg
import pytest

from fixtures.cluster import execute, fetch
from fixtures.stack_postgres import ROLES, SOURCE, StackPostgres, stack_postgres

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def stopped_postgres() -> Iterator[StackPostgres]:
    """A PostgreSQL that is not started."""
    with stack_postgres() as made:
        yield made


@pytest.fixture(scope="module")
def postgres() -> Iterator[StackPostgres]:
    with stack_postgres() as made:
        made.start()
        yield made


def setting(postgres: StackPostgres, name: str) -> str:
    return postgres.superuser(f"SHOW {name}")


def test_settings_are_those_of_the_file_and_the_memory(postgres: StackPostgres) -> None:
    wanted = {
        "shared_buffers": "128MB", "effective_cache_size": "307MB", "maintenance_work_mem": "32MB",
        "work_mem": "4MB", "max_connections": "128", "data_checksums": "on",
        "wal_level": "replica", "archive_mode": "on", "password_encryption": "scram-sha-256",
        "shared_preload_libraries": "pg_stat_statements", "log_parameter_max_length": "0",
        "log_min_duration_statement": "500ms", "server_encoding": "UTF8", "TimeZone": "UTC",
        "config_file": str(postgres.sockets / "postgresql.conf"),
    }  # fmt: skip
    assert {name: setting(postgres, name) for name in wanted} == wanted
    # PostgreSQL reports that settings "could not be applied" if an argument overrides them.
    assert set(postgres.superuser(
        "SELECT name FROM pg_file_settings WHERE error IS NOT NULL").split()
    ) == {"listen_addresses", "port"}  # fmt: skip
    assert postgres.superuser("SELECT error FROM pg_hba_file_rules WHERE error IS NOT NULL") == ""
    assert stat.S_IMODE(postgres.data.stat().st_mode) == 0o700


def test_no_role_can_more_than_it_should(postgres: StackPostgres) -> None:
    rows = postgres.superuser(
        "SELECT rolname, rolsuper OR rolcreatedb OR rolcreaterole OR rolbypassrls, rolreplication"
        " FROM pg_roles WHERE rolname LIKE 'listo%' ORDER BY 1"
    )
    assert rows.split("\n") == [
        "listo_app|f|f", "listo_backup|f|t", "listo_monitor|f|f", "listo_owner|f|f",
    ]  # fmt: skip
    limits = fetch(
        postgres.url("app"),
        "SELECT current_setting('statement_timeout'),"
        " current_setting('idle_in_transaction_session_timeout')",
    )
    assert tuple(limits[0]) == ("30s", "1min")


@pytest.mark.parametrize("role", [*ROLES, "postgres"])
def test_each_role_gets_into_only_its_databases(postgres: StackPostgres, role: str) -> None:
    may = {"owner": {"listo"}, "app": {"listo"}, "monitor": {"listo", "postgres"},
           "backup": {"listo", "postgres"}}  # fmt: skip
    found = set()
    for database in ("listo", "postgres", "template1"):
        if role == "postgres":
            url = f"postgresql://postgres:x@127.0.0.1:{postgres.port}/{database}"
        else:
            url = postgres.url(role, database)
        try:
            execute(url, "SELECT 1")
        except asyncpg.InvalidAuthorizationSpecificationError:
            continue
        found.add(database)
    assert found == may.get(role, set())


def test_monitoring_sees_statements_and_changes_nothing(postgres: StackPostgres) -> None:
    monitor = postgres.url("monitor")
    execute(postgres.url("app"), "SELECT 4711")
    (row,) = fetch(
        monitor, "SELECT count(*) FROM pg_stat_statements JOIN pg_roles r ON r.oid = userid"
                 " WHERE rolname = 'listo_app' AND query = 'SELECT $1'",
    )  # fmt: skip
    assert row[0] == 1
    fetch(monitor, "SELECT * FROM pg_stat_archiver")
    with pytest.raises(asyncpg.ReadOnlySQLTransactionError):
        execute(monitor, "CREATE TABLE public.x ()")


def test_backups_have_what_they_call(postgres: StackPostgres) -> None:
    for database in ("postgres", "listo"):
        execute(
            postgres.url("backup", database),
            "SELECT pg_backup_start('test', true)",
            "SELECT pg_create_restore_point('test')",
        )
    copied = postgres.data.parent / "copied"
    postgres._run(
        "pg_basebackup", "-D", copied, "-c", "fast", "-X", "stream",
        "-d", postgres.url("backup", "").removesuffix("/"),
    )  # fmt: skip
    assert (copied / "backup_manifest").exists()


def test_no_password_is_kept_or_told(postgres: StackPostgres) -> None:
    texts = [postgres.said(), postgres.superuser("SELECT query FROM pg_stat_statements")]
    texts += [path.read_text(errors="replace") for path in postgres.sockets.iterdir()
              if path.is_file()]  # fmt: skip
    for role in ROLES:
        assert not any(postgres.password(role) in text for text in texts), role


def test_values_are_not_logged(postgres: StackPostgres) -> None:
    postgres.superuser("CREATE TABLE unique_address (address text PRIMARY KEY)")
    url = postgres.url("owner")
    postgres.superuser("GRANT INSERT ON unique_address TO listo_owner")
    insert = "INSERT INTO public.unique_address SELECT $1"
    fetch(url, insert, "ada@example.com")
    with pytest.raises(asyncpg.UniqueViolationError):
        fetch(url, insert, "ada@example.com")
    fetch(url, "SELECT pg_sleep(0.6), $1::text", "bob@example.com")
    assert "pg_sleep" in postgres.said()
    assert "unique_address_pkey" in postgres.said()
    assert "@example.com" not in postgres.said()
    assert re.search(r"app=\S* user=listo_owner db=listo state=23505 ERROR: ", postgres.said())


def test_a_start_applies_new_settings_and_resets_roles(stopped_postgres: StackPostgres) -> None:
    stopped_postgres.start()
    execute(stopped_postgres.url("owner"), "CREATE TABLE kept ()")
    stopped_postgres.superuser("ALTER ROLE listo_app SUPERUSER")
    before = stopped_postgres.url("app")
    assert stopped_postgres.stop() == 0
    stopped_postgres.set_password("app", "another")
    stopped_postgres.start("-c", "random_page_cost=3", MEMORY_MB="8192")
    execute(stopped_postgres.url("app"), "SELECT 1")
    with pytest.raises(asyncpg.InvalidPasswordError):
        execute(before, "SELECT 1")
    assert (
        stopped_postgres.superuser("SELECT rolsuper FROM pg_roles WHERE rolname = 'listo_app'")
        == "f"
    )
    assert stopped_postgres.superuser("SELECT count(*) FROM kept") == "0"
    wanted = {"shared_buffers": "2GB", "max_connections": "500", "random_page_cost": "3",
              "maintenance_work_mem": "512MB", "work_mem": "4194kB"}  # fmt: skip
    assert {name: setting(stopped_postgres, name) for name in wanted} == wanted


def test_a_start_after_kills_at_any_moment_succeeds(stopped_postgres: StackPostgres) -> None:
    for seconds in (0.1, 0.3, 0.6, 1.0, 1.5):
        process = stopped_postgres.launch()
        time.sleep(seconds)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    stopped_postgres.start()
    execute(stopped_postgres.url("app"), "SELECT 1")
    assert {path.name for path in stopped_postgres.data.parent.iterdir()} == {"pgdata", ".lock"}


def test_a_signal_during_the_start_ends_it_in_order(stopped_postgres: StackPostgres) -> None:
    stopped_postgres.start()
    stopped_postgres.stop()
    process = stopped_postgres.launch()
    while "start" not in {path.name for path in stopped_postgres.sockets.iterdir()}:
        time.sleep(0.01)
    time.sleep(0.2)
    stopped_postgres.stop()
    assert process.returncode in (0, 143, -signal.SIGINT, 130)
    stopped_postgres.start()


def test_a_cluster_has_one_server_at_a_time(stopped_postgres: StackPostgres) -> None:
    stopped_postgres.start()
    script = stopped_postgres.files / "entrypoint.sh"
    script.write_text(script.read_text().replace("--timeout 60", "--timeout 0"))
    first, stopped_postgres.process = stopped_postgres.process, None
    assert first is not None
    assert (
        stopped_postgres.refused() == f"postgres: another server works on {stopped_postgres.data}"
    )
    stopped_postgres.process = first


@pytest.mark.parametrize("content", [None, ""])
def test_no_start_without_a_password(stopped_postgres: StackPostgres, content: str | None) -> None:
    path = stopped_postgres.secrets / "postgres_monitor_password"
    if content is None:
        path.unlink()
    else:
        path.write_text(content)
    stopped_postgres.launch().wait(60)
    last = stopped_postgres.said().splitlines()[-1]
    assert last.startswith(f"postgres: {path} is {'missing' if content is None else 'empty'}")


def test_a_folder_that_holds_something_else_is_left_alone(stopped_postgres: StackPostgres) -> None:
    stopped_postgres.data.mkdir()
    (stopped_postgres.data / "precious").touch()
    assert "is no cluster" in stopped_postgres.refused()
    assert (stopped_postgres.data / "precious").exists()


def test_the_data_of_another_version_are_left_alone(stopped_postgres: StackPostgres) -> None:
    stopped_postgres.data.mkdir()
    (stopped_postgres.data / "PG_VERSION").write_text("9\n")
    stopped_postgres.data.chmod(0o755)
    assert "is of PostgreSQL 9, this is " in stopped_postgres.refused()


def test_the_archive_command_fails_only_where_pgbackrest_is_set_up_and_fails(
    tmp_path: Path,
) -> None:
    conf, program = tmp_path / "pgbackrest.conf", tmp_path / "pgbackrest"

    def archive() -> tuple[int, str]:
        ended = subprocess.run(
            ["sh", SOURCE / "archive.sh", "pg_wal/000000010000000000000001"],
            env={"PATH": f"{tmp_path}:/usr/bin:/bin", "PGBACKREST_CONFIG": str(conf)},
            capture_output=True,
            text=True,
            check=False,
        )
        return ended.returncode, ended.stdout.strip()

    assert archive() == (0, "")
    conf.touch()
    status, _ = archive()
    assert status != 0, "configured and not installed: PostgreSQL must keep the file"
    program.write_text('#!/bin/sh\necho "$@"\n')
    program.chmod(0o755)
    assert archive() == (0, "--stanza=listo archive-push pg_wal/000000010000000000000001")
    program.write_text("#!/bin/sh\nexit 82\n")
    assert archive()[0] == 82
