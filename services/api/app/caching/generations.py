"""Entries by key, in groups; a whole group can be made out of date at once.

The name of an entry holds its group's generation, a random name that every change gives up, so
readers no longer find earlier entries. While a change is on its way, its group is marked: the group
is neither read nor stored into. All backends pass one contract suite.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Collection

# How long a dead writer's mark holds: longer than PostgreSQL takes to end the transaction.
MARK_SECONDS = 120.0
# A maker that was silent for this long counts as dead: another reader may make the entry.
MAKING_SECONDS = 3.0


@dataclass(frozen=True, slots=True)
class Look:
    """The entry, the seconds that it has left, and whether this reader is to make a new one."""

    name: str
    value: bytes | None
    left: float
    mine: bool


class Generations(Protocol):
    """May forget anything at any time. A failure is returned, not raised."""

    async def look(self, group: str, key: str, *, stale: float) -> Look | None:
        """The entry, or None if the group must not be read. For a missing entry, or one with at
        most `stale` seconds left, `mine` is true for one look at a time: until that maker stores,
        releases, or lets MAKING_SECONDS pass without `still_making`. For an empty entry `mine` is
        always false: each reader makes its own value, and stores nothing."""
        ...

    async def still_making(self, name: str) -> None:
        """Have no other reader make the entry yet."""
        ...

    async def store(self, name: str, value: bytes, *, ttl: float) -> bool:
        """Remember `value` under the name from the look that preceded its making; without room, an
        empty entry for a moment."""
        ...

    async def release(self, name: str) -> None:
        """Let another reader make the entry."""
        ...

    async def mark(self, groups: Collection[str], writer: str) -> bool:
        """Before the groups change: give up their generations, and have no process read them."""
        ...

    async def unmark(self, groups: Collection[str], writer: str) -> bool:
        """After the groups changed: give up their generations again, and end the mark."""
        ...

    async def close(self) -> None: ...
