"""The cache's interface: bytes by key, for a while. All backends pass one contract suite."""

from __future__ import annotations

from typing import Protocol


class Cache(Protocol):
    """May forget anything at any time; an entry that it gives was set so, and has not expired."""

    async def get(self, key: str) -> bytes | None: ...

    async def set(self, key: str, value: bytes, *, ttl: float) -> None:
        """Remember `value` for `ttl` seconds at most."""
        ...

    async def delete(self, key: str) -> None: ...

    async def close(self) -> None: ...
