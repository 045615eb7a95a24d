"""The cache of many processes. Redis away: it remembers nothing, which is never wrong."""

from __future__ import annotations

from typing import TYPE_CHECKING

from redis.exceptions import RedisError

from app.core.outage import RedisOutage

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from redis.asyncio import Redis

_FAULTS = (RedisError, OSError, TimeoutError)


class RedisCache:
    """Entries of every process on the same Redis."""

    def __init__(self, client: Redis) -> None:
        self._client = client
        self._outage = RedisOutage("cache", "nothing is cached")

    async def get(self, key: str) -> bytes | None:
        if self._outage.skips():
            return None
        value = await self._ask(self._client.get(_name(key)))
        return value if isinstance(value, bytes) else None

    async def set(self, key: str, value: bytes, *, ttl: float) -> None:
        if ttl <= 0:
            await self.delete(key)
        elif not self._outage.skips():
            await self._ask(self._client.set(_name(key), value, px=max(1, int(ttl * 1000))))

    async def delete(self, key: str) -> None:
        # Tried during an outage as well: an entry that outlives its deletion is wrong.
        await self._ask(self._client.delete(_name(key)))

    async def close(self) -> None:
        await self._client.aclose()

    async def _ask(self, call: Awaitable[object]) -> object:
        try:
            answer = await call
        except _FAULTS as error:
            self._outage.note_fault(error)
            return None
        self._outage.note_answer()
        return answer


def _name(key: str) -> bytes:
    return f"listo:cache:{key}".encode("utf-8", "surrogatepass")
