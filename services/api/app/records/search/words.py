"""Corrections of misspelt words, by the words that the collection's records have.

A slip is a letter that is wrong, missing or too many, or two letters in the wrong order. Words that
are one slip apart are equal without a letter each, so an index of words without a letter finds all
of them. The first seven letters of words that are two slips apart are equal without two.
"""

from __future__ import annotations

from itertools import combinations
from typing import TYPE_CHECKING, Final

from app.records.search import repository
from app.records.search.wording import replaced, words_of

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

    from app.collections.declared_search import SearchIndex
    from app.db.session import ReadSession
    from app.records.search.statement import Search

# The shortest words in which one slip and two slips are corrected.
ONE_SLIP: Final = 5
TWO_SLIPS: Final = 9
_LONGEST: Final = 40
_PREFIX: Final = 7
_MOST_WORDS: Final = 8
# The number of corrections of a word that are looked for, with the filter.
_TRIED: Final = 5


def keys(word: str) -> list[str]:
    """The word, and all that it is without one letter, as the function `listo.deletions` has it."""
    return [word, *{word[:at] + word[at + 1 :] for at in range(len(word))}]


def keys_of_two(word: str) -> list[str]:
    """The first letters of the word without two of them."""
    start = word[:_PREFIX]
    return list({"2" + "".join(kept) for kept in combinations(start, len(start) - 2)})


def slips(one: str, other: str, most: int) -> int:
    """The slips between two words, `most + 1` if there are more; a wrong first letter counts
    twice. Damerau and Levenshtein's distance where no letter is moved twice."""
    beyond = most + 1
    if abs(len(one) - len(other)) > most:
        return beyond
    before: list[int] = []
    row = list(range(len(other) + 1))
    for i, letter in enumerate(one, 1):
        # Farther from the diagonal than `most`, there are more slips than that.
        last, row, before = before, [beyond] * (len(other) + 1), row
        row[0] = i
        for j in range(max(1, i - most), min(len(other), i + most) + 1):
            wanted = other[j - 1]
            cost = min(before[j] + 1, row[j - 1] + 1, before[j - 1] + (letter != wanted))
            if i > 1 and j > 1 and letter == other[j - 2] and one[i - 2] == wanted:
                cost = min(cost, last[j - 2] + 1)
            row[j] = cost
        if min(row) > most:
            return beyond
    return min(row[-1] + (one[0] != other[0]), beyond)


async def corrected(
    reading: ReadSession, search: Search, collection: UUID, q: str, args: Sequence[object]
) -> str | None:
    """`q` with corrections of the words that find nothing; None without any.

    For callers who may list all records: words are counted over these.
    """
    typed = words_of(q)[:_MOST_WORDS]
    known = await repository.lexemes(reading, search.index, [word.text for word in typed])
    asked = [
        (word, query, plain)
        for word, (query, plain) in zip(typed, known, strict=True)
        if query and plain and ONE_SLIP <= len(plain) <= _LONGEST
    ]
    found = await repository.found_of_each(reading, search, [query for _, query, _ in asked], args)
    corrections = []
    for (word, _, plain), is_right in zip(asked, found, strict=True):
        if not is_right:
            other = await _correction(reading, search, collection, plain, args)
            if other is not None:
                corrections.append((word, other))
    return replaced(q, corrections) if corrections else None


async def _correction(
    reading: ReadSession, search: Search, collection: UUID, word: str, args: Sequence[object]
) -> str | None:
    near = (await _near(reading, search.index, collection, word))[:_TRIED]
    known = await repository.lexemes(reading, search.index, near)
    found = await repository.found_of_each(reading, search, [query for query, _ in known], args)
    return next((other for other, finds in zip(near, found, strict=True) if finds), None)


async def _near(reading: ReadSession, index: SearchIndex, collection: UUID, word: str) -> list[str]:
    """The nearest words first, and among them the more frequent ones."""
    most = 2 if len(word) >= TWO_SLIPS else 1
    near: dict[str, tuple[int, int]] = {}
    for allowed in range(1, most + 1):
        if near:
            break
        sought = keys(word) if allowed == 1 else keys_of_two(word)
        for other, records in await repository.words_with(
            reading, index, collection, sought, len(word) - allowed, len(word) + allowed
        ):
            distance = slips(word, other, most)
            if distance <= most:
                near[other] = (distance, -records)
    return sorted(near, key=lambda other: (*near[other], other))
