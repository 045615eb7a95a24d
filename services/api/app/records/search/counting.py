"""Counts in how many records each word of a collection stands, which corrections need.

A duty of the worker, which reads the newest records part by part, counts in its own memory, and
writes the counts that have changed, so no write of a record has to wait for it.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any, Final

import asyncpg

from app.records.search import counting_repository as repository

if TYPE_CHECKING:
    from app.collections.declared_search import SearchIndex
    from app.collections.models import Collection
    from app.db.leases import Lease
    from app.records.search.counting_repository import Counted

# Records that are read, in all and at a time, and the bytes of the latter at their heaviest.
MOST_RECORDS: Final = 1_000_000
_AT_A_TIME: Final = 5000
_BYTES_AT_A_TIME: Final = 64 << 20
# Words that are kept, and that are counted until the rarest are dropped.
MOST_WORDS: Final = 200_000
_MOST_IN_MEMORY: Final = 400_000
_WORDS_AT_A_TIME: Final = 2000
# With this many records, words that stand in a single one are mostly slips themselves.
_MANY: Final = 10_000
# A count is out of date after as many writes as this part of the records, and after an hour.
_PART: Final = 0.1


async def count_words(lease: Lease, collection: Collection) -> None:
    """Count the collection's words unless their counts are up to date."""
    index = collection.search_index
    if index is None or not await _is_due(lease, collection, index):
        return
    # Records that are written meanwhile make the next count due the sooner.
    writes = await repository.writes(lease.database, collection.name)
    try:
        counts, records = await _counted(lease, collection, index)
    except asyncpg.UndefinedTableError:
        # The collection has been deleted.
        return
    await _store(lease, collection, counts)
    async with lease.transaction() as session:
        if await repository.hold(session, collection.id):
            await repository.keep_count(session, collection.id, index.name, writes, records)


async def _is_due(lease: Lease, collection: Collection, index: SearchIndex) -> bool:
    before: Counted | None = await repository.last_count(lease.database, collection.id)
    if before is None or before.index_name != index.name:
        return True
    # PostgreSQL's own count begins anew after a crash.
    writes = abs(await repository.writes(lease.database, collection.name) - before.writes)
    return writes > before.records * _PART or (writes > 0 and before.is_old)


async def _counted(
    lease: Lease, collection: Collection, index: SearchIndex
) -> tuple[dict[str, int], int]:
    """The counts of the words that are worth a correction, and how many records were read."""
    counts: Counter[str] = Counter()
    records, before = 0, None
    some = max(1, min(_AT_A_TIME, _BYTES_AT_A_TIME // collection.largest))
    while records < MOST_RECORDS:
        first, number = await repository.first_of(lease.database, collection.name, before, some)
        if first is None:
            break
        words = await repository.word_counts(lease.database, collection.name, index, first, before)
        counts.update(words)
        _drop_rare(counts, _MOST_IN_MEMORY)
        records, before = records + number, first
    if records > _MANY:
        counts = Counter({word: number for word, number in counts.items() if number > 1})
    return dict(counts.most_common(MOST_WORDS)), records


def _drop_rare(counts: Counter[str], most: int) -> None:
    rare = 1
    while len(counts) > most:
        for word in [word for word, number in counts.items() if number <= rare]:
            del counts[word]
        rare += 1


async def _store(lease: Lease, collection: Collection, counts: dict[str, int]) -> None:
    """Have the table as `counts` says, in small transactions."""
    after: Any = ""
    while True:
        present = await repository.words_after(
            lease.database, collection.id, after, _WORDS_AT_A_TIME
        )
        if not present:
            break
        gone = [word for word, _ in present if word not in counts]
        async with lease.transaction() as session:
            await repository.remove_words(session, collection.id, gone)
        for word, number in present:
            if counts.get(word) == number:
                del counts[word]
        after = present[-1][0]
    changed = sorted(counts.items())
    for start in range(0, len(changed), _WORDS_AT_A_TIME):
        async with lease.transaction() as session:
            if not await repository.hold(session, collection.id):
                return
            await repository.keep_words(
                session, collection.id, changed[start : start + _WORDS_AT_A_TIME]
            )
