"""How far a long work is, as whoever shows it is told."""

from __future__ import annotations

from typing import Protocol


class Progress(Protocol):
    """Takes the steps of a work, one after the other."""

    def begin(self, step: str, total: int | None) -> None:
        """The step's name, and of how many records it consists, if that is known about."""
        ...

    def reach(self, done: int) -> None:
        """So many records of the step are done."""
        ...
