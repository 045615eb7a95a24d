"""How a search came to its answer, in plain words."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import orjson

from app.records.search import repository
from app.records.search.wording import all_words, lexemes_of, words_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from app.db.session import ReadSession
    from app.records.search.statement import Search

_MOST_WORDS: Final = 64
_BY_INDEX: Final = ("Index Scan", "Index Only Scan")


async def explained(
    reading: ReadSession, search: Search, page: tuple[str, Sequence[object]], typed: str, q: str
) -> dict[str, Any]:
    """`page` is the statement with its values, `typed` what the client looked for and `q` what was
    looked for in the end."""
    sql, args = page
    (plan,) = orjson.loads(await repository.value(reading, f"{_ANALYZE} {sql}", args))
    told: dict[str, Any] = {
        "query": search.wanted.query,
        "dropped_words": await _dropped(reading, search, q),
        "corrected_words": _corrected(typed, q),
        "plan": list(dict.fromkeys(_steps(plan["Plan"], search))),
        "milliseconds": round(plan["Planning Time"] + plan["Execution Time"], 2),
    }
    return told


_ANALYZE: Final = "EXPLAIN (ANALYZE, TIMING OFF, FORMAT JSON)"


async def _dropped(reading: ReadSession, search: Search, q: str) -> list[str]:
    words = all_words(q)[:_MOST_WORDS]
    known = await repository.lexemes(reading, search.index, words)
    return [word for word, (query, _) in zip(words, known, strict=True) if not query]


def _corrected(typed: str, q: str) -> dict[str, str]:
    before, after = ([word.text for word in words_of(text)] for text in (typed, q))
    if len(before) != len(after):
        return {}
    return {one: other for one, other in zip(before, after, strict=True) if one != other}


def _steps(node: dict[str, Any], search: Search) -> Iterator[str]:
    """The reads of PostgreSQL in their order, without those that it never came to."""
    loops = node["Actual Loops"]
    if not loops:
        return
    for each in node.get("Plans", ()):
        yield from _steps(each, search)
    records, kind = round(node["Actual Rows"] * loops), node["Node Type"]
    if kind == "Bitmap Index Scan":
        which = "search" if node["Index Name"] == search.index.name else node["Index Name"]
        yield f"The index {which} gave {records:,} records in {loops} {_times(loops)}."
    elif kind in _BY_INDEX and node.get("Scan Direction") == "Backward":
        yield f"Records were read from the newest on until {records:,} of them had matched."
    elif kind in _BY_INDEX:
        yield f"{records:,} records were looked up by {node['Index Name']}."
    elif kind == "Seq Scan":
        yield f"All records were read, since no index helps or they are few; {records:,} matched."


def _times(number: int) -> str:
    return "look" if number == 1 else "looks"


async def reason_of_first(reading: ReadSession, search: Search, row: Any) -> str:
    """Why the first record is first: where its words stand, and what its rank is made of."""
    sql, args = search.parts_of_rank(row[2])
    found = next(iter(await repository.rows(reading, sql, args)), None)
    if found is None:
        return "It has been deleted meanwhile."
    names: dict[str, list[str]] = {}
    for name, weight in search.index.spec.fields:
        names.setdefault(weight, []).append(name)
    places = []
    for word, weights in orjson.loads(found["words"]):
        if not any(_is(word, lexeme) for lexeme in lexemes_of(search.wanted.query)):
            continue
        counted = {weight: weights.count(weight) for weight in "ABCD" if weight in weights}
        where = ", ".join(
            f"{number} in {' or '.join(names[weight])} ({weight})"
            for weight, number in counted.items()
        )
        places.append(f"{word} {where}")
    rank = [f"{found['text']:.4g} for its text"]
    rank += [
        f"{found[name]:.4g} times for its {getattr(search.index.spec, name)}"
        for name in ("boost", "recency")
        if getattr(search.index.spec, name) is not None
    ]
    return f"It has {'; '.join(places)}. Its rank is {row[3]:.4g}: {', '.join(rank)}."


def _is(word: str, lexeme: tuple[str, bool]) -> bool:
    text, begun = lexeme
    return word.startswith(text) if begun else word == text
