"""The limiter's contract, on every backend; the clock of the one in memory is the test's."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from redis.asyncio import Redis

from app.core.rates import Rate, parse_rates
from app.ratelimit.memory import MemoryLimiter
from app.ratelimit.policy import Check, Decision, Policy
from app.ratelimit.redis import RedisLimiter
from fixtures.redis import PROGRAM, redis_server

if TYPE_CHECKING:
    from collections.abc import Iterator

HOUR = parse_rates("7/hour")


@dataclass
class Backend:
    """Makes limiters that share their counts, each used within one event loop."""

    url: str | None

    def limiter(self) -> Any:
        return MemoryLimiter() if self.url is None else RedisLimiter(Redis.from_url(self.url))

    def run(self, *checks: tuple[Check, ...]) -> list[Decision]:
        async def work() -> list[Decision]:
            limiter = self.limiter()
            try:
                return [await limiter.admit(each) for each in checks]
            finally:
                await limiter.close()

        return asyncio.run(work())


@pytest.fixture(scope="module")
def redis_url() -> Iterator[str]:
    if PROGRAM is None:
        pytest.skip("redis-server is not installed")
    with redis_server() as url:
        yield url


@pytest.fixture(params=["memory", "redis"])
def backend(request: pytest.FixtureRequest) -> Backend:
    return Backend(None if request.param == "memory" else request.getfixturevalue("redis_url"))


def check(key: str, *rates: str, name: str = "p", cost: int = 1) -> Check:
    return Check(Policy(name, parse_rates(",".join(rates))), key, cost)


@pytest.mark.parametrize("limit", [1, 37, 600])
def test_from_idle_exactly_the_limit_passes(backend: Backend, limit: int) -> None:
    one = check(f"burst {limit}", f"{limit}/hour")
    decisions = backend.run(*[(one,)] * (limit + 20))
    assert [decision.allowed for decision in decisions] == [True] * limit + [False] * 20
    assert decisions[0].standings[0].remaining == limit - 1
    assert decisions[-1].standings[0].remaining == 0
    assert decisions[-1].violated == ("p",)
    assert 0 < decisions[-1].retry_after <= 3600 / limit


def test_callers_do_not_share(backend: Backend) -> None:
    decisions = backend.run(*[(check(f"own {n}", "1/hour"),) for n in range(50)])
    assert all(decision.allowed for decision in decisions)


def test_all_windows_hold_at_once(backend: Backend) -> None:
    one = check("windows", "5/second", "8/hour")
    decisions = backend.run(*[(one,)] * 6)
    assert [decision.allowed for decision in decisions] == [True] * 5 + [False]
    assert decisions[-1].retry_after < 1


def test_what_one_check_refuses_no_check_counts(backend: Backend) -> None:
    wide, narrow = check("all", "10/hour", name="wide"), check("all", "1/hour", name="narrow")
    decisions = backend.run((wide, narrow), (wide, narrow), (wide, narrow), (wide,))
    assert [decision.allowed for decision in decisions] == [True, False, False, True]
    assert decisions[1].violated == ("narrow",)
    assert decisions[3].standings[0].remaining == 8


def test_cost(backend: Backend) -> None:
    decisions = backend.run(
        (check("cost", "10/hour", cost=7),),
        (check("cost", "10/hour", cost=4),),
        (check("cost", "10/hour", cost=3),),
    )
    assert [decision.allowed for decision in decisions] == [True, False, True]


def test_requests_of_one_turn_are_counted_one_by_one(backend: Backend) -> None:
    async def work() -> list[Decision]:
        limiter = backend.limiter()
        one = check("turn", "10/hour")
        try:
            return list(await asyncio.gather(*(limiter.admit((one,)) for _ in range(64))))
        finally:
            await limiter.close()

    decisions = asyncio.run(work())
    assert sum(decision.allowed for decision in decisions) == 10


def test_fields() -> None:
    policy = Policy("user", parse_rates("10/second, 600/minute"))
    decision = asyncio.run(MemoryLimiter(lambda: 0).admit((Check(policy, "x"),)))
    assert decision.fields() == [
        (b"ratelimit-policy", b'"user";q=10;w=1, "user";q=600;w=60'),
        (b"ratelimit", b'"user";r=9;t=1'),
    ]


def test_redis_away_limits_each_process_by_itself() -> None:
    async def work() -> list[bool]:
        limiter = RedisLimiter(Redis.from_url("redis://127.0.0.1:1", socket_connect_timeout=0.2))
        one = check("away", "3/hour")
        try:
            return [(await limiter.admit((one,))).allowed for _ in range(5)]
        finally:
            await limiter.close()

    assert asyncio.run(work()) == [True, True, True, False, False]


@given(
    limit=st.integers(1, 20),
    window=st.integers(1, 60),
    steps=st.lists(st.integers(0, 5_000_000), min_size=1, max_size=80),
)
def test_never_more_than_a_burst_and_what_flows_back(
    limit: int, window: int, steps: list[int]
) -> None:
    """Against the definition: any stretch of time admits at most its burst and its share."""
    now = 0
    limiter = MemoryLimiter(lambda: now)
    policy = Policy("p", (Rate(limit, window),))
    emission = policy.emissions[0][0]
    admitted: list[int] = []
    for step in steps:
        now += step
        decision = asyncio.run(limiter.admit((Check(policy, "k"),)))
        if decision.allowed:
            admitted.append(now)
        else:
            # Waiting exactly as long as it says succeeds; the whole seconds round up.
            assert decision.retry_after_seconds * 1_000_000 >= decision.retry_after * 1_000_000
            early = now
            now += round(decision.retry_after * 1_000_000)
            assert asyncio.run(limiter.admit((Check(policy, "k"),))).allowed
            assert now > early
            admitted.append(now)
    for first in range(len(admitted)):
        for last in range(first, len(admitted)):
            span = admitted[last] - admitted[first]
            assert last - first + 1 <= limit + span // emission + 1


def test_memory_does_not_grow_with_the_number_of_callers() -> None:
    async def work() -> int:
        now = 0
        limiter = MemoryLimiter(lambda: now, max_keys=1000)
        policy = Policy("p", HOUR)
        for number in range(20_000):
            await limiter.admit((Check(policy, str(number)),))
        return len(limiter._arrivals)

    assert asyncio.run(work()) <= 1000


def test_a_flood_of_callers_does_not_free_the_busiest() -> None:
    async def work() -> bool:
        now = 0
        limiter = MemoryLimiter(lambda: now, max_keys=1000)
        policy = Policy("p", HOUR)
        for _ in range(7):
            await limiter.admit((Check(policy, "busy"),))
        for number in range(5000):
            await limiter.admit((Check(policy, str(number)),))
        return (await limiter.admit((Check(policy, "busy"),))).allowed

    assert asyncio.run(work()) is False
