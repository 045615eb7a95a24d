"""Exports: all records that the caller may list, as they are at one moment, in flat memory."""

from __future__ import annotations

import hashlib
from contextlib import aclosing
from dataclasses import dataclass
from typing import TYPE_CHECKING

from app.filters.sort import order_by
from app.records.lists.listing import Query, plan_of
from app.transfers.exports import repository
from app.transfers.exports.formats import end_mark, format_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from app.db.session import ReadSession
    from app.overload.pace import Pace
    from app.records.access import Access
    from app.transfers.exports.formats import Format
    from app.transfers.exports.parameters import Parameters


@dataclass(slots=True)
class Export:
    """An export that is checked and compiled."""

    format: Format
    sql: str
    args: list[object]
    # The maximum weight of a record, see `Collection.largest`.
    largest: int
    with_end_mark: bool
    # The seconds that PostgreSQL took so far, and the records that were put.
    seconds: float = 0.0
    count: int = 0

    def _spend(self, seconds: float) -> None:
        self.seconds += seconds

    async def write(
        self, reading: ReadSession, put: Callable[[bytes], Awaitable[None]], pace: Pace
    ) -> None:
        """Put all bytes, part by part.

        The first part is put once PostgreSQL has given the first records, so what it refuses is
        raised before.
        """
        digest = hashlib.sha256()
        read = repository.rows(reading, self.sql, self.args, self.largest, self._spend)
        async with aclosing(read):
            async for rows in read:
                part = self.format.write(rows, first=not self.count) if rows else b""
                if not self.count:
                    part = self.format.head + part
                self.count += len(rows)
                if self.with_end_mark:
                    digest.update(part)
                if part:
                    await put(part)
                await pace.step()
        last = self.format.tail(any_records=bool(self.count))
        if self.with_end_mark:
            last += end_mark(self.count, digest.hexdigest())
        if last:
            await put(last)


def prepare(access: Access, parameters: Parameters) -> Export:
    """Raises as `Access.require` does, FilterError and InvalidParameter (400), and RecordsTooLarge
    (503)."""
    access.require("list")
    collection, actor = access.collection, access.actor
    query = Query(parameters.filter, parameters.sort, parameters.fields)
    plan = plan_of(collection, actor, query)
    format_ = format_of(
        parameters.format,
        collection,
        parameters.fields,
        raw_formulas=parameters.formulas == "raw",
    )
    # Without names of their own, the columns would be what the keys of the sort refer to.
    columns = ", ".join(f"{sql} AS c{number}" for number, sql in enumerate(format_.columns))
    sql = f"SELECT {columns} FROM {plan.table} WHERE {plan.where} ORDER BY {order_by(plan.keys)}"
    repository.require_memory(access.session.budget, sql, plan.largest)
    return Export(
        format_,
        sql,
        plan.params.bind(actor.id, actor.roles),
        plan.largest,
        parameters.trailer == "true",
    )
