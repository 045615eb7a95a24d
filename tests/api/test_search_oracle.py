"""Searches against brute force: all records, their words split at blanks, ranked by PostgreSQL."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

import pytest

from fixtures.cluster import execute, fetch
from fixtures.searches import define, fill, search

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import httpx

RECORDS, QUERIES = 3000, 500
FIELDS = {"title": "A", "body": "B"}
_RANDOM = random.Random(7)
# Some words are in a third of all records, most in a few.
WORDS = ["".join(_RANDOM.choices("abcdefghijklmnoprstuvw", k=5)) for _ in range(300)]
_OFTEN = [1 / (number + 1) for number in range(len(WORDS))]

Texts = tuple[list[str], list[str]]


def some(least: int, most: int) -> list[str]:
    return _RANDOM.choices(WORDS, _OFTEN, k=_RANDOM.randint(least, most))


@pytest.fixture(scope="module")
def stage(
    admin: httpx.Client, ada: httpx.Client, database_url: str
) -> tuple[str, dict[str, Texts]]:
    """The path of a collection, and the words of its records by id. A table has the vectors."""
    path = define(admin, {"fields": FIELDS, "language": "simple"})
    texts = [(some(1, 4), some(3, 25)) for _ in range(RECORDS)]
    records = [{"title": " ".join(title), "body": " ".join(body)} for title, body in texts]
    ids = fill(ada, path, *records)
    name = path.rpartition("/")[2]
    execute(
        database_url,
        "CREATE TABLE brute AS SELECT id, setweight(to_tsvector('simple', data->>'title'), 'A') ||"
        f" setweight(to_tsvector('simple', data->>'body'), 'B') AS v FROM records.\"{name}\"",
        f'ANALYZE records."{name}"',
    )
    return path, dict(zip(ids, texts, strict=True))


def has_phrase(words: list[str], phrase: Sequence[str]) -> bool:
    return any(words[at : at + len(phrase)] == list(phrase) for at in range(len(words)))


def different(number: int) -> list[str]:
    while len(set(words := some(number, number))) < number:
        pass
    return words


def asked() -> tuple[str, Callable[[list[str], list[str]], bool]]:
    """A query, and whether it matches the words of a title and a body."""
    one, two, three = different(3)
    match _RANDOM.randrange(7):
        case 0 | 1:
            return one, lambda a, b: one in a + b
        case 2:
            return f"{one} {two}", lambda a, b: {one, two} <= {*a, *b}
        case 3:
            return f"{one} or {two}", lambda a, b: bool({one, two} & {*a, *b})
        case 4:
            return f"{one} -{two}", lambda a, b: one in a + b and two not in a + b
        case 5:
            # PostgreSQL counts the words of the second field on from the first.
            return f'"{one} {two}"', lambda a, b: has_phrase(a + b, (one, two))
        case _:
            return (
                f"{one} {two} or {three}",
                lambda a, b: {one, two} <= {*a, *b} or three in a + b,
            )


def exact_first(database_url: str, q: str, most: int) -> list[str]:
    rows = fetch(
        database_url,
        "SELECT id::text FROM brute, websearch_to_tsquery('simple', $1) AS q WHERE v @@ q"
        " ORDER BY ts_rank_cd(v, q) DESC, id DESC LIMIT $2",
        q,
        most,
    )
    return [row[0] for row in rows]


def test_searches_are_like_brute_force(
    ada: httpx.Client, database_url: str, stage: tuple[str, dict[str, Texts]]
) -> None:
    path, texts = stage
    shares, approximate = [], 0
    for _ in range(QUERIES):
        q, matches = asked()
        wanted = {id_ for id_, words in texts.items() if matches(*words)}
        found = search(ada, path, q=q, limit=100, count="exact")
        ids = [item["id"] for item in found["items"]]
        assert set(ids) <= wanted, q
        assert len(set(ids)) == len(ids)
        assert found["total"] == len(wanted), q
        if found["approximate"]:
            approximate += 1
            assert len(wanted) > 20
            first = exact_first(database_url, q, 20)
            shares.append(len({*first} & {*ids[:20]}) / 20)
            assert shares[-1] >= 0.8, q
        else:
            assert ids == exact_first(database_url, q, 100), q
            assert (found["next"] is None) == (len(wanted) <= 100)
    assert 0 < approximate < QUERIES


def test_small_bounds_are_said(
    ada: httpx.Client, stage: tuple[str, dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    from app.records.search import statement

    monkeypatch.setattr(statement, "MOST_OF_A_WORD", 20)
    monkeypatch.setattr(statement, "MOST_OF_ALL", 40)
    path, texts = stage
    word = WORDS[0]
    matching = sum(word in title + body for title, body in texts.values())
    found = search(ada, path, q=word, limit=10)
    assert found["approximate"] is True
    pages, ids = 1, [item["id"] for item in found["items"]]
    while found["next"]:
        found = search(ada, path, q=word, limit=10, cursor=found["next"])
        ids += [item["id"] for item in found["items"]]
        pages += 1
    assert len(ids) == len(set(ids))
    assert 20 <= len(ids) < matching
    assert pages <= 9


def test_a_phrase_that_is_not_among_the_candidates_may_be_there(
    admin: httpx.Client, ada: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    from app.records.search import statement

    path = define(admin, {"fields": FIELDS, "language": "simple"})
    fill(ada, path, {"title": "red boat"}, *({"title": "boat red"} for _ in range(60)))
    assert len(search(ada, path, q='"red boat"')["items"]) == 1
    monkeypatch.setattr(statement, "MOST_OF_ALL", 20)
    found = search(ada, path, q='"red boat"')
    assert found["items"] == []
    assert found["approximate"] is True
