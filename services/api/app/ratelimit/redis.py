"""The limiter of many processes. While Redis is away, each process admits its share of every limit
by itself."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, cast

from msgspec.msgpack import decode, encode

from app.ratelimit.gcra import decide
from app.ratelimit.memory import MemoryLimiter
from app.ratelimit.policy import OVERDRAFT, share
from app.redis.batches import Batches
from app.redis.circuit_breaker import CircuitBreaker, RedisAway
from app.redis.scripts import Script, ScriptClient

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from redis.asyncio import Redis

    from app.ratelimit.policy import Check, Decision

_SCRIPT = Script((Path(__file__).parent / "gcra.lua").read_text())

# More than a caller can owe, and a number that Lua still holds exactly.
_NO_LIMIT = 1 << 53


class RedisLimiter:
    """Shares its counts with every process on the same Redis.

    `processes` gives their number, which must be known before Redis goes away.
    """

    def __init__(self, client: Redis, processes: Callable[[], int]) -> None:
        self._redis = CircuitBreaker(client, "limiter", "each process admits its share by itself")
        self._scripts = ScriptClient(client)
        self._processes = processes
        self._fallback = MemoryLimiter()
        self._batches: Batches[Sequence[Check], Decision] = Batches(self._admit_all)

    async def admit(self, checks: Sequence[Check]) -> Decision:
        return await self._batches.ask(checks)

    async def close(self) -> None:
        self._scripts.close()
        await self._redis.close()

    async def _admit_alone(self, checks: Sequence[Check]) -> Decision:
        processes = max(1, self._processes())
        return await self._fallback.admit(
            [check._replace(policy=share(check.policy, processes)) for check in checks]
        )

    async def _admit_all(self, batch: Sequence[Sequence[Check]]) -> list[Decision]:
        async def shared() -> list[Decision]:
            asked = [_question(checks) for checks in batch]
            answer = await self._scripts.run(_SCRIPT, (), (encode(asked),))
            return list(_decisions(batch, decode(answer, type=list[int])))

        try:
            return cast("list[Decision]", await self._redis.call(shared, calls=len(batch)))
        except RedisAway:
            return [await self._admit_alone(checks) for checks in batch]


def _question(checks: Sequence[Check]) -> list[tuple[str, int, int, int]]:
    """For each window: its key, the request's addition to the debt, the debt up to which the
    request is admitted, and the maximum debt."""
    return [
        (
            # A window that a setting has changed starts with no debts.
            f"listo:limit:{policy.name}:{emission}:{burst}:{_legible(caller)}",
            min(cost * emission, burst) - min(counted * emission, burst),
            _NO_LIMIT if charge_always else burst,
            burst + OVERDRAFT,
        )
        for policy, caller, cost, counted, _, charge_always in checks
        for emission, burst in policy.windows
    ]


def _legible(caller: str) -> str:
    """The caller without lone surrogates, for MessagePack: ASCII unchanged, others distinct."""
    return caller.encode("utf-8", "surrogatepass").decode("latin-1")


def _decisions(batch: Sequence[Sequence[Check]], owed: Sequence[int]) -> Iterator[Decision]:
    """The decisions on a batch: `decide` compares the same integers as the script that counted."""
    at = 0
    for checks in batch:
        windows = sum(len(check.policy.windows) for check in checks)
        decision, _ = decide(checks, owed[at : at + windows])
        at += windows
        yield decision
