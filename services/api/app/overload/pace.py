"""The pace of long work: it takes what short requests leave."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

# Between its steps, long work rests for this many times a step's duration while requests are in
# work, and for no longer than _LONGEST_REST seconds at a time.
_REST = 4.0
_LONGEST_REST = 1.0


class Pace:
    """`short` tells how many short requests are in work in this process."""

    def __init__(self, short: Callable[[], int]) -> None:
        self._short = short
        self._began = time.monotonic()

    async def step(self) -> None:
        """Between two steps of the work: let others have their turn."""
        took = time.monotonic() - self._began
        await asyncio.sleep(min(took * _REST, _LONGEST_REST) if self._short() else 0)
        self._began = time.monotonic()
