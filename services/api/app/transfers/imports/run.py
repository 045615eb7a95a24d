"""An import: the records of a file into a collection, all of them, or those that can be, or none.

While the file arrives its records are checked and staged; one transaction then writes them.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from app.collections import indexes
from app.core.errors import InvalidParameter
from app.records.upsert import indexes_on
from app.transfers.imports import statements
from app.transfers.imports.applying import Applying
from app.transfers.imports.errors import ImportRefused, Refusal
from app.transfers.imports.reading.csv import Csv
from app.transfers.imports.reading.ndjson import Ndjson
from app.transfers.imports.staging import Staging

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, Sequence

    from app.collections.declared_index import Index
    from app.db.database import Transaction
    from app.db.pool.stepwise import Stepwise
    from app.overload.pace import Pace
    from app.records.access import Access
    from app.transfers.imports.applying import Counts
    from app.transfers.imports.parameters import Parameters
    from app.transfers.imports.reading.ndjson import Reader

# A line may be so many times as long as the largest record: spaces, escapes and other fields.
_TIMES_A_RECORD = 4


@dataclass(frozen=True, slots=True)
class Report:
    """The outcome of an import, or of a dry run; `refusals` are the first ones."""

    counts: Counts
    refusals: Sequence[Refusal]
    dry_run: bool

    def as_dict(self) -> dict[str, Any]:
        told: dict[str, Any] = asdict(self.counts)
        if self.dry_run:
            told["dry_run"] = True
        told["errors"] = [error.as_dict() for each in self.refusals for error in each.errors]
        return told


# Keeps what is to be kept of the import, in its transaction.
Finish = Callable[["Transaction", Report, "Reader"], Awaitable[None]]


class _Undone(Exception):
    """Rolls the transaction back."""


class Import:
    """An import that is checked and prepared.

    Raises as `Access.require` does, InvalidParameter and FilterError (400).
    """

    def __init__(self, access: Access, parameters: Parameters) -> None:
        access.require("create")
        if parameters.mode != "insert":
            access.require("update")
        if parameters.keep_system_fields and not access.actor.is_admin:
            raise InvalidParameter("system_fields=keep is for admins.")
        self.access = access
        self.parameters = parameters
        self._index = _index(access, parameters)
        # Seconds that PostgreSQL took so far.
        self.seconds = 0.0
        self.staging: Staging | None = None

    async def run(
        self, session: Stepwise, parts: AsyncIterable[bytes], pace: Pace, finish: Finish
    ) -> Report:
        """Import the file's bytes. `finish` is called unless nothing was done.

        Raises UnreadableFile and ImportRefused with `errors`, IndexNotReady and DefinitionChanged
        (409), and CollectionNotFound; nothing was imported then.
        """
        access, parameters = self.access, self.parameters
        if self._index is not None:
            await indexes.require_ready(access.session, access.collection, self._index)
        await session.execute(statements.TABLES)
        self.staging = staging = Staging(access, session, parameters, self._index)
        reader = self._reader()
        try:
            await staging.take(parts, reader, pace)
        finally:
            self.seconds += staging.seconds
        if staging.refusals.count and parameters.aborts:
            raise _refused(staging)
        began = time.monotonic()
        try:
            return await self._apply(session, staging, reader, finish)
        finally:
            self.seconds += time.monotonic() - began

    async def _apply(
        self, session: Stepwise, staging: Staging, reader: Reader, finish: Finish
    ) -> Report:
        await session.execute(statements.PREPARE)
        report: Report | None = None
        try:
            async with session.transaction() as transaction:
                applying = Applying(self.access, transaction, staging, self.parameters, self._index)
                counts = await applying.run()
                report = Report(counts, staging.refusals.first, self.parameters.dry_run)
                if self.parameters.dry_run or (counts.refused and self.parameters.aborts):
                    raise _Undone
                await finish(transaction, report, reader)
        except _Undone:
            if not self.parameters.dry_run:
                raise _refused(staging) from None
        assert report is not None
        return report

    @property
    def collection(self) -> str:
        return self.access.collection.name

    def _reader(self) -> Reader:
        longest = _TIMES_A_RECORD * self.access.session.budget.largest_record
        if self.parameters.format == "ndjson":
            return Ndjson(longest)
        return Csv(
            self.access.collection,
            longest,
            self.parameters.columns,
            raw=self.parameters.raw_formulas,
        )


def _refused(staging: Staging) -> ImportRefused:
    refusals = staging.refusals
    return ImportRefused(
        f"Nothing was imported: {refusals.count} of {staging.read} records are refused.",
        errors=[error for each in refusals.first for error in each.errors],
        read=staging.read,
        refused=refusals.count,
    )


def _index(access: Access, parameters: Parameters) -> Index | None:
    if parameters.mode == "insert" or parameters.key == "id":
        return None
    found = indexes_on(access.collection, parameters.key)
    if len(found) > 1:
        raise InvalidParameter("Several unique indexes are on the fields of the key.")
    return found[0]
