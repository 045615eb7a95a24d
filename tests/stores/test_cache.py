"""The cache's contract, on every backend."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from redis.asyncio import Redis

from app.caching.entries import _OVERHEAD
from app.caching.memory import MemoryCache
from app.caching.redis import RedisCache
from fixtures.redis import redis_store

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from app.caching.cache import Cache


@pytest.fixture(scope="module")
def redis_url() -> Iterator[str]:
    with redis_store() as url:
        yield url


ODD_KEYS = ("", "é", "e\u0301", "a b", "a:b", "a\n", "\x00", "\ud800", "x" * 1000)


@pytest.fixture(params=["memory", "redis"])
def run(request: pytest.FixtureRequest) -> Any:
    url = None if request.param == "memory" else request.getfixturevalue("redis_url")

    def run(work: Callable[[Cache], Awaitable[Any]]) -> Any:
        async def whole() -> Any:
            cache: Cache = MemoryCache() if url is None else RedisCache(Redis.from_url(url))
            try:
                return await work(cache)
            finally:
                await cache.close()

        return asyncio.run(whole())

    return run


def test_what_is_set_is_got_until_it_is_deleted(run: Any) -> None:
    async def work(cache: Cache) -> list[bytes | None]:
        found = [await cache.get("a")]
        await cache.set("a", b"\x00one", ttl=60)
        found.append(await cache.get("a"))
        await cache.set("a", b"", ttl=60)
        found.append(await cache.get("a"))
        await cache.delete("a")
        await cache.delete("a")
        return [*found, await cache.get("a")]

    assert run(work) == [None, b"\x00one", b"", None]


def test_a_time_to_live_of_zero_keeps_nothing(run: Any) -> None:
    async def work(cache: Cache) -> bytes | None:
        await cache.set("b", b"1", ttl=60)
        await cache.set("b", b"2", ttl=0)
        return await cache.get("b")

    assert run(work) is None


def test_entries_expire(run: Any) -> None:
    async def work(cache: Cache) -> bool:
        await cache.set("c", b"1", ttl=0.05)
        async with asyncio.timeout(5):
            while await cache.get("c") is not None:  # noqa: ASYNC110 - no event tells of it
                await asyncio.sleep(0.01)
        return True

    assert run(work)


def test_any_text_may_be_a_key(run: Any) -> None:
    async def work(cache: Cache) -> list[bytes | None]:
        for number, key in enumerate(ODD_KEYS):
            await cache.set(key, b"%d" % number, ttl=60)
        return [await cache.get(key) for key in ODD_KEYS]

    assert run(work) == [b"%d" % number for number in range(len(ODD_KEYS))]


def test_memory_is_bounded_and_the_least_used_goes_first() -> None:
    async def work() -> tuple[int, bytes | None, bytes | None]:
        cache = MemoryCache(max_bytes=100_000)
        await cache.set("used", b"x", ttl=60)
        for number in range(1000):
            await cache.set(str(number), b"y" * 1000, ttl=60)
            await cache.get("used")
        await cache.set("huge", b"z" * 200_000, ttl=60)
        return cache._entries._bytes, await cache.get("used"), await cache.get("huge")

    size, used, huge = asyncio.run(work())
    assert size <= 100_000
    assert used == b"x"
    assert huge is None


KEYS = ("a", "b", "é", "a" * 100)
_set = st.tuples(st.just("set"), st.sampled_from(KEYS), st.integers(-1, 5), st.binary(max_size=300))
_pass = st.tuples(st.just("pass"), st.integers(0, 3))
_touch = st.tuples(st.sampled_from(["get", "delete"]), st.sampled_from(KEYS))


@given(steps=st.lists(_set | _pass | _touch, max_size=60), room=st.integers(0, 4))
def test_memory_gives_what_was_set_until_time_or_room_runs_out(
    steps: list[tuple[Any, ...]], room: int
) -> None:
    """The model is a list in the order of use, which keeps the end that fits."""
    now = 0
    # The cache counts an overhead beside key and value, so the test gives all entries one size.
    size = 500
    cache = MemoryCache(lambda: now, max_bytes=room * size)
    model: list[tuple[str, int, bytes]] = []

    async def step(kind: str, *arguments: Any) -> None:
        nonlocal now
        if kind == "pass":
            now += arguments[0]
            return
        key = arguments[0]
        found = [entry for entry in model if entry[0] == key]
        rest = [entry for entry in model if entry[0] != key]
        if kind == "get":
            alive = [entry for entry in found if entry[1] > now]
            model[:] = rest + alive
            assert await cache.get(key) == (alive[0][2] if alive else None)
        elif kind == "delete":
            model[:] = rest
            await cache.delete(key)
        else:
            _, ttl, value = arguments
            padded = value + b"." * (size - _OVERHEAD - len(key) - len(value))
            model[:] = rest + ([(key, now + ttl, padded)] if ttl > 0 else [])
            if ttl > 0:
                model[:] = model[len(model) - min(len(model), room) :]
            await cache.set(key, padded, ttl=ttl)

    async def work() -> None:
        for each in steps:
            await step(*each)
        for key, expires, value in model:
            assert await cache.get(key) == (value if expires > now else None)

    asyncio.run(work())


def test_redis_away_is_a_miss() -> None:
    async def work() -> bytes | None:
        cache = RedisCache(Redis.from_url("redis://127.0.0.1:1", socket_connect_timeout=0.2))
        await cache.set("a", b"1", ttl=60)
        await cache.delete("a")
        try:
            return await cache.get("a")
        finally:
            await cache.close()

    assert asyncio.run(work()) is None
