"""`listo migrate` beside others that work in the same database."""

from __future__ import annotations

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING
from uuid import uuid4

import asyncpg
import pytest

from app.db import migrations
from fixtures.cluster import execute, fetch
from fixtures.listo import Listo
from fixtures.open_transactions import open_transaction

if TYPE_CHECKING:
    from collections.abc import Iterator


WAITING = (
    "SELECT count(*) FROM pg_stat_activity"
    " WHERE application_name = 'listo-migrate' AND datname = current_database()"
)
ASKING = (
    "SELECT pid FROM pg_stat_activity WHERE application_name = 'listo-migrate'"
    " AND datname = current_database() AND wait_event_type = 'Lock'"
)

# The name is free again at the end; a statement that wants the name waits for that.
TAKEN = "CREATE SCHEMA records; DROP SCHEMA records"


@pytest.fixture
def unmigrated_url(cluster_url: str) -> Iterator[str]:
    name = f"test_{uuid4().hex}"
    execute(cluster_url, f"CREATE DATABASE {name}")
    try:
        yield cluster_url.replace("/postgres?", f"/{name}?")
    finally:
        execute(cluster_url, f"DROP DATABASE {name} WITH (FORCE)")


def test_a_waiting_migration_holds_up_no_concurrent_index(unmigrated_url: str) -> None:
    async def run() -> tuple[float, int]:
        first = await asyncpg.connect(unmigrated_url)
        await first.execute("CREATE TABLE large (x int)")
        await first.execute("SELECT pg_advisory_lock($1)", migrations.LOCK)
        loop = asyncio.get_running_loop()
        with ThreadPoolExecutor(1) as threads:
            second = loop.run_in_executor(threads, Listo(unmigrated_url), "migrate")
            while await first.fetchval(WAITING) == 0:  # noqa: ASYNC110 - a process tells no event
                await asyncio.sleep(0.05)
            await asyncio.sleep(0.5)
            began = time.monotonic()
            await first.execute("CREATE INDEX CONCURRENTLY ON large (x)", timeout=20)
            seconds = time.monotonic() - began
            assert not second.done()
            await first.close()
            outcome = await second
        return seconds, outcome.status

    seconds, status = asyncio.run(run())
    assert (seconds < 10, status) == (True, 0)


def test_a_lock_is_waited_for_shortly_and_asked_for_again(
    unmigrated_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(migrations, "LOCK_SECONDS", 0.2)
    asking: set[int] = set()
    with ThreadPoolExecutor(1) as threads:
        with open_transaction(unmigrated_url, TAKEN):
            migrating = threads.submit(migrations.upgrade, unmigrated_url)
            while len(asking) < 3:
                rows = fetch(unmigrated_url, ASKING)
                asking |= {row["pid"] for row in rows}
            assert not migrating.done()
        assert migrating.result()


def test_a_lock_that_cannot_be_had_is_told(
    unmigrated_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(migrations, "LOCK_SECONDS", 0.1)
    monkeypatch.setattr(migrations, "LOCK_PATIENCE_SECONDS", 0.3)
    with (
        open_transaction(unmigrated_url, TAKEN),
        pytest.raises(migrations.CannotMigrate, match=r"got no lock within 0\.3 s"),
    ):
        migrations.upgrade(unmigrated_url)
    assert migrations.upgrade(unmigrated_url)


def test_the_limits_of_a_role_do_not_hold_for_migrations(unmigrated_url: str) -> None:
    execute(
        unmigrated_url,
        "DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET statement_timeout = 1',"
        " current_database()); END $$",
    )
    assert Listo(unmigrated_url)("migrate").status == 0


def test_a_url_that_asyncpg_does_not_take_is_told_in_one_line() -> None:
    outcome = Listo("postgresql://listo:secret@localhost/listo?sslmode=always")("migrate")
    assert outcome.status == 3
    assert len(outcome.errors.splitlines()) == 1
    assert "`sslmode` parameter must be one of" in outcome.errors
    assert "secret" not in outcome.errors


def test_a_postgres_that_is_too_old_is_refused_in_a_sentence(
    unmigrated_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(migrations, "OLDEST_POSTGRES", 99)
    refused = r"^PostgreSQL 99 or newer is needed; this is [0-9.]+\.$"
    with pytest.raises(migrations.CannotMigrate, match=refused):
        migrations.upgrade(unmigrated_url)
    assert not fetch(unmigrated_url, "SELECT FROM pg_namespace WHERE nspname = 'listo'")
