"""The contract of counting wrong passwords on every backend, and the specifics of each."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from redis.asyncio import Redis

from app.throttling.memory import MemoryLoginThrottle
from app.throttling.redis import RedisLoginThrottle
from app.throttling.throttle import (
    ACCOUNT,
    KNOWN_ADDRESSES,
    KNOWN_MS,
    LONGEST_WAIT_MS,
    MEMORY_MS,
    PAIR,
    LoginThrottle,
    digests,
)
from fixtures.redis import redis_store

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

NOWHERE = "redis://127.0.0.1:1"
SECRET = "0123456789abcdefghijklmnopqrstuv"

Run = Any


@pytest.fixture(scope="module")
def redis_url() -> Iterator[str]:
    with redis_store() as url:
        yield url


@pytest.fixture(params=["memory", "redis"])
def run(request: pytest.FixtureRequest) -> Run:
    """Runs a function on a fresh store."""
    url = None if request.param == "memory" else request.getfixturevalue("redis_url")

    def run(work: Callable[[LoginThrottle], Awaitable[Any]]) -> Any:
        async def whole() -> Any:
            store = (
                MemoryLoginThrottle() if url is None else RedisLoginThrottle(Redis.from_url(url))
            )
            try:
                return await work(store)
            finally:
                await store.close()

        return asyncio.run(whole())

    return run


async def tried(store: LoginThrottle, account: str, address: str, times: int) -> list[bool]:
    """Whether each of `times` tries at once was admitted; admitted tries come first."""
    tries = [store.begin(*digests(SECRET, account, address)) for _ in range(times)]
    return sorted((not guess.wait_ms for guess in await asyncio.gather(*tries)), reverse=True)


def test_five_tries_at_once_are_admitted_and_no_more(run: Run) -> None:
    assert run(lambda store: tried(store, "many", "a", 50)) == [True] * 5 + [False] * 45


def test_after_the_wait_one_try_is_admitted(run: Run) -> None:
    async def work(store: LoginThrottle) -> tuple[int, list[bool], int]:
        assert all(await tried(store, "waits", "a", PAIR.free))
        refused = await store.begin(*digests(SECRET, "waits", "a"))
        await asyncio.sleep(refused.wait_ms / 1000)
        passed = await tried(store, "waits", "a", 3)
        return refused.wait_ms, passed, (await store.begin(*digests(SECRET, "waits", "a"))).wait_ms

    first, passed, second = run(work)
    assert 0 < first <= 1000
    assert passed == [True, False, False]
    assert 1000 < second <= 2000


def test_accounts_and_addresses_are_counted_apart(run: Run) -> None:
    async def work(store: LoginThrottle) -> list[bool]:
        await tried(store, "apart", "a", 10)
        return [
            *await tried(store, "apart", "b", 1),
            *await tried(store, "other", "a", 1),
            *await tried(store, "apart", "a", 1),
        ]

    assert run(work) == [True, True, False]


def test_the_right_password_forgets_the_wrong_ones(run: Run) -> None:
    async def work(store: LoginThrottle) -> list[bool]:
        await tried(store, "right", "a", PAIR.free - 1)
        await store.succeed(await store.begin(*digests(SECRET, "right", "a")))
        return await tried(store, "right", "a", PAIR.free + 1)

    assert run(work) == [True] * PAIR.free + [False]


def test_a_withdrawn_guess_does_not_count(run: Run) -> None:
    async def work(store: LoginThrottle) -> list[bool]:
        for number in range(30):
            guess = await store.begin(*digests(SECRET, "busy", str(number // 10)))
            await store.withdraw(guess)
        return await tried(store, "busy", "0", PAIR.free + 1)

    assert run(work) == [True] * PAIR.free + [False]


def test_many_addresses_share_an_account_and_the_owners_are_spared(run: Run) -> None:
    async def work(store: LoginThrottle) -> list[bool]:
        await store.succeed(await store.begin(*digests(SECRET, "owner", "home")))
        strangers = [await tried(store, "owner", str(number), 1) for number in range(25)]
        return [
            *(passed for each in strangers for passed in each),
            *await tried(store, "owner", "home", PAIR.free + 1),
        ]

    passed = run(work)
    assert passed[:25] == [True] * ACCOUNT.free + [False] * 5
    # At an address of an earlier login, only the mistakes from there count.
    assert passed[25:] == [True] * PAIR.free + [False]


def test_the_addresses_used_last_are_known(run: Run) -> None:
    async def work(store: LoginThrottle) -> list[bool]:
        for number in [*range(KNOWN_ADDRESSES), 0, KNOWN_ADDRESSES]:
            await store.succeed(await store.begin(*digests(SECRET, "moves", str(number))))
        found = []
        for number in (0, 1, KNOWN_ADDRESSES):
            guess = await store.begin(*digests(SECRET, "moves", str(number)))
            found.append(guess.known)
        return found

    assert run(work) == [True, False, True]


def test_the_last_free_guess_tells_that_waiting_begins(run: Run) -> None:
    async def work(store: LoginThrottle) -> list[int]:
        begun = [await store.begin(*digests(SECRET, "tells", "a")) for _ in range(PAIR.free + 1)]
        return [number for number, guess in enumerate(begun) if guess.begins_waiting]

    assert run(work) == [PAIR.free - 1]


def test_the_wait_grows_to_its_longest_and_is_forgotten() -> None:
    now = 0

    async def work() -> tuple[list[int], bool]:
        nonlocal now
        store = MemoryLoginThrottle(lambda: now)
        waits = []
        for _ in range(20):
            guess = await store.begin(*digests(SECRET, "grows", "a"))
            while guess.wait_ms:
                waits.append(guess.retry_after)
                now += guess.wait_ms
                guess = await store.begin(*digests(SECRET, "grows", "a"))
        now += 4 * LONGEST_WAIT_MS
        return waits, all(await tried(store, "grows", "a", PAIR.free))

    waits, forgotten = asyncio.run(work())
    assert waits == [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 900, 900, 900, 900, 900]
    assert forgotten


def test_an_address_is_known_for_a_month() -> None:
    now = 0

    async def work() -> list[bool]:
        nonlocal now
        store = MemoryLoginThrottle(lambda: now)
        await store.succeed(await store.begin(*digests(SECRET, "month", "a")))
        known = []
        for time in (KNOWN_MS - 1, KNOWN_MS):
            now = time
            known.append((await store.begin(*digests(SECRET, "month", "a"))).known)
        return known

    assert asyncio.run(work()) == [True, False]


def test_a_flood_of_accounts_is_bounded_and_frees_nobody_who_waits() -> None:
    async def work() -> tuple[int, list[bool]]:
        store = MemoryLoginThrottle(lambda: 0, max_keys=1000)
        await tried(store, "waiting", "a", PAIR.free)
        for number in range(5000):
            await tried(store, str(number), "b", 1)
        return len(store._wrong), await tried(store, "waiting", "a", 1)

    assert asyncio.run(work())[0] <= 1000
    assert asyncio.run(work())[1] == [False]


def test_replicas_agree_and_keep_no_address(redis_url: str) -> None:
    async def work() -> tuple[int, bytes, list[int]]:
        redis = Redis.from_url(redis_url)
        await redis.flushall()
        replicas = [RedisLoginThrottle(Redis.from_url(redis_url)) for _ in range(3)]
        counts = await asyncio.gather(
            *(tried(each, "ada@example.com", "192.0.2.7", 20) for each in replicas)
        )
        for each in replicas:
            await each.close()
        keys: list[Any] = await redis.keys("*")
        values: list[Any] = [await redis.get(key) for key in keys]
        left = [await redis.pttl(key) for key in keys]
        await redis.aclose()
        return sum(sum(each) for each in counts), b" ".join([*keys, *values]), left

    passed, kept, left = asyncio.run(work())
    assert passed == PAIR.free
    assert b"ada" not in kept
    assert b"192.0" not in kept
    assert all(0 < each <= MEMORY_MS for each in left)


def test_redis_away_counts_in_the_process_and_spares_the_owner() -> None:
    async def work() -> tuple[list[bool], list[bool]]:
        store = RedisLoginThrottle(Redis.from_url(NOWHERE))
        await store.succeed(await store.begin(*digests(SECRET, "away", "home")))
        passed = await tried(store, "away", "a", 20)
        for number in range(30):
            await tried(store, "away", str(number), 1)
        return passed, await tried(store, "away", "home", 1)

    assert asyncio.run(work()) == ([True] * 5 + [False] * 15, [True])
