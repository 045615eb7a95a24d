"""Pages by cursor, forward and back: every record once and in order, for any values."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID

import asyncpg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.filters.cursor import Cursor, CursorCodec
from app.filters.errors import InvalidCursor
from app.filters.fields import Fields
from app.filters.params import Params
from app.filters.sort import SortKey, after, key_columns, order_by, parse_sort
from fixtures import filter_texts as texts
from fixtures.filter_oracle import RELATION, Record, columns, sort_order

FREE = Fields(True)
CODEC = CursorCodec("a secret of the tests")


def selected(keys: Sequence[SortKey]) -> str:
    return ", ".join(f"{sql} AS k{number}" for number, sql in enumerate(key_columns(keys)))


@dataclass(frozen=True)
class Page:
    ids: list[UUID]
    first: str
    last: str


@dataclass(frozen=True)
class Lister:
    """Lists records as the API does: a statement per page, from cursor to cursor."""

    runner: asyncio.Runner
    connection: Any
    fields: Fields = FREE

    def fetch(self, sql: str, records: Sequence[Record], *args: object) -> list[Any]:
        rows: list[Any] = self.runner.run(self.connection.fetch(sql, *columns(records), *args))
        return rows

    def page(
        self, records: Sequence[Record], sort: str, limit: int, cursor: str | None = None
    ) -> Page | None:
        keys, params, where, backward = parse_sort(sort, self.fields), Params(7), "true", False
        if cursor is not None:
            decoded = self.resolve(records, keys, CODEC.decode(cursor, binding=sort))
            backward = decoded.backward
            where = after(keys, params, decoded.position, reverse=backward)
        rows = self.fetch(
            f"SELECT id, {selected(keys)} FROM {RELATION} WHERE {where}"
            f" ORDER BY {order_by(keys, reverse=backward)} LIMIT {limit}",
            records,
            *params.bind(None, ()),
        )
        if not rows:
            return None
        rows = rows[::-1] if backward else rows
        first, last = (
            CODEC.encode(tuple(row)[1:], backward=back, binding=sort)
            for row, back in ((rows[0], True), (rows[-1], False))
        )
        return Page([row["id"] for row in rows], first, last)

    def resolve(self, records: Sequence[Record], keys: Sequence[SortKey], cursor: Cursor) -> Cursor:
        if cursor.record is None:
            return cursor
        sql = f"SELECT {selected(keys)} FROM {RELATION} WHERE id = $7"
        rows = self.fetch(sql, records, UUID(cursor.record))
        return cursor.resolve(tuple(rows[0]) if rows else None)


@pytest.fixture(scope="module")
def lister(database_url: str) -> Iterator[Lister]:
    with asyncio.Runner() as runner:
        connection = runner.run(asyncpg.connect(database_url))
        yield Lister(runner, connection)
        runner.run(connection.close())


def walk(lister: Lister, records: Sequence[Record], sort: str, limit: int) -> list[UUID]:
    """The ids in order, from pages up to the end; the way back must give the same."""
    pages = []
    page = lister.page(records, sort, limit)
    while page is not None:
        pages.append(page)
        page = lister.page(records, sort, limit, page.last)
    for before, page in zip(pages[-2::-1], pages[:0:-1], strict=True):
        back = lister.page(records, sort, limit, page.first)
        assert back is not None
        assert back.ids == before.ids
    assert lister.page(records, sort, limit, pages[0].first) is None
    return [id_ for page in pages for id_ in page.ids]


paths = st.sampled_from(
    [*(texts.path_text(path) for path in texts.PATHS[:14]), "created_at", "version", "owner"]
)
sorts = st.lists(
    st.tuples(st.sampled_from(["", "-"]), paths).map("".join),
    max_size=3,
    unique_by=lambda key: key.lstrip("-"),
).map(",".join)


def distinct(records: list[Record]) -> list[Record]:
    return [replace(record, id=UUID(int=number * 37 % 64)) for number, record in enumerate(records)]


@given(
    st.one_of(texts.records(texts.free_data), texts.records(texts.typed_data)).map(distinct),
    sorts,
    st.integers(1, 4),
)
def test_pages_give_every_record_once_in_order(
    lister: Lister, records: list[Record], sort: str, limit: int
) -> None:
    keys = parse_sort(sort, FREE)
    in_order = [record.id for record in sorted(records, key=sort_order(keys))]
    assert walk(lister, records, sort, limit) == in_order


formatted_sorts = st.lists(
    st.tuples(
        st.sampled_from(["", "-"]),
        st.sampled_from([*(texts.path_text(path) for path in texts.FORMATS.fields), "title"]),
    ).map("".join),
    min_size=1,
    max_size=3,
    unique_by=lambda key: key.lstrip("-"),
).map(",".join)


@given(texts.records(texts.typed_data).map(distinct), formatted_sorts, st.integers(1, 4))
def test_pages_are_in_the_order_of_the_values_that_strings_stand_for(
    lister: Lister, records: list[Record], sort: str, limit: int
) -> None:
    typed = replace(lister, fields=Fields(texts.SCHEMA))
    in_order = sorted(records, key=sort_order(parse_sort(sort, typed.fields)))
    assert walk(typed, records, sort, limit) == [record.id for record in in_order]


MIXED = [
    "null", "false", "true", '""', '"a"', '"é"', "-1", "0", "1.0", "1", "9007199254740993",
    "9007199254740992", "[]", "[1]", "[0,0]", "{}", '{"b":1}', '{"aa":1}', '{"a":[],"b":{}}',
]  # fmt: skip


@pytest.mark.parametrize("limit", [1, 2, 7])
@pytest.mark.parametrize(
    "sort", ["v", "-v", "v,-id", "-v,id", "w,-v", "-w,v,-created_at", "owner,-v"]
)
def test_pages_of_mixed_types_and_nulls_are_in_order(lister: Lister, sort: str, limit: int) -> None:
    data = [f'{{"v":{text},"w":{number % 3}}}' for number, text in enumerate(MIXED)]
    records = [
        Record(UUID(int=number), 1, texts.START, texts.START, (None, texts.ADA)[number % 2], text)
        for number, text in enumerate([*data, "{}", '{"w":null}'])
    ]
    in_order = sorted(records, key=sort_order(parse_sort(sort, FREE)))
    assert walk(lister, records, sort, limit) == [record.id for record in in_order]


def long_records() -> list[Record]:
    # These values are equal far beyond the length that a cursor can carry.
    data = [json.dumps({"v": "x" * 5000 + chr(ord("a") + number % 4)}) for number in range(8)]
    return [
        Record(UUID(int=number), 1, texts.START, texts.START, None, text)
        for number, text in enumerate(data)
    ]


@pytest.mark.parametrize("sort", ["v", "-v", "v,-id"])
def test_pages_of_values_too_long_for_a_cursor_are_in_order(lister: Lister, sort: str) -> None:
    records = long_records()
    in_order = sorted(records, key=sort_order(parse_sort(sort, FREE)))
    assert walk(lister, records, sort, 3) == [record.id for record in in_order]


def test_a_long_value_that_has_changed_ends_the_walk_with_a_clear_problem(lister: Lister) -> None:
    records = long_records()
    page = lister.page(records, "v", 3)
    assert page is not None
    place = records.index(next(record for record in records if record.id == page.ids[-1]))
    changed = [*records]
    changed[place] = replace(records[place], text='{"v":"short"}')
    for others in (changed, [record for record in records if record is not records[place]]):
        with pytest.raises(InvalidCursor, match="start again"):
            lister.page(others, "v", 3, page.last)
    updated = [replace(record, version=2) for record in records]
    assert lister.page(updated, "v", 3, page.last) is not None
