"""What only the limiter on Redis has: several processes, outages, a clock that is not ours."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

import pytest
from redis.asyncio import Redis

from app.core import outage
from app.core.metrics import REDIS_FALLBACKS
from app.core.rates import parse_rates
from app.ratelimit.policy import Check, Policy
from app.ratelimit.redis import RedisLimiter
from fixtures.redis import redis_store

if TYPE_CHECKING:
    from collections.abc import Iterator

POLICY = Policy("p", parse_rates("10/hour"))
NOWHERE = "redis://127.0.0.1:1"
PATIENCE = 20


@pytest.fixture
def redis_url() -> Iterator[str]:
    """A server of the test's own: most of them do it harm."""
    with redis_store() as url:
        yield url


def limiter(url: str, processes: int = 1) -> RedisLimiter:
    client = Redis.from_url(url, socket_timeout=0.25, socket_connect_timeout=0.25)
    return RedisLimiter(client, lambda: processes)


async def admitted(one: RedisLimiter, key: str, times: int) -> int:
    asked = [one.admit((Check(POLICY, key),)) for _ in range(times)]
    return sum(decision.allowed for decision in await asyncio.gather(*asked))


async def shared_again(ours: RedisLimiter, redis: Redis) -> None:
    """Waits until what is admitted is counted on Redis."""
    async with asyncio.timeout(PATIENCE):
        number = 0
        while not await redis.keys(f"*back-{number}"):
            number += 1
            await admitted(ours, f"back-{number}", 1)
            await asyncio.sleep(0.01)


def test_processes_share_their_counts(redis_url: str) -> None:
    async def work() -> int:
        replicas = [limiter(redis_url) for _ in range(3)]
        counts = await asyncio.gather(*(admitted(each, "shared", 20) for each in replicas))
        for each in replicas:
            await each.close()
        return sum(counts)

    assert asyncio.run(work()) == 10


def test_one_turn_is_one_round_trip(redis_url: str) -> None:
    async def work() -> int:
        ours, redis = limiter(redis_url), Redis.from_url(redis_url)
        await admitted(ours, "first", 1)
        await redis.config_resetstat()
        await admitted(ours, "turn", 64)
        calls = (await redis.info("commandstats"))["cmdstat_evalsha"]["calls"]
        await ours.close()
        await redis.aclose()
        return int(calls)

    assert asyncio.run(work()) == 1


def test_what_is_paid_back_is_forgotten(redis_url: str) -> None:
    async def work() -> tuple[int, list[int]]:
        ours, redis = limiter(redis_url), Redis.from_url(redis_url)
        await admitted(ours, "kept", 4)
        lives = [await redis.pttl(key) for key in await redis.keys("listo:limit:*")]
        brief = Policy("brief", parse_rates("20/second"))
        await ours.admit((Check(brief, "x"),))
        async with asyncio.timeout(PATIENCE):
            while await redis.keys("*brief*"):  # noqa: ASYNC110 - no event tells of it
                await asyncio.sleep(0.01)
        await ours.close()
        await redis.aclose()
        return len(lives), lives

    keys, lives = asyncio.run(work())
    assert keys == 1
    assert 4 * 359_000 < lives[0] <= 4 * 360_000


def test_a_clock_set_back_costs_one_window_at_most(redis_url: str) -> None:
    async def work() -> float:
        ours, redis = limiter(redis_url), Redis.from_url(redis_url)
        await admitted(ours, "clock", 1)
        (key,) = await redis.keys("listo:limit:*")
        seconds, _ = await redis.time()
        await redis.set(key, (seconds + 10 * 86_400) * 1_000_000)
        decision = await ours.admit((Check(POLICY, "clock"),))
        await ours.close()
        await redis.aclose()
        assert decision.standings[0].remaining == 0
        return decision.retry_after

    assert asyncio.run(work()) == 360


def test_scripts_that_were_forgotten_are_loaded_again(redis_url: str) -> None:
    async def work() -> int:
        ours, redis = limiter(redis_url), Redis.from_url(redis_url)
        await admitted(ours, "flushed", 1)
        await redis.flushall()
        await redis.script_flush()
        count = await admitted(ours, "flushed", 20)
        await ours.close()
        await redis.aclose()
        return count

    assert asyncio.run(work()) == 10


def test_a_paused_redis_holds_up_few_and_comes_back(
    redis_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger=outage.logger.name)

    async def work() -> float:
        ours, redis = limiter(redis_url), Redis.from_url(redis_url)
        await admitted(ours, "warm", 1)
        # Of writes, scripts among them; a whole pause could not be ended from here.
        await redis.client_pause(60_000, all=False)
        assert await admitted(ours, "paused", 20) == 10
        begin = asyncio.get_running_loop().time()
        for number in range(200):
            assert await admitted(ours, str(number), 1) == 1
        took = asyncio.get_running_loop().time() - begin
        await redis.client_unpause()
        await shared_again(ours, redis)
        await ours.close()
        await redis.aclose()
        return took

    # One in a second has to try it; all others are admitted at once.
    assert asyncio.run(work()) < 10
    messages = [record.getMessage() for record in caplog.records]
    assert len(messages) == 2
    assert "away" in messages[0]
    assert "back" in messages[1]


def test_a_full_redis_is_like_none(redis_url: str) -> None:
    async def work() -> int:
        ours, redis = limiter(redis_url), Redis.from_url(redis_url)
        await redis.config_set("maxmemory", "1")
        count = await admitted(ours, "full", 20)
        await redis.config_set("maxmemory", "0")
        await shared_again(ours, redis)
        await ours.close()
        await redis.aclose()
        return count

    assert asyncio.run(work()) == 10


def test_redis_away_limits_each_process_by_itself(caplog: pytest.LogCaptureFixture) -> None:
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
