"""Generations on Redis, shared by every process.

Names contain the run id of Redis, since a restarted Redis may come back with old generations,
entries and marks. Times are by Redis' clock. Marks have no expiry in Redis, lest they are evicted.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import uuid4

from app.caching.generations import MAKING_SECONDS, MARK_SECONDS, Look
from app.redis.batches import Batches
from app.redis.circuit_breaker import CircuitBreaker, RedisAway
from app.redis.scripts import Script, ScriptClient

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Sequence
    from typing import Any

    from redis.asyncio import Redis

_NOW = """
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
"""
# A former primary may answer from what it has got so far, where a script writes nothing.
_PRIMARY = """
if not string.find(redis.call('INFO', 'replication'), 'role:master', 1, true) then
    return redis.error_reply('READONLY this is a replica')
end
"""
# KEYS: marks, generation. ARGV: a new generation, its life, the key, `stale`, and for how long one
# reader may be making the entry; times in ms.
_LOOK = Script(f"""{_NOW}{_PRIMARY}
if redis.call('ZCOUNT', KEYS[1], now, '+inf') > 0 then return false end
local generation = redis.call('GET', KEYS[2])
if not generation then
    generation = ARGV[1]
    redis.call('SET', KEYS[2], generation, 'PX', ARGV[2])
end
local run = string.match(redis.call('INFO', 'server'), 'run_id:(%x+)')
local name = 'listo:list:' .. run .. ':' .. generation .. ':' .. ARGV[3]
local value = redis.call('GET', name)
local left = value and redis.call('PTTL', name) or 0
local mine = value ~= '' and left <= tonumber(ARGV[4])
    and redis.call('SET', name .. ':making', '', 'NX', 'PX', ARGV[5])
return {{name, value, left, mine and 1 or 0}}
""")
# KEYS: marks and generation of each group. ARGV: what new generations begin with, their life in ms.
# Returns the run of Redis, then the generation of each group, or false if it must not be read.
_CURRENT = Script(f"""{_NOW}{_PRIMARY}
local found = {{string.match(redis.call('INFO', 'server'), 'run_id:(%x+)')}}
for i = 1, #KEYS, 2 do
    local generation = false
    if redis.call('ZCOUNT', KEYS[i], now, '+inf') == 0 then
        generation = redis.call('GET', KEYS[i + 1])
        if not generation then
            generation = ARGV[1] .. i
            redis.call('SET', KEYS[i + 1], generation, 'PX', ARGV[2])
        end
    end
    found[#found + 1] = generation
end
return found
""")
# KEYS: the entry. ARGV: the value, its life in ms, the share of maxmemory that may be in use after
# the write, the life of the empty entry that is stored if the value would exceed that share. Lists
# must not take the memory that counters in the same Redis need. A full Redis refuses a script's
# first write unless that frees memory, and no later one, so DEL comes first.
_STORE = """
redis.call('DEL', KEYS[1] .. ':making')
local memory = redis.call('INFO', 'memory')
local used = tonumber(string.match(memory, 'used_memory:(%d+)'))
local most = tonumber(string.match(memory, 'maxmemory:(%d+)'))
local more = #ARGV[1] - redis.call('STRLEN', KEYS[1])
if most > 0 and more > 0 and used + more > most * ARGV[3] then
    redis.call('SET', KEYS[1], '', 'PX', ARGV[4], 'NX')
    return 0
end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return 1
"""
# KEYS: marks and generation of each group. ARGV: the writer, the life of the mark in ms. A full
# Redis refuses a script's first write unless that frees memory, so the mark is not the first.
_MARK = f"""{_NOW}
for i = 1, #KEYS, 2 do
    redis.call('ZREMRANGEBYSCORE', KEYS[i], '-inf', now)
    redis.call('ZADD', KEYS[i], now + ARGV[2], ARGV[1])
    redis.call('DEL', KEYS[i + 1])
end
"""
_UNMARK = """
for i = 1, #KEYS, 2 do
    redis.call('DEL', KEYS[i + 1])
    redis.call('ZREM', KEYS[i], ARGV[1])
end
"""
# Exceeds the life of any entry; a new generation does no harm.
_GENERATION_SECONDS = 86_400
_SHARE_OF_MEMORY = 0.75
_NO_ROOM_SECONDS = 1.0


class RedisGenerations:
    """With Redis away, full or too slow, nothing is read, and writers learn of the failure."""

    def __init__(self, client: Redis) -> None:
        self._client = client
        self._redis = CircuitBreaker(client, "lists", "no list or record is cached")
        self._scripts = ScriptClient(client)
        self._batches: Batches[tuple[str, ...], str | None] = Batches(self._current)
        self._store = client.register_script(_STORE)
        self._mark = client.register_script(_MARK)
        self._unmark = client.register_script(_UNMARK)

    async def look(self, group: str, key: str, *, stale: float) -> Look | None:
        arguments: list[str | int] = [
            uuid4().hex,
            _ms(_GENERATION_SECONDS),
            key,
            _ms(stale),
            _ms(MAKING_SECONDS),
        ]
        _, found = await self._ask(lambda: self._scripts.run(_LOOK, _keys([group]), arguments))
        if found is None:
            return None
        name, value, left, mine = found
        return Look(name.decode(), value, left / 1000, mine == 1)

    async def current(self, groups: tuple[str, ...]) -> str | None:
        return await self._batches.ask(groups)

    async def _current(self, asked: Sequence[tuple[str, ...]]) -> list[str | None]:
        different = list(dict.fromkeys(group for groups in asked for group in groups))
        arguments: list[str | int] = [f"{uuid4().hex}.", _ms(_GENERATION_SECONDS)]
        answered, found = await self._ask(
            lambda: self._scripts.run(_CURRENT, _keys(different), arguments), calls=len(asked)
        )
        if not answered:
            return [None] * len(asked)
        run, *generations = found
        known = dict(zip(different, generations, strict=True))
        return [_joint(run, [known[group] for group in groups]) for groups in asked]

    async def still_making(self, name: str) -> None:
        await self._ask(lambda: self._client.pexpire(f"{name}:making", _ms(MAKING_SECONDS)))

    async def store(self, name: str, value: bytes, *, ttl: float) -> bool:
        arguments: list[bytes | int | float] = [
            value,
            max(1, _ms(ttl)),
            _SHARE_OF_MEMORY,
            _ms(_NO_ROOM_SECONDS),
        ]
        _, stored = await self._ask(lambda: self._store([name], arguments))
        return bool(stored)

    async def release(self, name: str) -> None:
        await self._ask(lambda: self._client.delete(f"{name}:making"))

    async def mark(self, groups: Collection[str], writer: str) -> bool:
        done, _ = await self._ask(lambda: self._mark(_keys(groups), [writer, _ms(MARK_SECONDS)]))
        return done

    async def unmark(self, groups: Collection[str], writer: str) -> bool:
        done, _ = await self._ask(lambda: self._unmark(_keys(groups), [writer]))
        return done

    async def close(self) -> None:
        self._scripts.close()
        await self._redis.close()

    async def _ask(self, call: Callable[[], Awaitable[Any]], *, calls: int = 1) -> tuple[bool, Any]:
        """Whether Redis answered, and the answer. `calls` as of `CircuitBreaker.call`."""
        try:
            return True, await self._redis.call(call, calls=calls)
        except RedisAway:
            return False, None


def _joint(run: bytes, generations: Sequence[bytes | None]) -> str | None:
    return None if None in generations else b":".join((run, *generations)).decode()  # type: ignore[arg-type]


def _keys(groups: Collection[str]) -> list[str]:
    return [f"listo:{kind}:{group}" for group in groups for kind in ("marks", "generation")]


def _ms(seconds: float) -> int:
    return int(seconds * 1000)
