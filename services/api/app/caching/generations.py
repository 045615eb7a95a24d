"""Entries by key, in groups; one operation makes a whole group out of date.

An entry's name contains its group's generation, a random token that each change replaces; readers
then no longer find older entries. While a change is in progress, its group is marked: it is neither
read nor written. All backends pass one contract suite.
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
    is_maker: bool


class Generations(Protocol):
    """May forget anything at any time. A failure is returned, not raised."""

    async def look(self, group: str, key: str, *, stale: float) -> Look | None:
        """The entry, or None if the group must not be read. For a missing entry, or an entry with
        at most `stale` seconds left, `is_maker` is true for one look at a time: until that maker
        stores, releases, or lets MAKING_SECONDS pass without `still_making`. An empty entry means
        that the value did not fit: `is_maker` is false, and each reader computes the value without
        storing it."""
        ...

    async def current(self, groups: tuple[str, ...]) -> str | None:
        """A name that changes with each change of these groups; None if one of them must not be
        read."""
        ...

    async def still_making(self, name: str) -> None:
        """Keep other readers from making the entry for MAKING_SECONDS more."""
        ...

    async def store(self, name: str, value: bytes, *, ttl: float) -> bool:
        """Store `value` under the name that `look` returned; if it does not fit, store a
        short-lived empty entry."""
        ...

    async def release(self, name: str) -> None:
        """Let another reader make the entry."""
        ...

    async def mark(self, groups: Collection[str], writer: str) -> bool:
        """Before the groups change: replace their generations, and stop all reading."""
        ...

    async def unmark(self, groups: Collection[str], writer: str) -> bool:
        """After the groups changed: replace their generations again, and end the mark."""
        ...

    async def close(self) -> None: ...
