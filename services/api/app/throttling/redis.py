"""The login throttle on Redis: all processes share the counts; each operation is one script call.

With Redis away, each process counts by itself.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from app.redis.circuit_breaker import CircuitBreaker, RedisAway
from app.throttling.memory import MemoryLoginThrottle
from app.throttling.throttle import (
    ACCOUNT,
    KNOWN_ADDRESSES,
    KNOWN_MS,
    LONGEST_WAIT_MS,
    MEMORY_MS,
    PAIR,
    Guess,
)

if TYPE_CHECKING:
    from redis.asyncio import Redis

_SCRIPT = (Path(__file__).parent / "throttle.lua").read_text()
_CONSTANTS = (LONGEST_WAIT_MS, MEMORY_MS, KNOWN_MS, KNOWN_ADDRESSES, *PAIR, *ACCOUNT)


class RedisLoginThrottle:
    """Shares its counts with every process on the same Redis."""

    def __init__(self, client: Redis) -> None:
        self._breaker = CircuitBreaker(
            client, "login throttle", "each process counts wrong passwords by itself"
        )
        self._script = client.register_script(_SCRIPT)
        self._fallback = MemoryLoginThrottle()

    async def begin(self, account: str, pair_key: str) -> Guess:
        answer = await self._call("begin", account, pair_key)
        if answer is None:
            return await self._fallback.begin(account, pair_key)
        wait, known, address_failures, of_account = answer
        return Guess(account, pair_key, bool(known), wait, address_failures, of_account)

    async def succeed(self, guess: Guess) -> None:
        await self._call("succeed", guess.account, guess.pair_key, known=guess.known)
        # Keep the address known while Redis is away.
        await self._fallback.succeed(guess)

    async def withdraw(self, guess: Guess) -> None:
        answer = await self._call("withdraw", guess.account, guess.pair_key, known=guess.known)
        if answer is None:
            await self._fallback.withdraw(guess)

    async def close(self) -> None:
        await self._breaker.close()

    async def _call(
        self, operation: str, account: str, pair_key: str, *, known: bool = False
    ) -> list[int] | None:
        """The script's answer, or None where Redis is away."""
        prefix = f"listo:guesses:{account}"
        try:
            answer: list[int] | None = await self._breaker.call(
                lambda: self._script(
                    keys=[f"{prefix}:{pair_key}", prefix, f"{prefix}:known"],
                    args=[operation, pair_key, int(known), *_CONSTANTS],
                )
            )
        except RedisAway:
            return None
        return answer or []
