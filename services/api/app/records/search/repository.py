"""The statements of searches beside that of a page: words, their corrections, counts."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, Any, NamedTuple

from app.records.repository import faults
from app.records.search.statement import planned_each_time

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

    from app.collections.declared_search import SearchIndex
    from app.db.session import ReadSession
    from app.records.search.statement import Search

# Words of a collection that a word which is only begun can become.
_MOST_ENDINGS = 50
# Words that a misspelt one is compared with.
_MOST_NEAR = 200
# A shorter beginning stands for too many words.
_LEAST_BEGUN = 3
_LAST = "\U0010ffff"
# Words that were counted for other settings may be of fields that have been hidden since.
_OF_INDEX = "EXISTS (SELECT FROM listo.search_counts WHERE collection = {} AND index = {})"
# Queries that are kept, by configuration and text: a configuration never changes.
_MOST_ASKED = 1000
_asked: OrderedDict[tuple[str, str], Asked] = OrderedDict()


class Asked(NamedTuple):
    """The text of a `tsquery`, and whether it names something to find, not just to leave out."""

    query: str
    finds: bool


async def query_of(reading: ReadSession, index: SearchIndex, text: str) -> Asked:
    """The query of a text for PostgreSQL's websearch_to_tsquery; those of the latest are kept."""
    known = _asked.get((index.configuration, text))
    if known is not None:
        _asked.move_to_end((index.configuration, text))
        return known
    with faults:
        row = await reading.fetchrow(
            "SELECT _q::text AS query, querytree(_q) NOT IN ('', 'T') AS finds"
            f" FROM websearch_to_tsquery({index.configuration}, $1) AS _q",
            text,
        )
    assert row is not None
    asked = _asked[index.configuration, text] = Asked(row["query"], row["finds"])
    if len(_asked) > _MOST_ASKED:
        _asked.popitem(last=False)
    return asked


async def begun(
    reading: ReadSession, index: SearchIndex, counted: UUID | None, word: str
) -> tuple[str, list[str]]:
    """A word that is only begun as it stands in texts, and the lexemes of the counted words of that
    collection that it can become: their stems may be shorter than what was typed."""
    with faults:
        row = await reading.fetchrow(
            "WITH _begun AS (SELECT (tsvector_to_array(to_tsvector('listo.simple', $1)))[1] AS"
            " plain), _words AS (SELECT word FROM _begun, listo.search_words"
            ' WHERE collection = $2 AND length(plain) >= $3 AND word >= plain COLLATE "C"'
            f' AND word < (plain || $4::text) COLLATE "C" AND {_OF_INDEX.format("$2", "$6")}'
            " ORDER BY records DESC LIMIT $5)"
            " SELECT plain, tsvector_to_array("
            f"to_tsvector({index.configuration}, concat_ws(' ', $1, (SELECT"
            " string_agg(word, ' ') FROM _words)))) AS lexemes FROM _begun",
            word, counted, _LEAST_BEGUN, _LAST, _MOST_ENDINGS, index.name,
        )  # fmt: skip
    assert row is not None
    return row["plain"] or "", list(row["lexemes"])


async def lexemes(
    reading: ReadSession, index: SearchIndex, words: Sequence[str]
) -> list[tuple[str, str | None]]:
    """Each word's query in the collection's language, empty for a stop word, and the word as it is
    counted in `listo.search_words`, None for a number or an address."""
    with faults:
        rows = await reading.fetch(
            f"SELECT plainto_tsquery({index.configuration}, _word)::text,"
            " (tsvector_to_array(to_tsvector('listo.words', _word)))[1]"
            " FROM unnest($1::text[]) WITH ORDINALITY AS _ (_word, _n) ORDER BY _n",
            list(words),
        )
    return [(row[0], row[1]) for row in rows]


async def found_of_each(
    reading: ReadSession, search: Search, queries: Sequence[str], args: Sequence[object]
) -> list[bool]:
    """Whether each query finds a record for the caller."""
    plan, number = search.plan, len(args) + 1
    with faults:
        rows = await reading.fetch(
            f"SELECT EXISTS (SELECT FROM {plan.table}"
            f" WHERE {search.index.marked} @@ _query AND {plan.where})"
            f" FROM unnest(${number}::text[]::tsquery[]) WITH ORDINALITY AS _ (_query, _n)"
            " ORDER BY _n",
            *args,
            list(queries),
        )
    return [row[0] for row in rows]


async def words_with(
    reading: ReadSession, index: SearchIndex, collection: UUID, keys: Sequence[str],
    shortest: int, longest: int,
) -> list[tuple[str, int]]:  # fmt: skip
    """Counted words of the collection that share one of the `keys`, see `words.keys`, and their
    counts."""
    with faults:
        rows = await reading.fetch(
            "SELECT word, records FROM listo.search_words WHERE collection = $1"
            " AND listo.deletions(word) && $2::text[] AND length(word) BETWEEN $3 AND $4"
            f" AND {_OF_INDEX.format('$1', '$6')} ORDER BY records DESC, word LIMIT $5",
            collection, list(keys), shortest, longest, _MOST_NEAR, index.name,
        )  # fmt: skip
    return [(row["word"], row["records"]) for row in rows]


async def rows(reading: ReadSession, sql: str, args: Sequence[object]) -> Sequence[Any]:
    with faults:
        return await reading.fetch(sql, *args)


async def value(reading: ReadSession, sql: str, args: Sequence[object]) -> Any:
    with faults:
        return await reading.fetchval(sql, *args)


async def count(reading: ReadSession, sql: str, args: Sequence[object]) -> int:
    with faults:
        found: int = await reading.fetchval(
            planned_each_time(f"SELECT count(*) FROM ({sql}) AS _found"), *args
        )
    return found
