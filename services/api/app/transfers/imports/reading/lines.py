"""Splits a file that arrives in parts into lines."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_BOM = b"\xef\xbb\xbf"


class Lines:
    """`feed` and `end` give the lines, each with its number, from 1, and without its `\\n`. In the
    place of a line of more than `longest` bytes stands None."""

    def __init__(self, longest: int) -> None:
        self._longest = longest
        self._number = 1
        # The parts of the line that is not complete yet, and their bytes.
        self._parts: list[bytes] = []
        self._octets = 0

    def feed(self, part: bytes) -> Iterator[tuple[int, bytes | None]]:
        *complete, rest = part.split(b"\n")
        for each in complete:
            self._add(each)
            yield self._take()
        self._add(rest)

    def end(self) -> Iterator[tuple[int, bytes | None]]:
        """The last line, if it has no `\\n`."""
        if self._octets:
            yield self._take()

    def _add(self, piece: bytes) -> None:
        self._octets += len(piece)
        if self._octets <= self._longest:
            self._parts.append(piece)
        else:
            self._parts.clear()

    def _take(self) -> tuple[int, bytes | None]:
        number, line = self._number, None
        if self._octets <= self._longest:
            line = b"".join(self._parts)
            if number == 1:
                line = line.removeprefix(_BOM)
        self._number += 1
        self._parts.clear()
        self._octets = 0
        return number, line
