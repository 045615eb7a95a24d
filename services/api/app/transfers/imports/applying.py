"""Writes the staged records of an import to the collection, all in one transaction."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import asyncpg
import orjson

from app.collections.json_schema import keywords
from app.core import json
from app.core.errors import FieldError, Problem
from app.db.pool.budget import room
from app.db.session import affected
from app.records import repository, service, sizes
from app.records.errors import IndexedValueTooLong, InvalidRecord, not_unique
from app.records.merging import merge
from app.records.service import Body
from app.records.sizes import Size
from app.transfers.imports import statements
from app.transfers.imports.announcing import announce
from app.transfers.imports.errors import Refusal
from app.transfers.imports.reading.ndjson import faults_of
from app.transfers.imports.staging import MOST_REFUSALS

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

    from asyncpg import Record

    from app.collections.declared_index import Index
    from app.db.database import Transaction
    from app.records.access import Access
    from app.records.sql.statement import Statement
    from app.transfers.imports.parameters import Parameters
    from app.transfers.imports.staging import Staging

# Errors of a statement on many records that are of one of them.
_OF_ONE_RECORD = (asyncpg.UniqueViolationError, asyncpg.ProgramLimitExceededError)
# Lines that change records, at a time: number, and bytes of PostgreSQL's memory.
_MOST_ROWS = 500
_MOST_BYTES = 8 << 20


@dataclass(slots=True)
class Counts:
    """The records of a file: `read` is the sum of the others."""

    read: int = 0
    inserted: int = 0
    updated: int = 0
    unchanged: int = 0
    refused: int = 0

    def check(self) -> None:
        """Raises Problem (500) unless each record is counted once."""
        told = self.inserted + self.updated + self.unchanged + self.refused
        if self.read != told:
            raise Problem(f"Nothing was imported: {self.read} records were read, {told} counted.")


class Applying:
    """The transaction of one import."""

    def __init__(
        self,
        access: Access,
        transaction: Transaction,
        staging: Staging,
        parameters: Parameters,
        index: Index | None,
    ) -> None:
        self._access = access.within(transaction)
        self._session = transaction
        self._staging = staging
        self._mode = parameters.mode
        self._sql = statements.Statements(access, index)
        self._index = index
        self.counts = Counts(read=staging.read)

    async def run(self) -> Counts:
        """Write what is staged, and refuse what cannot be written.

        Raises DefinitionChanged (409), CollectionNotFound (404), Overloaded (503).
        """
        session, collection, counts = self._session, self._access.collection, self.counts
        await self._lock()
        await repository.announce(self._access, self._staging.heaviest)
        with repository.Faults(collection):
            await self._write()
        counts.refused = await self._refusals()
        counts.check()
        if counts.inserted or counts.updated:
            told = {"inserted": counts.inserted, "updated": counts.updated}
            await announce(self._access, session, "collection.imported", told)
        return counts

    async def _lock(self) -> None:
        """Keep the definition as it is, and batches from waiting for this import in a circle."""
        collection = self._access.collection
        await repository.lock_definition(self._access)
        if self._staging.any_id or collection.unique_indexes:
            await repository.lock_creation(self._access, alone=bool(collection.unique_indexes))

    async def _write(self) -> None:
        left = self._staging.read - self._staging.refusals.count
        if self._staging.any_id:
            left -= affected(await self._session.execute(statements.REFUSE_REPEATED_IDS))
        if self._index is not None:
            left -= affected(await self._session.execute(self._sql.refuse_repeated_keys))
        # Others may create records meanwhile, which lines can be matched with in the next round.
        changes, done = self._mode != "insert", left
        while left and done:
            matched = await self._change_matched() if changes else 0
            inserted = await self._insert(0, self._staging.last_line) if left > matched else 0
            self.counts.inserted += inserted
            done = matched + inserted if changes else 0
            left -= matched + inserted
        if left:
            await self._session.execute(statements.REFUSE_NO_RECORDS)
            await self._refuse_left()

    async def _insert(self, first: int, last: int) -> int:
        """Create the records of open lines; a line with a value that is too long for an index is
        refused."""
        try:
            async with self._session.nested():
                return await self._run(self._sql.insert, first, last)
        except asyncpg.ProgramLimitExceededError:
            if first == last:
                await self._refuse([(first, faults_of(IndexedValueTooLong()))])
                return 0
        middle = (first + last) // 2
        return await self._insert(first, middle) + await self._insert(middle + 1, last)

    async def _run(self, statement: Statement, *own: object) -> int:
        """The number of rows that the statement writes."""
        need = self._staging.most_memory + statement.unpackings * self._access.collection.largest
        async with room(self._session, need) as session:
            return affected(
                await session.execute(statement.sql, *statement.args(self._access.actor, *own))
            )

    async def _change_matched(self) -> int:
        """Change the records that open lines are about; the number of these lines."""
        lines, stale = 0, 1
        while stale:
            lines += await self._run(self._sql.match)
            stale = affected(await self._session.execute(self._sql.lock_matched))
            lines -= stale
        await self._session.execute(statements.ANALYZE_MATCHED)
        await self._session.execute(
            statements.REFUSE_MATCHED,
            _dumped([FieldError("", "the update rule does not allow this", "forbidden")]),
            _dumped(self._out_of_sight()),
        )
        largest = self._access.collection.largest
        most = max(1, min(_MOST_ROWS, _MOST_BYTES // largest))
        need = most * sizes.memory_to_read(self._sql.matched, largest)
        last = 0
        while True:
            async with room(self._session, need) as session:
                rows = await session.fetch(self._sql.matched, last, most)
            if not rows:
                break
            last = rows[-1]["line"]
            await self._change(rows)
        await self._session.execute(statements.DONE)
        return lines

    def _out_of_sight(self) -> Sequence[FieldError]:
        if self._index is None:
            return [FieldError("", "the create rule does not allow this", "forbidden")]
        return not_unique([self._index]).errors

    async def _change(self, rows: Sequence[Record]) -> None:
        """Change records by these lines, or refuse the lines."""
        ids: list[UUID] = []
        data: list[Size] = []
        lines: list[int] = []
        refused: list[tuple[int, Sequence[FieldError]]] = []
        for line, id_, given, stored in rows:
            try:
                text = await self._changed(given, stored)
            except Problem as problem:
                if problem.status >= 500:  # noqa: PLR2004
                    raise
                refused.append((line, faults_of(problem)))
                continue
            if text == stored and not self._access.collection.annotations.write_only:
                self.counts.unchanged += 1
                continue
            lines.append(line)
            ids.append(id_)
            data.append(Size(text))
        if ids:
            await repository.announce(self._access, max(size.weight for size in data))
            try:
                await self._replace(ids, data)
            except _OF_ONE_RECORD:
                for line, id_, size in zip(lines, ids, data, strict=True):
                    try:
                        await self._replace([id_], [size])
                    except asyncpg.UniqueViolationError as error:
                        refused.append((line, self._not_unique(error)))
                    except asyncpg.ProgramLimitExceededError:
                        refused.append((line, faults_of(IndexedValueTooLong())))
        await self._refuse(refused)

    async def _changed(self, given: str, stored: str) -> str:
        """The record's data after the line. Raises InvalidRecord and RecordTooLarge (422)."""
        collection, actor = self._access.collection, self._access.actor
        if self._mode == "upsert":
            text = merge(stored, given)
        else:
            kept = () if actor.is_admin else collection.annotations.read_only
            text = keywords.keeping(given, stored, kept) if kept else given
        if text is not given:
            try:
                value = json.parse_stored(text)
            except ValueError:
                raise InvalidRecord("The record holds a number that cannot be read.") from None
            await service.check_data(collection, Body(text, value))
            service.checked_size(self._access, text)
        return text

    async def _replace(self, ids: Sequence[UUID], data: Sequence[Size]) -> None:
        """Raises UniqueViolationError and ProgramLimitExceededError, and then has changed
        nothing."""
        need = sum(size.memory_to_write for size in data)
        async with room(self._session, need), self._session.nested() as session:
            changed = await session.fetchval(self._sql.change, ids, [size.text for size in data])
        self.counts.updated += changed
        self.counts.unchanged += len(ids) - changed

    def _not_unique(self, error: asyncpg.UniqueViolationError) -> Sequence[FieldError]:
        indexes = self._access.collection.unique_indexes
        return not_unique(
            [index for index in indexes if index.name == error.constraint_name]
        ).errors or [FieldError("", "another record has the same values", "not_unique")]

    async def _refuse_left(self) -> None:
        """Refuse the lines that neither matched nor could be inserted, the first with reasons."""
        statement = self._sql.left
        rows = await self._session.fetch(
            statement.sql, *statement.args(self._access.actor, MOST_REFUSALS)
        )
        await self._refuse([(row[0], self._why_left(row)) for row in rows])
        await self._session.execute(statements.REFUSE_LEFT)

    def _why_left(self, row: Record) -> Sequence[FieldError]:
        _, is_allowed, is_seen, is_taken, *taken = row
        if is_seen:
            return [FieldError("/id", "there already is a record with this id", "record_exists")]
        # An id that is taken by a record out of sight must look like any refusal.
        if not is_allowed or is_taken:
            return [FieldError("", "the create rule does not allow this", "forbidden")]
        unique = self._access.collection.unique_indexes
        same = [index for index, is_same in zip(unique, taken, strict=True) if is_same]
        return not_unique(same).errors or [
            FieldError("", "another record had the same values", "not_unique")
        ]

    async def _refuse(self, refused: Sequence[tuple[int, Sequence[FieldError]]]) -> None:
        if refused:
            await self._session.execute(
                statements.REFUSE,
                [line for line, _ in refused],
                [_dumped(faults) for _, faults in refused],
            )

    async def _refusals(self) -> int:
        """Add what PostgreSQL refused to the refusals; the number of all."""
        session, told = self._session, self._staging.refusals
        count: int = await session.fetchval("SELECT count(*) FROM pg_temp.import_refused")
        if count:
            rows = await session.fetch(statements.REFUSED, MOST_REFUSALS)
            told.first += [Refusal(line, _faults(faults)) for line, faults in rows]
            told.first.sort(key=lambda refusal: refusal.line)
            del told.first[MOST_REFUSALS:]
            told.count += count
        return told.count


def _dumped(faults: Sequence[FieldError]) -> str:
    return orjson.dumps([fault.as_dict() for fault in faults]).decode()


def _faults(text: str | None) -> list[FieldError]:
    faults: list[Any] = orjson.loads(text or "[]")
    return [FieldError(**fault) for fault in faults]
