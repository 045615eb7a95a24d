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
Keep = Callable[[str, Fields, Sequence[Record], Asker], list[bool]]


@pytest.fixture(scope="module")
def keep(database_url: str) -> Iterator[Keep]:
    """Tells which records a filter keeps; asserts that its negation keeps the others."""
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
    keep: Keep,
    expression: Expression,
    fields: Fields,
    records: Sequence[Record],
    asker: Asker,
) -> None:
    formats = texts.FORMATS if fields is TYPED else NO_FORMATS
    expected = [matches(expression, record, asker, formats) for record in records]
    assert keep(texts.text_of(expression), fields, records, asker) == expected


@given(texts.expressions)
def test_a_text_parses_to_the_tree_that_it_was_written_from(expression: Expression) -> None:
    parsed = parse_filter(texts.text_of(expression))
    assert texts.placeless(parsed) == texts.placeless(expression)


@given(texts.expressions, texts.records(texts.free_data), texts.askers)
def test_filters_agree_without_a_schema(
    keep: Keep,
    expression: Expression,
    records: list[Record],
    asker: Asker,
) -> None:
    check(keep, expression, FREE, records, asker)


@given(texts.formatted_expressions, texts.records(texts.typed_data), texts.askers)
def test_filters_agree_by_a_schema_with_formats(
    keep: Keep,
    expression: Expression,
    records: list[Record],
    asker: Asker,
) -> None:
    check(keep, expression, TYPED, records, asker)


@given(texts.expressions, texts.records(texts.typed_data), texts.askers)
def test_filters_agree_by_a_schema_that_leaves_guards_out(
    keep: Keep,
    expression: Expression,
    records: list[Record],
    asker: Asker,
) -> None:
    check(keep, expression, TYPED, records, asker)


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
def test_an_anonymous_caller_matches_nothing(keep: Keep, text: str, fields: Fields) -> None:
    data = '{"author": null, "editors": [null, "null", ""]}'
    absent = [
        Record(id_, 1, texts.START, texts.START, None, data)
        for id_ in (texts.BOB, texts.ADA, UUID(int=0))
    ]
    assert keep(text, fields, absent, NOBODY) == [False] * 3
    assert keep(f"not {text}", fields, absent, NOBODY) == [True] * 3


def test_anonymous_callers_can_be_told_from_users(keep: Keep) -> None:
    record = Record(texts.ADA, 1, texts.START, texts.START, None, "{}")
    for text in ("@user.id is null", "@user.id = null", "not @user.id is not null"):
        assert keep(text, FREE, [record], NOBODY) == [True]
        assert keep(text, FREE, [record], Asker(texts.ADA, ())) == [False]


@given(st.text(max_size=60) | st.lists(st.sampled_from(
    ["a", ".", "`", '"', "(", ")", "[", "]", ",", "=", "!=", "<", "in", "not", "is", "null", "and",
     "or", "like", "has", "@user.id", "@user.roles", "1", "true", '"x"', " ", "\\", "owner"]
), max_size=14).map(" ".join))  # fmt: skip
def test_any_text_is_either_run_or_refused_with_a_position(keep: Keep, text: str) -> None:
    record = Record(texts.ADA, 1, texts.START, texts.START, None, "{}")
    position: int | None = 0
    try:
        keep(text, FREE, [record], NOBODY)
    except FilterError as error:
        position = error.position
    assert position is not None
    assert 0 <= position <= len(text)
