"""The limiter's contract, on every backend; tests set the clock of the limiter in memory."""

from __future__ import annotations

import asyncio
import math
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from redis.asyncio import Redis

from app.core.rates import Rate, parse_rates
from app.ratelimit.memory import MemoryLimiter
from app.ratelimit.policy import Check, Decision, Policy, share
from app.ratelimit.redis import RedisLimiter
from fixtures.redis import redis_store

if TYPE_CHECKING:
    from collections.abc import Iterator

HOUR = parse_rates("7/hour")


@dataclass
class Backend:
    """Makes limiters that share their counts, each used within one event loop."""

    url: str | None

    def limiter(self) -> Any:
        if self.url is None:
            return MemoryLimiter()
        return RedisLimiter(Redis.from_url(self.url), lambda: 1)

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
    with redis_store() as url:
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


def test_callers_do_not_share_a_limit(backend: Backend) -> None:
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
    # A refused request takes nothing.
    assert [decision.standings[0].remaining for decision in decisions] == [9, 9, 9, 8]


def test_a_request_takes_its_cost(backend: Backend) -> None:
    decisions = backend.run(
        (check("cost", "10/hour", cost=7),),
        (check("cost", "10/hour", cost=4),),
        (check("cost", "10/hour", cost=3),),
    )
    assert [decision.allowed for decision in decisions] == [True, False, True]


def test_a_cost_above_the_limit_takes_all_of_it(backend: Backend) -> None:
    dear = check("dear", "10/hour", cost=25)
    decisions = backend.run((dear,), (check("dear", "10/hour"),), (dear,))
    assert [decision.allowed for decision in decisions] == [True, False, False]
    assert decisions[2].retry_after == pytest.approx(3600, abs=60)


def test_what_was_counted_before_is_part_of_the_cost(backend: Backend) -> None:
    first = check("parts", "10/hour")
    decisions = backend.run(
        (first,),
        (first._replace(cost=7, counted_before=1),),
        (first,),
        (first._replace(cost=4, counted_before=1),),
        (first._replace(cost=3, counted_before=1),),
    )
    assert [decision.allowed for decision in decisions] == [True, True, True, False, True]
    assert [decision.standings[0].remaining for decision in decisions] == [9, 3, 2, 2, 0]
    # The request comes again with its whole cost: 4, where 2 are left.
    assert decisions[3].retry_after == pytest.approx(2 * 360, abs=5)


def test_a_request_that_may_cost_more_waits_for_more(backend: Backend) -> None:
    one = check("ahead", "10/hour")
    decisions = backend.run(
        *[(one,)] * 10, (one._replace(charged_later=3),), (one._replace(charged_later=30),)
    )
    assert [decision.allowed for decision in decisions] == [True] * 10 + [False] * 2
    assert decisions[10].retry_after == pytest.approx(4 * 360, abs=5)
    assert decisions[11].retry_after == pytest.approx(10 * 360, abs=5)


def test_what_is_spent_is_counted_beyond_the_limit_by_a_minute_at_most(backend: Backend) -> None:
    one = check("spent", "60/minute")
    spent = one._replace(cost=50, counted_before=1, charge_always=True)
    decisions = backend.run((one,), (spent,), (one,), (spent,), (one,), *[(spent,)] * 9, (one,))
    assert [decision.allowed for decision in decisions] == [
        True, True, True, True, False, *[True] * 9, False,
    ]  # fmt: skip
    assert [decision.standings[0].remaining for decision in decisions[:4]] == [59, 10, 9, 0]
    # The caller owes 50, 1 and 49; one more request may come once the sum with it is 60.
    assert decisions[4].retry_after == pytest.approx(41, abs=2)
    assert decisions[3].standings[0].reset == pytest.approx(41_000_000, abs=2_000_000)
    assert decisions[-1].retry_after == pytest.approx(61, abs=2)


@pytest.mark.parametrize("limit", [1, 10])
def test_a_cost_above_the_limit_takes_all_of_it_in_two_parts(backend: Backend, limit: int) -> None:
    first = check(f"all of {limit}", f"{limit}/hour")
    decisions = backend.run((first,), (first._replace(cost=25, counted_before=1),), (first,))
    assert [decision.allowed for decision in decisions] == [True, True, False]
    assert decisions[1].standings[0].remaining == 0


def test_a_changed_limit_counts_anew(backend: Backend) -> None:
    before, after = check("changed", "1/hour"), check("changed", "3/minute")
    decisions = backend.run((before,), (before,), (after,))
    assert [decision.allowed for decision in decisions] == [True, False, True]
    assert decisions[2].standings[0].remaining == 2


def test_any_text_may_name_a_caller(backend: Backend) -> None:
    decisions = backend.run(*[(check(key, "1/hour"),) for key in ("", "a b", "é:1", "\ud800")])
    assert all(decision.allowed for decision in decisions)


def test_no_rates_admit_all_and_tell_nothing(backend: Backend) -> None:
    lifted = Check(Policy("lifted", ()), "x")
    decisions = backend.run(*[(lifted, check("beside", "9/hour"))] * 3)
    assert all(decision.allowed for decision in decisions)
    assert decisions[2].fields() == [
        (b"ratelimit-policy", b'"p";q=9;w=3600'),
        (b"ratelimit", b'"p";r=6;t=400'),
    ]


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


def test_fields_tell_the_policy_and_the_tightest_window() -> None:
    policy = Policy("user", parse_rates("10/second, 600/minute"))
    decision = asyncio.run(MemoryLimiter(lambda: 0).admit((Check(policy, "x"),)))
    assert decision.fields() == [
        (b"ratelimit-policy", b'"user";q=10;w=1, "user";q=600;w=60'),
        (b"ratelimit", b'"user";r=9;t=1'),
    ]


def test_the_slower_of_two_windows_tells_when_there_is_one_more() -> None:
    policy = Policy("user", parse_rates("1/second, 1/hour"))
    decision = asyncio.run(MemoryLimiter(lambda: 0).admit((Check(policy, "x"),)))
    assert decision.fields()[1] == (b"ratelimit", b'"user";r=0;t=3600')


RATES = st.lists(st.builds(Rate, st.integers(1, 20), st.integers(1, 60)), min_size=1, max_size=3)


@given(
    rates=RATES,
    requests=st.lists(st.tuples(st.integers(0, 5_000_000), st.integers(1, 4)), max_size=80),
)
def test_decisions_are_those_of_full_buckets(
    rates: list[Rate], requests: list[tuple[int, int]]
) -> None:
    """A bucket per window that starts full and gets a token back every so many microseconds."""
    now = 0
    limiter = MemoryLimiter(lambda: now)
    policy = Policy("p", tuple(set(rates)))
    emissions = [-(-rate.window * 1_000_000 // rate.limit) for rate in policy.rates]
    tokens = [Fraction(rate.limit) for rate in policy.rates]

    def pass_time(microseconds: int) -> None:
        nonlocal now
        now += microseconds
        for number, rate in enumerate(policy.rates):
            back = tokens[number] + Fraction(microseconds, emissions[number])
            tokens[number] = min(back, Fraction(rate.limit))

    def ask(cost: int) -> Decision:
        costs = [min(cost, rate.limit) for rate in policy.rates]
        decision = asyncio.run(limiter.admit((Check(policy, "k", cost),)))
        enough = all(left >= taken for left, taken in zip(tokens, costs, strict=True))
        assert decision.allowed is enough
        if enough:
            tokens[:] = [left - taken for left, taken in zip(tokens, costs, strict=True)]
        assert decision.standings[0].remaining == min(math.floor(left) for left in tokens)
        return decision

    for pause, cost in requests:
        pass_time(pause)
        decision = ask(cost)
        if not decision.allowed:
            wait = round(decision.retry_after * 1_000_000)
            pass_time(wait - 1)
            assert not ask(cost).allowed
            # Whole seconds round up, so that a client gets through after the seconds of the field.
            pass_time(decision.retry_after_seconds * 1_000_000 - wait + 1)
            assert ask(cost).allowed


@given(
    limit=st.integers(1, 40),
    processes=st.integers(1, 12),
    windows=st.integers(1, 12),
)
def test_shares_add_up_to_the_limit(limit: int, processes: int, windows: int) -> None:
    policy = share(Policy("p", parse_rates(f"{limit}/minute")), processes)
    now, end = 0, windows * 60_000_000

    async def passed() -> tuple[int, int]:
        """Requests that pass from idle, and later until the end, in one always busy process."""
        nonlocal now
        now = burst = later = 0
        limiter = MemoryLimiter(lambda: now)
        while now <= end:
            decision = await limiter.admit((Check(policy, "k"),))
            burst += decision.allowed and now == 0
            later += decision.allowed and now > 0
            now += round(decision.retry_after * 1_000_000)
        return burst, later

    burst, later = asyncio.run(passed())
    assert burst == max(1, limit // processes)
    # Each process may be one short of its part of the limit, at the end or by the remainder.
    assert later * processes <= limit * windows < (later + 1) * processes + processes


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
