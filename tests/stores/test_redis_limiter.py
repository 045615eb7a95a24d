"""The limiter on Redis alone: several processes, round trips, the clock of Redis."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from redis.asyncio import Redis

from app.core.rates import parse_rates
from app.ratelimit.policy import Check, Policy
from fixtures.limiters import POLICY, admitted, limiter
from fixtures.redis import redis_store

if TYPE_CHECKING:
    from collections.abc import Iterator

PATIENCE = 20


@pytest.fixture
def redis_url() -> Iterator[str]:
    """A Redis for one test alone, since most tests harm it."""
    with redis_store() as url:
        yield url


def test_processes_share_their_counts(redis_url: str) -> None:
    async def work() -> int:
        replicas = [limiter(redis_url) for _ in range(3)]
        counts = await asyncio.gather(*(admitted(each, "shared", 20) for each in replicas))
        for each in replicas:
            await each.close()
        return sum(counts)

    assert asyncio.run(work()) == 10


async def script_calls(redis: Redis) -> int:
    """The number of calls since `config_resetstat`."""
    return int((await redis.info("commandstats"))["cmdstat_evalsha"]["calls"])


def test_one_turn_is_one_round_trip(redis_url: str) -> None:
    async def work() -> int:
        ours, redis = limiter(redis_url), Redis.from_url(redis_url)
        await admitted(ours, "first", 1)
        await redis.config_resetstat()
        await admitted(ours, "turn", 64)
        calls = await script_calls(redis)
        await ours.close()
        await redis.aclose()
        return calls

    assert asyncio.run(work()) == 1


def test_requests_during_a_round_trip_share_the_next_one(redis_url: str) -> None:
    async def work() -> int:
        ours, redis = limiter(redis_url), Redis.from_url(redis_url)
        await admitted(ours, "first", 1)
        await redis.config_resetstat()
        await redis.client_pause(60_000, all=False)
        tasks = []
        for number in range(20):
            tasks.append(asyncio.create_task(admitted(ours, str(number), 1)))
            # Each request has a turn of the loop of its own.
            await asyncio.sleep(0)
        await redis.client_unpause()
        assert await asyncio.gather(*tasks) == [1] * 20
        calls = await script_calls(redis)
        await ours.close()
        await redis.aclose()
        return calls

    assert asyncio.run(work()) == 2


def test_a_count_is_forgotten_once_it_is_paid_back(redis_url: str) -> None:
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


def test_a_clock_set_back_costs_one_window_and_a_minute_at_most(redis_url: str) -> None:
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

    assert asyncio.run(work()) == 420


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


def test_10000_callers_leave_nothing_behind(redis_url: str) -> None:
    async def work() -> None:
        ours, redis = limiter(redis_url), Redis.from_url(redis_url)
        policy = Policy("many", parse_rates("10/second, 600/minute"))
        for start in range(0, 10_000, 500):
            numbers = range(start, start + 500)
            asked = [ours.admit((Check(policy, str(number)),)) for number in numbers]
            assert all(decision.allowed for decision in await asyncio.gather(*asked))
            async with redis.pipeline(transaction=False) as pipe:
                for key in await redis.keys("listo:limit:many:*"):
                    pipe.pttl(key)
                lives = await pipe.execute()
            # -2: the key is gone; -1: it would stay for ever. A request is paid back in 100 ms.
            assert all(life == -2 or 0 <= life <= 100 for life in lives)
        async with asyncio.timeout(PATIENCE):
            while await redis.dbsize():  # noqa: ASYNC110 - no event tells of it
                await asyncio.sleep(0.01)
        await ours.close()
        await redis.aclose()

    asyncio.run(work())


@pytest.mark.parametrize("cost", [1, 4, 25])
def test_retry_after_is_true_on_the_clock_of_redis(redis_url: str, cost: int) -> None:
    """The clock of Redis cannot be moved, so the test sets the times stored in Redis back."""
    policy = Policy("told", parse_rates("6/minute, 20/hour"))

    async def pass_seconds(redis: Redis, seconds: int) -> None:
        for key in await redis.keys("listo:limit:told:*"):
            owed_until = int(await redis.get(key) or 0) - seconds * 1_000_000
            await redis.set(key, owed_until)

    async def work() -> None:
        ours, redis = limiter(redis_url), Redis.from_url(redis_url)
        one = Check(policy, "x", cost)
        for _ in range(12):
            while (decision := await ours.admit((one,))).allowed:
                pass
            await pass_seconds(redis, decision.retry_after_seconds - 1)
            assert not (await ours.admit((one,))).allowed
            await pass_seconds(redis, 1)
            assert (await ours.admit((one,))).allowed
        await ours.close()
        await redis.aclose()

    asyncio.run(work())
