"""The cache of many processes. With Redis away the cache is empty, which is never wrong."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from app.redis.circuit_breaker import CircuitBreaker, RedisAway

if TYPE_CHECKING:
    from redis.asyncio import Redis


class RedisCache:
    """Entries that all processes on the same Redis share."""

    def __init__(self, client: Redis) -> None:
        self._client = client
        self._redis = CircuitBreaker(client, "cache", "nothing is cached")

    async def get(self, key: str) -> bytes | None:
        with suppress(RedisAway):
            value = await self._redis.call(lambda: self._client.get(_name(key)))
            return value if isinstance(value, bytes) else None
        return None

    async def set(self, key: str, value: bytes, *, ttl: float) -> None:
        if ttl <= 0:
            await self.delete(key)
            return
        px = max(1, int(ttl * 1000))
        with suppress(RedisAway):
            await self._redis.call(lambda: self._client.set(_name(key), value, px=px))

    async def delete(self, key: str) -> None:
        # Tried during an outage as well: an entry that outlives its deletion is wrong.
        with suppress(RedisAway):
            await self._redis.call(lambda: self._client.delete(_name(key)), even_if_open=True)

    async def close(self) -> None:
        await self._redis.close()


def _name(key: str) -> bytes:
    return f"listo:cache:{key}".encode("utf-8", "surrogatepass")
