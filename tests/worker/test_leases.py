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
async def opened(url: str) -> AsyncIterator[Database]:
    database = Database(url, pool_size=3)
    await database.open()
    try:
        yield database
    finally:
        await database.close()


@asynccontextmanager
async def taken(database: Database) -> AsyncIterator[leases.Lease]:
    async with leases.take(database, "d", EVERY) as lease:
        assert lease is not None
        yield lease


async def is_free(database: Database) -> bool:
    async with leases.take(database, "d", EVERY) as lease:
        return lease is not None


async def write(session: Any, text: str) -> None:
    await session.execute("INSERT INTO listo.events (type) VALUES ($1)", text)


async def written(database: Database) -> list[str]:
    rows = await database.fetch("SELECT type FROM listo.events ORDER BY id")
    return [row["type"] for row in rows]


def test_one_at_a_time_and_only_when_it_is_due(url: str) -> None:
    async def run() -> None:
        async with opened(url) as one, opened(url) as other:
            async with taken(one):
                assert not await is_free(other)
            # The duty is not due again.
            assert not await is_free(other)
            assert not await is_free(one)
            await one.execute(DUE)
            assert await is_free(other)

    asyncio.run(run())


def test_what_fails_stays_due(url: str) -> None:
    async def fail(one: Database) -> None:
        async with taken(one):
            raise ServiceUnavailable

    async def run() -> None:
        async with opened(url) as one, opened(url) as other:
            with pytest.raises(ServiceUnavailable):
                await fail(one)
            assert await is_free(other)

    asyncio.run(run())


def test_who_was_succeeded_commits_nothing(url: str) -> None:
    async def succeeded(one: Database, other: Database) -> None:
        async with taken(one) as lease:
            async with lease.transaction() as session:
                await write(session, "in.time")
            async with lease.transaction() as session:
                await write(session, "late")
                await other.execute(RUN_OUT)
                async with taken(other) as successor:
                    assert successor.token > lease.token

    async def run() -> None:
        async with opened(url) as one, opened(url) as other:
            with pytest.raises(LeaseLost):
                await succeeded(one, other)
            assert await written(one) == ["in.time"]
            # The former holder could not give back the lease of its successor.
            assert not await is_free(one)

    asyncio.run(run())


def test_nor_once_the_successor_is_done(url: str) -> None:
    async def succeeded(one: Database, other: Database) -> None:
        async with taken(one) as lease:
            await other.execute(RUN_OUT)
            assert await is_free(other)
            async with lease.transaction() as session:
                await write(session, "late")

    async def run() -> None:
        async with opened(url) as one, opened(url) as other:
            with pytest.raises(LeaseLost):
                await succeeded(one, other)
            assert await written(one) == []

    asyncio.run(run())


def test_a_successor_waits_for_what_is_about_to_be_committed(url: str) -> None:
    async def run() -> None:
        async with opened(url) as one, opened(url) as other:
            async with taken(one) as lease:
                await other.execute(RUN_OUT)
                async with one.transaction() as session:
                    await write(session, "in.time")
                    assert await session.fetchval(leases._FENCE, lease.name, lease.token)
                    succeeding = asyncio.create_task(is_free(other))
                    await until(one, BLOCKED)
                    assert not succeeding.done()
                assert await succeeding
            assert await written(one) == ["in.time"]

    asyncio.run(run())


async def until(database: Database, query: str) -> None:
    async with asyncio.timeout(PATIENCE):
        while True:
            if await database.fetchval(query):
                return
            await asyncio.sleep(0.01)


async def work_for_ever(one: Database, then: Awaitable[object]) -> None:
    async with taken(one):
        await then
        async with asyncio.timeout(PATIENCE):
            await asyncio.Event().wait()


def test_work_without_transactions_is_broken_off(url: str) -> None:
    async def succeed(other: Database) -> None:
        await other.execute(RUN_OUT)
        assert await is_free(other)

    async def run() -> None:
        async with opened(url) as one, opened(url) as other:
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
        async with opened(url) as one:
            with pytest.raises(LeaseLost):
                await work_for_ever(one, cut_off(one))

    asyncio.run(run())


def test_it_is_renewed_as_long_as_it_takes(url: str) -> None:
    async def run() -> None:
        async with opened(url) as one, opened(url) as other:
            async with taken(one) as lease:
                await other.execute(BEGUN)
                await until(other, f"SELECT now() > began + '{leases.SECONDS} s' FROM listo.begun")
                assert not await is_free(other)
                async with lease.transaction() as session:
                    await write(session, "in.time")
            assert await written(one) == ["in.time"]

    asyncio.run(run())
