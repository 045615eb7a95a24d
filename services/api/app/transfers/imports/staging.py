"""Checks the records of a file, and stages them in PostgreSQL while the file arrives."""

from __future__ import annotations

import asyncio
import re
import time
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import orjson

from app.core import json
from app.core.errors import FieldError, Problem
from app.core.ids import parse_uuid, uuid7
from app.db.pool.copying import SEPARATOR
from app.records import service
from app.records.errors import InvalidRecord
from app.records.sizes import Size
from app.records.upsert import missing_values
from app.transfers.imports import statements
from app.transfers.imports.errors import Refusal
from app.transfers.imports.reading.ndjson import Given, faults_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, Sequence

    from app.collections.declared_index import Index
    from app.db.pool.stepwise import Stepwise
    from app.overload.pace import Pace
    from app.records.access import Access
    from app.transfers.imports.parameters import Parameters
    from app.transfers.imports.reading.ndjson import Reader

# Refusals that are told with their reasons.
MOST_REFUSALS = 1000
# Other requests have their turn after so many records.
_STEP = 200
# The aim for the bytes of one COPY.
_SLICE_BYTES = 524_288
# Faults that stay, whichever record the line changes.
_STAYING = {"read_only", "reserved_name"}
# RFC 3339, as records have their times.
_TIME = re.compile(r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(\.\d{1,6})?([Zz]|[+-]\d\d:\d\d)")


@dataclass(slots=True)
class Refusals:
    """The refused lines: their number, and the first ones with their reasons."""

    count: int = 0
    first: list[Refusal] = field(default_factory=list)

    def add(self, refusal: Refusal) -> None:
        self.count += 1
        if len(self.first) < MOST_REFUSALS:
            self.first.append(refusal)


class Staging:
    """The lines of one file. `read` counts the records, refused ones included."""

    def __init__(
        self, access: Access, session: Stepwise, parameters: Parameters, index: Index | None
    ) -> None:
        self._access = access
        self._session = session
        self._parameters = parameters
        self._index = index
        self._owner = access.actor.id
        self._keeps_raw = parameters.skip and not parameters.dry_run
        self.read = 0
        self.last_line = 0
        self.refusals = Refusals()
        # Whether a line has an id of its own; the largest weight of a record, and the most bytes of
        # memory that PostgreSQL takes to write one.
        self.any_id = False
        self.heaviest = 0
        self.most_memory = 0
        self.seconds = 0.0
        self._rows: list[bytes] = []
        self._octets = 0
        self._need = 0
        self._copying: asyncio.Task[None] | None = None

    async def take(self, parts: AsyncIterable[bytes], reader: Reader, pace: Pace) -> None:
        """Stage the file to its end. Raises UnreadableFile."""
        try:
            async for part in parts:
                for made in reader.feed(part):
                    await self._add(made)
                    if not self.read % _STEP:
                        await pace.step()
                await pace.step()
            for made in reader.end():
                await self._add(made)
            await self._copy()
            await self._copied()
        finally:
            if self._copying is not None:
                self._copying.cancel()
                with suppress(asyncio.CancelledError, Exception):
                    await self._copying

    async def _add(self, made: Given | Refusal) -> None:
        self.read += 1
        self.last_line = made.line
        if isinstance(made, Given):
            row = await self._checked(made)
            if isinstance(row, bytes):
                self._stage(row)
                if self._octets > _SLICE_BYTES:
                    await self._copy()
                return
            made = Refusal(made.line, row, made.raw)
        self.refusals.add(made)
        if self._keeps_raw:
            self._stage(_row([made.line, _hex(made.raw), "t"]))

    def _stage(self, row: bytes) -> None:
        # Once nothing will be kept, the rest is only checked.
        if self.refusals.count and self._parameters.aborts:
            self._rows.clear()
            self._octets = 0
            return
        self._rows.append(row)
        self._octets += len(row)

    async def _copy(self) -> None:
        """Begin to copy what is staged, once the copy before is done."""
        await self._copied()
        if not self._rows:
            return
        text = b"".join(self._rows)
        need, self._rows, self._octets, self._need = self._need, [], 0, 0
        self._copying = asyncio.create_task(
            self._session.copy(statements.LINES, statements.COLUMNS, text, need)
        )

    async def _copied(self) -> None:
        if self._copying is not None:
            began = time.monotonic()
            await self._copying
            self._copying = None
            self.seconds += time.monotonic() - began

    async def _checked(self, given: Given) -> bytes | list[FieldError]:
        """The line as a row of COPY, or what is wrong with it."""
        faults = self._faults_of_system_fields(given.system)
        if faults:
            return faults
        access, merges = self._access, self._parameters.mode == "upsert"
        data: str | None = None
        patch: str | None = None
        try:
            kept = await service.prepared(access, given.data)
            size = service.checked_size(access, kept.text)
            data = kept.text
        except Problem as problem:
            if problem.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
                raise
            faults = faults_of(problem)
            # A line that is no whole record may still change one.
            stays = not isinstance(problem, InvalidRecord) or _STAYING & {f.code for f in faults}
            if not merges or stays:
                return faults
            size = Size(given.data.text)
            kept = given.data
        if merges and given.data.text != data:
            patch = given.data.text
        if self._index is not None:
            missing = missing_values(access, kept, self._index)
            if missing:
                return [
                    FieldError(json.pointer(*path), "is needed by the key", "required")
                    for path in missing
                ]
        self._need = max(self._need, size.memory_to_write)
        self.most_memory = max(self.most_memory, self._need)
        self.heaviest = max(self.heaviest, size.weight)
        told = None if data is not None else orjson.dumps([f.as_dict() for f in faults]).decode()
        return self._row(given, data, patch, told)

    def _row(self, given: Given, data: str | None, patch: str | None, faults: str | None) -> bytes:
        chosen = given.system.get("id") is not None
        self.any_id = self.any_id or chosen
        system, keeps = given.system, self._parameters.keep_system_fields
        owner: Any = system.get("owner", self._owner) if keeps else self._owner
        return _row(
            [
                given.line,
                _hex(given.raw) if self._keeps_raw else "",
                "f",
                given.system["id"] if chosen else uuid7(),
                "t" if chosen else "f",
                _in_line(data),
                _in_line(patch),
                _in_line(faults),
                *(
                    "" if not keeps or system.get(name) is None else system[name]
                    for name in ("version", "created_at", "updated_at")
                ),
                "" if owner is None else owner,
            ]
        )

    def _faults_of_system_fields(self, system: dict[str, Any]) -> list[FieldError]:
        if not system:
            return []
        faults = []
        if (id_ := system.get("id")) is not None and not _is_uuid(id_):
            faults.append(FieldError("/id", "must be a UUID", "invalid_id"))
        if not self._parameters.keep_system_fields:
            return faults
        version = system.get("version", 1)
        if type(version) is not int or not 0 < version < 1 << 62:
            faults.append(FieldError("/version", "must be a version number", "invalid"))
        if (owner := system.get("owner")) is not None and not _is_uuid(owner):
            faults.append(FieldError("/owner", "must be a UUID or null", "invalid"))
        faults += [
            FieldError(f"/{name}", "must be a time as in RFC 3339", "invalid")
            for name in ("created_at", "updated_at")
            if name in system and not _is_time(system[name])
        ]
        return faults


def _is_uuid(value: object) -> bool:
    return isinstance(value, str) and parse_uuid(value) is not None


def _is_time(value: object) -> bool:
    if not isinstance(value, str) or not _TIME.fullmatch(value):
        return False
    try:
        return datetime.fromisoformat(value).astimezone(UTC).year > 1
    except (ValueError, OverflowError):
        return False


def _row(cells: Sequence[object]) -> bytes:
    """A row as COPY reads it; cells that are not given, or empty, are NULL."""
    missing = [""] * (len(statements.COLUMNS) - len(cells))
    return SEPARATOR.join([str(cell).encode() for cell in (*cells, *missing)]) + b"\n"


def _hex(raw: bytes | None) -> str:
    return "" if raw is None else f"\\x{raw.hex()}"


def _in_line(text: str | None) -> str:
    """The JSON text without line ends, which stand between values alone."""
    if text is None:
        return ""
    if "\n" in text or "\r" in text:
        return text.replace("\n", " ").replace("\r", " ")
    return text
