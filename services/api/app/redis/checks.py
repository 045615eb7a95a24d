"""Whether Redis answers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from redis.exceptions import RedisError

from app.core.errors import Problem
from app.observability.checks import Check

if TYPE_CHECKING:
    from redis.asyncio import Redis


def checks(client: Redis) -> list[Check]:
    async def answers() -> None:
        try:
            await client.ping()
        except (RedisError, OSError) as error:
            raise Problem(
                "Redis is away; each process limits by itself and caches nothing."
            ) from error

    return [Check("redis", answers, required=False)]
