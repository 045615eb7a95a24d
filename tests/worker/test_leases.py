"""Leases in one process: the holder of a duty, and the remains of its former holder's work."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest

from app.core.errors import DatabaseUnavailable, ServiceUnavailable
from app.db import leases
from app.db.database import Database
from app.db.leases import LeaseLost
from fixtures.cluster import database as new_database
from fixtures.waiting import PATIENCE

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Iterator

EVERY = 3600.0
# The lease ends as if its holder had stopped renewing it a while ago.
RUN_OUT = "UPDATE listo.leases SET expires_at = now()"
DUE = "UPDATE listo.leases SET due_at = now()"
BEGUN = "CREATE TABLE listo.begun AS SELECT now() AS began"
BLOCKED = """
SELECT EXISTS (SELECT FROM pg_stat_activity WHERE datname = current_database()
                  AND cardinality(pg_blocking_pids(pid)) > 0)
"""


@pytest.fixture
def url(cluster_url: str) -> Iterator[str]:
    with new_database(cluster_url) as made:
        yield made


@asynccontextmanager
async def open_database(url: str) -> AsyncIterator[Database]:
    database = Database(url, pool_size=3)
    await database.open()
    try:
        yield database
    finally:
        await database.close()


@asynccontextmanager
async def take_lease(database: Database) -> AsyncIterator[leases.Lease]:
    async with leases.take(database, "d", EVERY) as lease:
        assert lease is not None
        yield lease


async def is_free(database: Database) -> bool:
    async with leases.take(database, "d", EVERY) as lease:
        return lease is not None


async def write(session: Any, text: str) -> None:
    await session.execute("INSERT INTO listo.events (type) VALUES ($1)", text)


async def events(database: Database) -> list[str]:
    rows = await database.fetch("SELECT type FROM listo.events ORDER BY id")
    return [row["type"] for row in rows]


def test_a_duty_has_one_holder_and_only_when_it_is_due(url: str) -> None:
    async def run() -> None:
        async with open_database(url) as one, open_database(url) as other:
            async with take_lease(one):
                assert not await is_free(other)
            # The duty is not due again.
            assert not await is_free(other)
            assert not await is_free(one)
            await one.execute(DUE)
            assert await is_free(other)

    asyncio.run(run())


def test_a_duty_that_fails_stays_due(url: str) -> None:
    async def fail(one: Database) -> None:
        async with take_lease(one):
            raise ServiceUnavailable

    async def run() -> None:
        async with open_database(url) as one, open_database(url) as other:
            with pytest.raises(ServiceUnavailable):
                await fail(one)
            assert await is_free(other)

    asyncio.run(run())


def test_who_was_succeeded_commits_nothing(url: str) -> None:
    async def succeeded(one: Database, other: Database) -> None:
        async with take_lease(one) as lease:
            async with lease.transaction() as session:
                await write(session, "in.time")
            async with lease.transaction() as session:
                await write(session, "late")
                await other.execute(RUN_OUT)
                async with take_lease(other) as successor:
                    assert successor.token > lease.token

    async def run() -> None:
        async with open_database(url) as one, open_database(url) as other:
            with pytest.raises(LeaseLost):
                await succeeded(one, other)
            assert await events(one) == ["in.time"]
            # The former holder could not give back the lease of its successor.
            assert not await is_free(one)

    asyncio.run(run())


def test_a_late_holder_commits_nothing_once_its_successor_is_done(url: str) -> None:
    async def succeeded(one: Database, other: Database) -> None:
        async with take_lease(one) as lease:
            await other.execute(RUN_OUT)
            assert await is_free(other)
            async with lease.transaction() as session:
                await write(session, "late")

    async def run() -> None:
        async with open_database(url) as one, open_database(url) as other:
            with pytest.raises(LeaseLost):
                await succeeded(one, other)
            assert await events(one) == []

    asyncio.run(run())


def test_a_successor_waits_for_what_is_about_to_be_committed(url: str) -> None:
    async def run() -> None:
        async with open_database(url) as one, open_database(url) as other:
            async with take_lease(one) as lease:
                await other.execute(RUN_OUT)
                async with one.transaction() as session:
                    await write(session, "in.time")
                    assert await session.fetchval(leases._FENCE, lease.name, lease.token)
                    succeeding = asyncio.create_task(is_free(other))
                    await poll(one, BLOCKED)
                    assert not succeeding.done()
                assert await succeeding
            assert await events(one) == ["in.time"]

    asyncio.run(run())


async def poll(database: Database, query: str) -> None:
    async with asyncio.timeout(PATIENCE):
        while True:
            if await database.fetchval(query):
                return
            await asyncio.sleep(0.01)


async def work_for_ever(one: Database, then: Awaitable[object]) -> None:
    async with take_lease(one):
        await then
        async with asyncio.timeout(PATIENCE):
            await asyncio.Event().wait()


def test_work_without_transactions_is_broken_off_when_the_lease_is_lost(url: str) -> None:
    async def succeed(other: Database) -> None:
        await other.execute(RUN_OUT)
        assert await is_free(other)

    async def run() -> None:
        async with open_database(url) as one, open_database(url) as other:
            with pytest.raises(LeaseLost):
                await work_for_ever(one, succeed(other))

    asyncio.run(run())


def test_work_is_broken_off_where_postgres_cannot_be_asked(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away(*_: object) -> None:
        raise DatabaseUnavailable

    async def cut_off(one: Database) -> None:
        monkeypatch.setattr(one, "fetchval", away)

    async def run() -> None:
        async with open_database(url) as one:
            with pytest.raises(LeaseLost):
                await work_for_ever(one, cut_off(one))

    asyncio.run(run())


def test_it_is_renewed_as_long_as_it_takes(url: str) -> None:
    async def run() -> None:
        async with open_database(url) as one, open_database(url) as other:
            async with take_lease(one) as lease:
                await other.execute(BEGUN)
                await poll(other, f"SELECT now() > began + '{leases.SECONDS} s' FROM listo.begun")
                assert not await is_free(other)
                async with lease.transaction() as session:
                    await write(session, "in.time")
            assert await events(one) == ["in.time"]

    asyncio.run(run())
