"""The limiter while Redis is away, harmed or slow, and once Redis is back."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING
from unittest.mock import patch

import pytest
from redis.asyncio import Redis

from app.assembly import open_stores
from app.core.rates import parse_rates
from app.observability.metrics import REDIS_FALLBACKS
from app.ratelimit.policy import Check, Policy
from app.ratelimit.redis import RedisLimiter
from app.redis import circuit_breaker
from fixtures.limiters import POLICY, admitted, limiter
from fixtures.redis import redis_store
from fixtures.relay import redis_relay
from fixtures.server import settings

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from app.ratelimit.limiter import Limiter

    WaitUntilBack = Callable[[int], Awaitable[None]]

NOWHERE = "redis://127.0.0.1:1"
PATIENCE = 20


@pytest.fixture
def redis_url() -> Iterator[str]:
    """A Redis for one test alone, since most tests harm it."""
    with redis_store() as url:
        yield url


@pytest.fixture
def wait_until_back(caplog: pytest.LogCaptureFixture) -> WaitUntilBack:
    """Waits until `processes` have logged that Redis is back. No request is sent meanwhile."""
    caplog.set_level(logging.INFO, logger=circuit_breaker.logger.name)

    async def wait(processes: int) -> None:
        async with asyncio.timeout(PATIENCE):
            while caplog.text.count("is back") < processes:  # noqa: ASYNC110 - only the log tells
                await asyncio.sleep(0.01)

    return wait


def application_limiter(url: str) -> Limiter:
    """A limiter on the application's own client, which has options of its own."""
    configured = settings("postgresql://nowhere/none", redis_url=url)
    return open_stores(configured, lambda: 1)[0]


async def disconnect_others(redis: Redis) -> None:
    await redis.client_kill_filter(_type="normal", skipme=True)
    async with asyncio.timeout(PATIENCE):
        while len(await redis.client_list()) > 1:  # noqa: ASYNC110 - no event tells of it
            await asyncio.sleep(0.01)


def test_a_paused_redis_holds_up_one_turn_and_comes_back(
    redis_url: str, caplog: pytest.LogCaptureFixture, wait_until_back: WaitUntilBack
) -> None:
    async def work() -> None:
        ours, redis = limiter(redis_url), Redis.from_url(redis_url)
        await admitted(ours, "warm", 1)
        # The pause holds up writes, also scripts; no command could end a pause of all commands.
        await redis.client_pause(60_000, all=False)
        assert await admitted(ours, "paused", 20) == 10
        await redis.config_resetstat()
        for number in range(200):
            assert await admitted(ours, str(number), 1) == 1
        await redis.client_unpause()
        await wait_until_back(1)
        assert "cmdstat_evalsha" not in await redis.info("commandstats")
        # Redis counts all requests, also the first one.
        assert await admitted(ours, "unpaused", 20) == 10
        assert await redis.keys("*unpaused")
        await ours.close()
        await redis.aclose()

    asyncio.run(work())
    messages = [record.getMessage() for record in caplog.records]
    assert len(messages) == 2
    assert "away" in messages[0]
    assert "back" in messages[1]


def test_processes_without_requests_learn_that_redis_is_back_too(
    redis_url: str, wait_until_back: WaitUntilBack
) -> None:
    """Many first requests at once after the outage then have one limit in all processes."""

    async def work() -> int:
        redis = Redis.from_url(redis_url)
        replicas = [limiter(redis_url, 3) for _ in range(3)]
        await redis.client_pause(60_000, all=False)
        await asyncio.gather(*(admitted(each, "paused", 1) for each in replicas))
        await redis.client_unpause()
        await wait_until_back(len(replicas))
        counts = await asyncio.gather(*(admitted(each, "after", 20) for each in replicas))
        for each in replicas:
            await each.close()
        await redis.aclose()
        return sum(counts)

    assert asyncio.run(work()) == 10


def test_connections_that_the_server_has_closed_are_no_outage(redis_url: str) -> None:
    """Redis restarts while no request comes."""

    async def work() -> list[int]:
        ours, redis = application_limiter(redis_url), Redis.from_url(redis_url)
        counts = [await admitted(ours, "idle", 1)]
        await disconnect_others(redis)
        counts.append(await admitted(ours, "idle", 20))
        await ours.close()
        await redis.aclose()
        return counts

    before = fallbacks()
    assert asyncio.run(work()) == [1, 9]
    assert fallbacks() == before


@pytest.mark.parametrize(
    ("harm", "mend"),
    [
        ("CONFIG SET maxmemory 1", "CONFIG SET maxmemory 0"),
        # A replica of an absent primary can only be read.
        ("REPLICAOF 127.0.0.1 1", "REPLICAOF NO ONE"),
    ],
    ids=["full", "a replica"],
)
def test_a_redis_that_takes_no_writes_is_like_none(
    redis_url: str, harm: str, mend: str, wait_until_back: WaitUntilBack
) -> None:
    async def work() -> int:
        ours, redis = limiter(redis_url), Redis.from_url(redis_url)
        await admitted(ours, "before", 1)
        await redis.execute_command(*harm.split())  # type: ignore[no-untyped-call]
        count = await admitted(ours, "harmed", 20)
        await redis.execute_command(*mend.split())  # type: ignore[no-untyped-call]
        await wait_until_back(1)
        await ours.close()
        await redis.aclose()
        return count

    assert asyncio.run(work()) == 10


def test_a_redis_that_starts_empty_admits_the_limit_once_more(redis_url: str) -> None:
    async def work() -> list[int]:
        ours, redis = application_limiter(redis_url), Redis.from_url(redis_url)
        counts = [await admitted(ours, "restarted", 20)]
        # These commands are like a restart to connected clients.
        await redis.flushall()
        await redis.script_flush()
        await disconnect_others(redis)
        counts += [await admitted(ours, "restarted", 20) for _ in range(2)]
        await ours.close()
        await redis.aclose()
        return counts

    assert asyncio.run(work()) == [10, 10, 0]


def test_a_slow_redis_still_bounds(redis_url: str) -> None:
    async def work() -> int:
        with redis_relay(redis_url) as (url, relay):
            replicas = [limiter(url, 3) for _ in range(3)]
            relay.delay = 0.2
            counts = await asyncio.gather(*(admitted(each, "slow", 20) for each in replicas))
            for each in replicas:
                await each.close()
        return sum(counts)

    # If a busy machine adds to the delay, a process goes on with its share.
    assert 9 <= asyncio.run(work()) <= 10 + 9


@pytest.mark.parametrize(("limit", "processes", "passed"), [(600, 4, 600), (10, 3, 9), (1, 3, 3)])
def test_redis_away_all_processes_together_admit_the_limit(
    limit: int, processes: int, passed: int
) -> None:
    async def work() -> int:
        check = Check(Policy("p", parse_rates(f"{limit}/hour")), "shared")
        replicas = [limiter(NOWHERE, processes) for _ in range(processes)]
        decisions = [[await each.admit((check,)) for _ in range(limit + 1)] for each in replicas]
        for each in replicas:
            await each.close()
        assert all(each[-1].fields()[0][1] == b'"p";q=%d;w=3600' % limit for each in decisions)
        return sum(decision.allowed for each in decisions for decision in each)

    assert asyncio.run(work()) == passed


def test_the_known_number_of_processes_counts_from_the_first_request_without_redis() -> None:
    async def work() -> list[int]:
        known = 1
        client = Redis.from_url(NOWHERE, socket_connect_timeout=0.25)
        ours = RedisLimiter(client, lambda: known)
        counts = [await admitted(ours, "one", 20)]
        known = 5
        counts.append(await admitted(ours, "five", 20))
        await ours.close()
        return counts

    assert asyncio.run(work()) == [10, 2]


def test_a_fault_without_redis_fails_no_other_request() -> None:
    async def work() -> list[object]:
        ours = limiter(NOWHERE)
        check = Check(POLICY, "x")
        with patch.object(ours, "_processes", side_effect=[RuntimeError("broken"), 1]):
            async with asyncio.timeout(PATIENCE):
                return [
                    *await asyncio.gather(ours.admit((check,)), return_exceptions=True),
                    (await ours.admit((check,))).allowed,
                ]

    failed, allowed = asyncio.run(work())
    assert isinstance(failed, RuntimeError)
    assert allowed


def test_redis_away_is_logged_once_and_counted(caplog: pytest.LogCaptureFixture) -> None:
    async def work() -> int:
        ours = limiter(NOWHERE)
        count = 0
        for _ in range(20):
            count += await admitted(ours, "away", 1)
        await ours.close()
        return count

    before = fallbacks()
    assert asyncio.run(work()) == 10
    assert fallbacks() - before == 20
    assert len(caplog.records) == 1


def fallbacks() -> float:
    return float(REDIS_FALLBACKS.labels("limiter")._value.get())
