"""Entries by key in groups, each of which can be made out of date as a whole.

What an entry is stored under holds the group's generation, a random name that is given up with
every change: entries of before are met by nobody. While a change is on its way its group is marked,
and neither read nor stored into. All backends pass one contract suite.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Collection

# How long a mark holds whose writer has died: longer than PostgreSQL takes to end its transaction.
MARK_SECONDS = 120.0
# How long after whoever makes an entry has last said so another one may: it died.
MAKING_SECONDS = 3.0


@dataclass(frozen=True, slots=True)
class Look:
    """What there is: the entry, how many seconds it has left, and whether to make a new one."""

    name: str
    value: bytes | None
    left: float
    mine: bool


class Generations(Protocol):
    """May forget anything at any time. What fails says so, and raises nothing."""

    async def look(self, group: str, key: str, *, stale: float) -> Look | None:
        """The entry, or None where the group must not be read. Of all who find none, or one with
        less than `stale` seconds left, `mine` is true for one until it has stored or released,
        or has said for MAKING_SECONDS neither that nor `still_making`. It is for nobody who finds
        an empty one: they make their own, and tell of nothing."""
        ...

    async def still_making(self, name: str) -> None:
        """Nobody else is to make the entry yet."""
        ...

    async def store(self, name: str, value: bytes, *, ttl: float) -> bool:
        """Remember `value` under the name of the look that came before it was read. Where there is
        no room for it, an empty one for a moment."""
        ...

    async def release(self, name: str) -> None:
        """Let somebody else make the entry."""
        ...

    async def mark(self, groups: Collection[str], writer: str) -> bool:
        """Before the groups change: give up their generations, and have nobody read them."""
        ...

    async def unmark(self, groups: Collection[str], writer: str) -> bool:
        """After they changed: the same, and end the mark."""
        ...

    async def close(self) -> None: ...
