"""The size of a record, and about how much memory PostgreSQL needs to write and to read it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache

import msgspec

from app.core import json
from app.records.errors import RecordTooLarge
from app.records.sql.statement import unpackings

# Measured with PostgreSQL 17 and 18. Reading takes _READ_TIMES the weight, and once more for each
# unpacking; writing takes _WRITE_TIMES the text. Each value has a header in `jsonb` (_VALUE_BYTES),
# and a node in a tree while PostgreSQL parses the text (_TREE_BYTES).
_READ_TIMES = 4
_WRITE_TIMES = 10
_VALUE_BYTES = 8
_TREE_BYTES = 170
# The SQL function that joins chosen fields, as text.
CHOSEN = "concat_ws"
_CHOSEN_TIMES = 6
# The SQL operator that leaves fields out. PostgreSQL then builds the tree anew, which takes less
# than 18 times the weight: _TREE_BYTES for each value, and a value weighs 10 bytes or more.
WITHOUT = " - ARRAY["
_WITHOUT_TIMES = 18
_MARKS = ",:[{"


@dataclass(frozen=True)
class Size:
    """The size of the JSON text of a record's own fields."""

    text: str

    @cached_property
    def octets(self) -> int:
        return len(self.text) if self.text.isascii() else len(self.text.encode())

    @cached_property
    def _values(self) -> int:
        # Counts the marks that stand before values; marks in strings add a few.
        return sum(map(self.text.count, _MARKS))

    @property
    def weight(self) -> int:
        """The maximum number of bytes that the unpacked record takes in PostgreSQL."""
        return self.octets + _VALUE_BYTES * self._values

    @property
    def memory_to_write(self) -> int:
        """Bytes of memory that PostgreSQL takes to write the record and to give it back."""
        return _WRITE_TIMES * self.octets + _TREE_BYTES * self._values

    def check(self, most: int) -> None:
        """Raises RecordTooLarge for more than `most` bytes without the spaces between values, or
        for more values than a body may have."""
        if self.octets > most:
            octets = len(msgspec.json.format(self.text.encode(), indent=-1))
            if octets > most:
                raise RecordTooLarge(
                    f"The record has {octets:,} bytes, and a record has at most {most:,} here."
                )
        if self._values > json.MAX_VALUES and json.has_too_many_values(self.text.encode()):
            raise RecordTooLarge(f"The record has more than {json.MAX_VALUES:,} values.")


def memory_to_read(sql: str, largest: int) -> int:
    """Bytes of memory that a statement takes to give out records of at most `largest` weight."""
    return _times_to_read(sql) * largest


@lru_cache(maxsize=512)
def _times_to_read(sql: str) -> int:
    times = _READ_TIMES + unpackings(sql)
    if CHOSEN in sql:
        times += _CHOSEN_TIMES
    if WITHOUT in sql:
        times += _WITHOUT_TIMES
    return times
