"""A check, by which a package reports whether its dependency works."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable


@dataclass(frozen=True, slots=True)
class Check:
    """`run` raises Problem with the fault as its detail. Without a `required` dependency the
    process cannot serve; without another dependency it serves with less."""

    name: str
    run: Callable[[], Awaitable[None]]
    required: bool
