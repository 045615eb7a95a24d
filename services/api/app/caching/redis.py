"""The cache of many processes. Redis away: it remembers nothing, which is never wrong."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from redis.exceptions import RedisError

from app.core.metrics import REDIS_FALLBACKS

if TYPE_CHECKING:
    from redis.asyncio import Redis

logger = logging.getLogger("listo.cache")

_FAULTS = (RedisError, OSError, TimeoutError)


class RedisCache:
    """Entries of every process on the same Redis."""

    def __init__(self, client: Redis) -> None:
        self._client = client
        self._away = False

    async def get(self, key: str) -> bytes | None:
        try:
            value = await self._client.get(f"listo:cache:{key}")
        except _FAULTS as error:
            self._note_away(error)
            return None
        self._away = False
        return value if isinstance(value, bytes) else None

    async def set(self, key: str, value: bytes, *, ttl: float) -> None:
        if ttl <= 0:
            await self.delete(key)
            return
        try:
            await self._client.set(f"listo:cache:{key}", value, px=max(1, int(ttl * 1000)))
        except _FAULTS as error:
            self._note_away(error)

    async def delete(self, key: str) -> None:
        try:
            await self._client.delete(f"listo:cache:{key}")
        except _FAULTS as error:
            self._note_away(error)

    async def close(self) -> None:
        await self._client.aclose()

    def _note_away(self, error: Exception) -> None:
        REDIS_FALLBACKS.labels("cache").inc()
        if not self._away:
            self._away = True
            logger.warning("Redis is away, nothing is cached: %s", error)
