"""The cache's interface: bytes by key, for a limited time. All backends pass one contract suite."""

from __future__ import annotations

from typing import Protocol


class Cache(Protocol):
    """May forget any entry at any time. `get` returns only unexpired entries, as they were set."""

    async def get(self, key: str) -> bytes | None: ...

    async def set(self, key: str, value: bytes, *, ttl: float) -> None:
        """Remember `value` for `ttl` seconds at most."""
        ...

    async def delete(self, key: str) -> None: ...

    async def close(self) -> None: ...
