"""From lines of NDJSON to records that are not checked yet."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol

import msgspec
import orjson

from app.collections.json_schema.keywords import RESERVED
from app.core.errors import FieldError, Problem
from app.records.service import Body
from app.transfers.imports.errors import Refusal, UnreadableFile
from app.transfers.imports.reading.lines import Lines

if TYPE_CHECKING:
    from collections.abc import Iterator

# The member of the last line that an export ends with, see `exports.formats.end_mark`.
_END = "_end"
_members = msgspec.json.Decoder(dict[str, msgspec.Raw])


@dataclass(frozen=True, slots=True)
class Given:
    """A record of the file: its own fields, the other fields that the file has for it, and the text
    that it was read from, without the end of its last line."""

    line: int
    data: Body
    system: dict[str, Any]
    raw: bytes


class Reader(Protocol):
    """Reads the records of a file; the first part of the file that is of none stands in `head`."""

    head: str

    def feed(self, part: bytes) -> Iterator[Given | Refusal]:
        """Raises UnreadableFile."""
        ...

    def end(self) -> Iterator[Given | Refusal]:
        """Raises UnreadableFile where the file is cut."""
        ...


class Ndjson:
    """A JSON object in each line; empty lines count for nothing. Where the last line is that of an
    export with `trailer=true`, it must be right."""

    head = ""

    def __init__(self, longest: int) -> None:
        self._longest = longest
        self._lines = Lines(longest)
        self._digest = hashlib.sha256()
        self._count = 0
        self._ended_at = 0

    def feed(self, part: bytes) -> Iterator[Given | Refusal]:
        for number, line in self._lines.feed(part):
            yield from self._read(number, line)

    def end(self) -> Iterator[Given | Refusal]:
        for number, line in self._lines.end():
            yield from self._read(number, line)

    def _read(self, number: int, line: bytes | None) -> Iterator[Given | Refusal]:
        if line is None:
            self._count += 1
            yield too_long(number, self._longest)
            return
        if not line.strip():
            return
        if self._ended_at:
            raise UnreadableFile(
                f"Line {self._ended_at} says that the file ends there, and line {number} goes on."
            )
        if line.startswith(b'{"_end":') and self._is_end(number, line):
            return
        self._digest.update(line)
        self._digest.update(b"\n")
        self._count += 1
        made = read_object(number, line)
        yield made if isinstance(made, Given) else replace(made, raw=line)

    def _is_end(self, number: int, line: bytes) -> bool:
        """Whether this is an end mark. Raises UnreadableFile for one that does not fit."""
        try:
            end = orjson.loads(line)[_END]
            count, sha256 = end["count"], end["sha256"]
        except (ValueError, KeyError, TypeError):
            return False
        if count != self._count or sha256 != self._digest.hexdigest():
            raise UnreadableFile(
                f"The last line tells of {count} records and another digest: the {self._count}"
                " records before it are not those that were exported."
            )
        self._ended_at = number
        return True


def too_long(number: int, longest: int) -> Refusal:
    message = f"is longer than the {longest} bytes that a line may have"
    return Refusal(number, [FieldError("", message, "line_too_long")])


def read_object(number: int, line: bytes, raw: bytes | None = None) -> Given | Refusal:
    """The record of a JSON object; `raw` if it was written in another way."""
    try:
        body = Body.from_json(line)
    except Problem as problem:
        return Refusal(number, faults_of(problem))
    if not isinstance(body.value, dict):
        return Refusal(number, [FieldError("", "must be an object", "type")])
    raw = line if raw is None else raw
    if body.value.keys().isdisjoint(RESERVED):
        return Given(number, body, {}, raw)
    system = {name: body.value.pop(name) for name in RESERVED if name in body.value}
    # The text of each member as it came, since parsed numbers have lost digits.
    own = b",".join(
        [
            b"%b:%b" % (orjson.dumps(name), bytes(value))
            for name, value in _members.decode(line).items()
            if name not in system
        ]
    )
    return Given(number, Body(f"{{{own.decode()}}}", body.value), system, raw)


def faults_of(problem: Problem) -> list[FieldError]:
    """The faults that a problem names, at least one."""
    if problem.errors:
        return list(problem.errors)
    # The problem speaks of the body, of which the line stands for itself here.
    message = problem.detail.replace("The body ", "").replace(" at line 1 column", " at column")
    return [FieldError("", message.rstrip("."), problem.code)]
