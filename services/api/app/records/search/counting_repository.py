"""The statements that count the words of collections."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from app.collections.repository import table

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

    from app.collections.declared_search import SearchIndex
    from app.db.session import Session

_SHORTEST, _LONGEST = 4, 40
# Words of a part of the records, for which the worker has memory whatever the texts are.
_MOST_WORDS = 100_000


class Counted(NamedTuple):
    """When the words were counted last: the search's index, the writes to the table until then,
    the records that were read, and whether that is an hour ago."""

    index_name: str
    writes: int
    records: int
    is_old: bool


async def last_count(session: Session, collection: UUID) -> Counted | None:
    row = await session.fetchrow(
        "SELECT index, writes, records, counted_at < now() - interval '1 hour' AS is_old"
        " FROM listo.search_counts WHERE collection = $1",
        collection,
    )
    return None if row is None else Counted(*row)


async def writes(session: Session, name: str) -> int:
    """The writes to the table that PostgreSQL has counted."""
    found: int | None = await session.fetchval(
        "SELECT n_tup_ins + n_tup_upd + n_tup_del FROM pg_stat_user_tables"
        " WHERE relid = to_regclass($1)",
        table(name),
    )
    return found or 0


async def first_of(
    session: Session, name: str, before: UUID | None, some: int
) -> tuple[UUID | None, int]:
    """The first id of the last `some` records before this id, and their number; None and 0 if there
    are none."""
    row = await session.fetchrow(
        f"SELECT min(id::text)::uuid, count(*) FROM (SELECT id FROM {table(name)}"
        " WHERE $1::uuid IS NULL OR id < $1 ORDER BY id DESC LIMIT $2) AS _some",
        before,
        some,
    )
    return (None, 0) if row is None else (row[0], row[1])


async def word_counts(
    session: Session, name: str, index: SearchIndex, first: UUID, before: UUID | None
) -> dict[str, int]:
    """The most frequent words of the records from `first` on, and in how many of these each is."""
    texts = " || ' ' || ".join(index.texts.values())
    rows = await session.fetch(
        f"SELECT _word, count(*) FROM {table(name)},"
        f" unnest(tsvector_to_array(to_tsvector('listo.words', {texts}))) AS _word"
        " WHERE id >= $1 AND ($2::uuid IS NULL OR id < $2)"
        f" AND length(_word) BETWEEN {_SHORTEST} AND {_LONGEST} GROUP BY _word"
        f" ORDER BY count(*) DESC LIMIT {_MOST_WORDS}",
        first,
        before,
    )
    return {row[0]: row[1] for row in rows}


async def hold(session: Session, collection: UUID) -> bool:
    """Keep the collection from being deleted until the transaction ends; False if it has been."""
    held = await session.fetchval(
        "SELECT true FROM listo.collections WHERE id = $1 FOR KEY SHARE", collection
    )
    return held is not None


async def words_after(
    session: Session, collection: UUID, after: str, some: int
) -> list[tuple[str, int]]:
    rows = await session.fetch(
        "SELECT word, records FROM listo.search_words WHERE collection = $1 AND word > $2"
        " ORDER BY word LIMIT $3",
        collection, after, some,
    )  # fmt: skip
    return [(row[0], row[1]) for row in rows]


async def keep_words(session: Session, collection: UUID, words: Sequence[tuple[str, int]]) -> None:
    await session.execute(
        "INSERT INTO listo.search_words (collection, word, records)"
        " SELECT $1, word, records FROM unnest($2::text[], $3::bigint[]) AS _ (word, records)"
        " ON CONFLICT (collection, word) DO UPDATE SET records = excluded.records",
        collection,
        [word for word, _ in words],
        [number for _, number in words],
    )


async def remove_words(session: Session, collection: UUID, words: Sequence[str]) -> None:
    await session.execute(
        "DELETE FROM listo.search_words WHERE collection = $1 AND word = ANY ($2)",
        collection,
        list(words),
    )


async def keep_count(
    session: Session, collection: UUID, index: str, written: int, records: int
) -> None:
    await session.execute(
        "INSERT INTO listo.search_counts (collection, index, writes, records)"
        " VALUES ($1, $2, $3, $4) ON CONFLICT (collection) DO UPDATE SET index = excluded.index,"
        " writes = excluded.writes, records = excluded.records, counted_at = now()",
        collection, index, written, records,
    )  # fmt: skip
