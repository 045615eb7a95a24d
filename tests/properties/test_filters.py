"""Filters mean the same to PostgreSQL and to plain Python, for every record and every caller."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any
from uuid import UUID

import asyncpg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.filters.compiler import compile_filter
from app.filters.errors import FilterError
from app.filters.fields import Fields
from app.filters.language.parser import parse_filter
from app.filters.params import Params
from fixtures import filter_texts as texts
from fixtures.filter_oracle import NO_FORMATS, RELATION, Asker, Record, columns, matches

if TYPE_CHECKING:
    from app.filters.language.syntax import Expression

FREE, TYPED = Fields(True), Fields(texts.SCHEMA)

NOBODY = Asker(None, ())
Kept = Callable[[str, Fields, Sequence[Record], Asker], list[bool]]


@pytest.fixture(scope="module")
def kept(database_url: str) -> Iterator[Kept]:
    """Which of the records a filter keeps; asserts that its negation keeps the others."""
    with asyncio.Runner() as runner:
        connection = runner.run(asyncpg.connect(database_url))

        def ask(text: str, fields: Fields, records: Sequence[Record], asker: Asker) -> list[bool]:
            params = Params(7)
            condition = compile_filter(parse_filter(text), fields, params)
            rows: list[Any] = runner.run(
                connection.fetch(
                    f"SELECT {condition} AS yes, NOT {condition} AS no FROM {RELATION}"
                    " ORDER BY number",
                    *columns(records),
                    *params.bind(asker.id, asker.roles),
                )
            )
            assert all(row["yes"] is not row["no"] for row in rows), "neither true nor false"
            return [row["yes"] for row in rows]

        yield ask
        runner.run(connection.close())


def check(
    kept: Kept,
    expression: Expression,
    fields: Fields,
    records: Sequence[Record],
    asker: Asker,
) -> None:
    formats = texts.FORMATS if fields is TYPED else NO_FORMATS
    expected = [matches(expression, record, asker, formats) for record in records]
    assert kept(texts.text_of(expression), fields, records, asker) == expected


@given(texts.expressions)
def test_a_text_parses_to_the_tree_that_it_was_written_from(expression: Expression) -> None:
    parsed = parse_filter(texts.text_of(expression))
    assert texts.placeless(parsed) == texts.placeless(expression)


@given(texts.expressions, texts.records(texts.free_data), texts.askers)
def test_records_without_a_schema(
    kept: Kept,
    expression: Expression,
    records: list[Record],
    asker: Asker,
) -> None:
    check(kept, expression, FREE, records, asker)


@given(texts.formatted_expressions, texts.records(texts.typed_data), texts.askers)
def test_records_whose_schema_says_what_their_strings_are(
    kept: Kept,
    expression: Expression,
    records: list[Record],
    asker: Asker,
) -> None:
    check(kept, expression, TYPED, records, asker)


@given(texts.expressions, texts.records(texts.typed_data), texts.askers)
def test_records_whose_schema_lets_guards_be_left_out(
    kept: Kept,
    expression: Expression,
    records: list[Record],
    asker: Asker,
) -> None:
    check(kept, expression, TYPED, records, asker)


@pytest.mark.parametrize(
    "text",
    [
        "owner = @user.id",
        "@user.id = owner",
        "id = @user.id",
        "author = @user.id",
        "@user.id = author",
        "missing = @user.id",
        "editors has @user.id",
        "@user.id in editors",
        "@user.id in [null]",
        "@user.id = @user.id",
        '@user.id like "%"',
        '@user.id >= ""',
        '@user.roles has ""',
        "author in @user.roles",
    ],
)
@pytest.mark.parametrize("fields", [FREE, Fields({"properties": {"editors": {"type": "array"}}})])
def test_nobody_matches_nothing(kept: Kept, text: str, fields: Fields) -> None:
    data = '{"author": null, "editors": [null, "null", ""]}'
    absent = [
        Record(id_, 1, texts.START, texts.START, None, data)
        for id_ in (texts.BOB, texts.ADA, UUID(int=0))
    ]
    assert kept(text, fields, absent, NOBODY) == [False] * 3
    assert kept(f"not {text}", fields, absent, NOBODY) == [True] * 3


def test_nobody_can_be_told_from_somebody(kept: Kept) -> None:
    record = Record(texts.ADA, 1, texts.START, texts.START, None, "{}")
    for text in ("@user.id is null", "@user.id = null", "not @user.id is not null"):
        assert kept(text, FREE, [record], NOBODY) == [True]
        assert kept(text, FREE, [record], Asker(texts.ADA, ())) == [False]


@given(st.text(max_size=60) | st.lists(st.sampled_from(
    ["a", ".", "`", '"', "(", ")", "[", "]", ",", "=", "!=", "<", "in", "not", "is", "null", "and",
     "or", "like", "has", "@user.id", "@user.roles", "1", "true", '"x"', " ", "\\", "owner"]
), max_size=14).map(" ".join))  # fmt: skip
def test_any_text_is_either_run_or_refused_with_a_position(kept: Kept, text: str) -> None:
    record = Record(texts.ADA, 1, texts.START, texts.START, None, "{}")
    position: int | None = 0
    try:
        kept(text, FREE, [record], NOBODY)
    except FilterError as error:
        position = error.position
    assert position is not None
    assert 0 <= position <= len(text)
