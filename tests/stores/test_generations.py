"""The contract of generations, on every backend."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest
from redis.asyncio import Redis

from app.caching.generations import MAKING_SECONDS, MARK_SECONDS
from app.caching.memory import MemoryCache
from app.caching.memory_generations import MemoryGenerations
from app.caching.redis_generations import RedisGenerations
from fixtures.redis import redis_store

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

    from app.caching.generations import Generations

KEY, GROUP, OTHER = "key", "group", "other"


@asynccontextmanager
async def shared(url: str, **options: Any) -> AsyncIterator[tuple[RedisGenerations, Redis]]:
    """Generations on Redis, and their client."""
    client = Redis.from_url(url, **options)
    generations = RedisGenerations(client)
    try:
        yield generations, client
    finally:
        await generations.close()


class Store:
    """A backend, and a clock that can be put forward."""

    def __init__(self, generations: Generations | None, client: Redis | None) -> None:
        self._client = client
        self._now = 0.0
        self.generations = generations or MemoryGenerations(MemoryCache(self._time), self._time)

    async def later(self, seconds: float) -> None:
        """Move the expiry of keys instead of Redis' clock, which cannot be set."""
        self._now += seconds
        if self._client is None:
            return
        async for key in self._client.scan_iter("listo:*"):
            if await self._client.type(key) == b"zset":
                found: Any = await self._client.zrange(key, 0, -1, withscores=True)
                for member, score in found:
                    await self._client.zadd(key, {member: score - seconds * 1000})
            else:
                await self._client.pexpire(key, await self._client.pttl(key) - int(seconds * 1000))

    def _time(self) -> float:
        return self._now


@pytest.fixture(scope="module")
def redis_url() -> Iterator[str]:
    with redis_store() as url:
        yield url


@pytest.fixture(params=["memory", "redis"])
def run(request: pytest.FixtureRequest) -> Any:
    url = None if request.param == "memory" else request.getfixturevalue("redis_url")

    def run(work: Callable[[Store], Awaitable[None]]) -> None:
        async def whole() -> None:
            if url is None:
                await work(Store(None, None))
                return
            async with shared(url) as (generations, client):
                await client.flushall()
                await work(Store(generations, client))

        asyncio.run(whole())

    return run


async def kept(store: Generations, group: str = GROUP) -> bytes | None:
    look = await store.look(group, KEY, stale=0)
    return None if look is None else look.value


def test_what_is_stored_is_found(run: Any) -> None:
    async def work(store: Store) -> None:
        look = await store.generations.look(GROUP, KEY, stale=0)
        assert look is not None
        assert look.value is None
        assert await store.generations.store(look.name, b"\x00one", ttl=60)
        again = await store.generations.look(GROUP, KEY, stale=0)
        assert again is not None
        assert (again.name, again.value, again.is_maker) == (look.name, b"\x00one", False)
        assert 59 < again.left <= 60
        assert await kept(store.generations, OTHER) is None

    run(work)


def test_one_process_has_the_turn_to_make_an_entry(run: Any) -> None:
    async def work(store: Store) -> None:
        looks = [await store.generations.look(GROUP, KEY, stale=0) for _ in range(5)]
        assert [look.is_maker for look in looks if look] == [True, False, False, False, False]
        assert looks[0] is not None
        await store.generations.release(looks[0].name)
        second = await store.generations.look(GROUP, KEY, stale=0)
        assert second is not None
        assert second.is_maker
        # The holder of the turn died.
        await store.later(10)
        third = await store.generations.look(GROUP, KEY, stale=0)
        assert third is not None
        assert third.is_maker

    run(work)


def test_a_slow_maker_keeps_its_turn_by_saying_so(run: Any) -> None:
    async def work(store: Store) -> None:
        first = await store.generations.look(GROUP, KEY, stale=0)
        assert first is not None
        for _ in range(3):
            await store.later(0.9 * MAKING_SECONDS)
            await store.generations.still_making(first.name)
            other = await store.generations.look(GROUP, KEY, stale=0)
            assert other is not None
            assert not other.is_maker
        await store.generations.store(first.name, b"1", ttl=60)
        # This message is too late to hold up others.
        await store.generations.still_making(first.name)
        last = await store.generations.look(GROUP, KEY, stale=61)
        assert last is not None
        assert last.is_maker

    run(work)


def test_one_process_has_the_turn_to_renew_a_stale_entry(run: Any) -> None:
    async def work(store: Store) -> None:
        first = await store.generations.look(GROUP, KEY, stale=30)
        assert first is not None
        await store.generations.store(first.name, b"1", ttl=60)
        await store.later(29)
        fresh = await store.generations.look(GROUP, KEY, stale=30)
        assert fresh is not None
        assert not fresh.is_maker
        await store.later(2)
        looks = [await store.generations.look(GROUP, KEY, stale=30) for _ in range(3)]
        assert [(look.value, look.is_maker) for look in looks if look] == [
            (b"1", True),
            (b"1", False),
            (b"1", False),
        ]
        await store.later(31)
        assert await kept(store.generations) is None

    run(work)


@pytest.mark.parametrize("stale", [0, 60])
def test_no_process_has_the_turn_while_the_entry_is_empty(run: Any, stale: float) -> None:
    """A process that finds this makes its own value; a turn would hold up later processes."""

    async def work(store: Store) -> None:
        first = await store.generations.look(GROUP, KEY, stale=stale)
        assert first is not None
        await store.generations.store(first.name, b"", ttl=30)
        looks = [await store.generations.look(GROUP, KEY, stale=stale) for _ in range(2)]
        assert [(look.value, look.is_maker) for look in looks if look] == [(b"", False)] * 2
        await store.later(31)
        looks = [await store.generations.look(GROUP, KEY, stale=stale) for _ in range(2)]
        assert [(look.value, look.is_maker) for look in looks if look] == [
            (None, True),
            (None, False),
        ]

    run(work)


def test_nothing_is_read_nor_kept_across_a_change(run: Any) -> None:
    """This holds whenever the read began, and whenever its result is stored."""

    async def work(store: Store) -> None:
        generations = store.generations
        look = await generations.look(GROUP, KEY, stale=0)
        assert look is not None
        await generations.store(look.name, b"before", ttl=60)
        assert await generations.mark([GROUP, OTHER], "writer")
        assert await generations.look(GROUP, KEY, stale=0) is None
        assert await generations.look(OTHER, KEY, stale=0) is None
        await generations.store(look.name, b"before", ttl=60)
        assert await generations.unmark([GROUP, OTHER], "writer")
        assert await kept(generations) is None
        await generations.store(look.name, b"before", ttl=60)
        assert await kept(generations) is None
        assert await kept(generations, OTHER) is None

    run(work)


def test_a_name_is_current_until_one_of_its_groups_changes(run: Any) -> None:
    async def work(store: Store) -> None:
        generations, names = store.generations, set[str | None]()
        for changed in (GROUP, OTHER):
            name = await generations.current((GROUP, OTHER))
            assert name is not None
            assert await generations.current((GROUP, OTHER)) == name
            names.add(name)
            await generations.mark([changed], "writer")
            assert await generations.current((GROUP, OTHER)) is None
            assert await generations.current(("third",)) is not None
            await generations.unmark([changed], "writer")
        names.add(await generations.current((GROUP, OTHER)))
        assert len(names) == 3

    run(work)


def test_a_name_is_another_after_each_step_of_a_change(run: Any) -> None:
    """A value that is made between the steps must not be served after the change."""

    async def work(store: Store) -> None:
        before = await store.generations.current((GROUP,))
        await store.generations.mark([GROUP], "writer")
        await store.later(MARK_SECONDS + 1)
        between = await store.generations.current((GROUP,))
        await store.generations.unmark([GROUP], "writer")
        assert len({before, between, await store.generations.current((GROUP,))}) == 3

    run(work)


def test_names_asked_for_in_one_turn_are_one_call(redis_url: str) -> None:
    async def work() -> None:
        async with shared(redis_url) as (store, client):
            await store.current((GROUP,))
            await client.config_resetstat()
            names = await asyncio.gather(
                *(store.current((GROUP, f"part {number % 3}")) for number in range(60))
            )
            assert len(set(names)) == 3
            stats: Any = await client.info("commandstats")
            assert stats["cmdstat_evalsha"]["calls"] == 1

    asyncio.run(work())


def test_nothing_is_current_while_redis_is_full(redis_url: str) -> None:
    async def work() -> None:
        async with shared(redis_url) as (store, client):
            await client.config_set("maxmemory", "1")
            try:
                assert await store.current((uuid4().hex,)) is None
            finally:
                await client.config_set("maxmemory", "0")

    asyncio.run(work())


def test_marks_of_several_writers_add_up(run: Any) -> None:
    async def work(store: Store) -> None:
        for writer in ("one", "two"):
            await store.generations.mark([GROUP], writer)
        await store.generations.unmark([GROUP], "one")
        assert await store.generations.look(GROUP, KEY, stale=0) is None
        await store.generations.unmark([GROUP], "two")
        assert await store.generations.look(GROUP, KEY, stale=0) is not None

    run(work)


def test_the_mark_of_a_dead_writer_ends_without_earlier_entries(run: Any) -> None:
    async def work(store: Store) -> None:
        look = await store.generations.look(GROUP, KEY, stale=0)
        assert look is not None
        await store.generations.store(look.name, b"before", ttl=2 * MARK_SECONDS)
        await store.generations.mark([GROUP], "dead")
        await store.later(MARK_SECONDS - 1)
        assert await store.generations.look(GROUP, KEY, stale=0) is None
        await store.later(2)
        again = await store.generations.look(GROUP, KEY, stale=0)
        assert again is not None
        assert again.value is None

    run(work)


def test_a_mark_that_got_lost_does_no_harm(redis_url: str) -> None:
    """The mark is evicted, or flushed with everything, between mark and commit."""

    async def work() -> None:
        async with shared(redis_url) as (store, client):
            await store.mark([GROUP], "writer")
            await client.flushall()
            look = await store.look(GROUP, KEY, stale=0)
            assert look is not None
            await store.store(look.name, b"before the commit", ttl=60)
            await store.unmark([GROUP], "writer")
            assert await kept(store) is None

    asyncio.run(work())


def test_a_quarter_of_the_memory_is_left_to_what_is_counted(redis_url: str) -> None:
    async def work() -> None:
        async with shared(redis_url) as (store, client):
            await client.flushall()
            stored, mebibyte = 0, b"x" * (1 << 20)
            used: int = (await client.info("memory"))["used_memory"]
            await client.config_set("maxmemory", used + (40 << 20))
            try:
                for number in range(60):
                    look = await store.look(GROUP, f"key {number}", stale=0)
                    assert look is not None
                    stored += await store.store(look.name, mebibyte, ttl=60)
                    again = await store.look(GROUP, f"key {number}", stale=0)
                    assert again is not None
                    # Without room the entry is empty, so that no process waits for another.
                    assert (len(again.value or b""), again.is_maker) in (
                        (1 << 20, False),
                        (0, False),
                    )
                # An entry that replaces another needs no more room.
                first = await store.look(GROUP, "key 0", stale=61)
                assert first is not None
                assert first.is_maker
                assert await store.store(first.name, mebibyte, ttl=60)
            finally:
                await client.config_set("maxmemory", "0")
            assert 20 <= stored <= 30

    asyncio.run(work())


def test_redis_away_or_full_is_reported(redis_url: str) -> None:
    async def work() -> None:
        async with shared("redis://127.0.0.1:1", socket_connect_timeout=0.2) as (away, _):
            assert await away.look(GROUP, KEY, stale=0) is None
            assert not await away.mark([GROUP], "writer")
            assert not await away.unmark([GROUP], "writer")
            assert not await away.store("name", b"1", ttl=1)
        # After a failure, generations leave Redis alone for a while.
        async with shared(redis_url) as (reader, client), shared(redis_url) as (writer, _):
            await client.config_set("maxmemory", "1")
            try:
                assert await reader.look("new", KEY, stale=0) is None
                assert not await writer.store("name", b"1", ttl=1)
            finally:
                await client.config_set("maxmemory", "0")

    asyncio.run(work())
