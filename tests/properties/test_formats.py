"""Strings of a format mean one value: to the validator, to filters' constants and to PostgreSQL."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Callable, Iterator
from typing import Any

import asyncpg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.collections.json_schema.validator import RecordValidator
from app.filters.formats import FORMATS
from app.filters.paths import elements_sql, field_sql
from fixtures import format_texts
from fixtures.format_oracle import value_of

ValuesInPostgresql = Callable[[str, list[str]], list[Any]]


@pytest.fixture(scope="module")
def values_in_postgresql(database_url: str) -> Iterator[ValuesInPostgresql]:
    """Asks PostgreSQL for the values of JSON members `v` under a format."""
    with asyncio.Runner() as runner:
        connection = runner.run(asyncpg.connect(database_url))

        def ask(name: str, values: list[str]) -> list[Any]:
            one = field_sql(("v",), format_=FORMATS[name])
            each = elements_sql(("v",), FORMATS[name])
            rows = runner.run(
                connection.fetch(
                    f"SELECT {one}::text AS one, (SELECT {each}->0 FROM (SELECT"
                    " jsonb_build_object('v', jsonb_build_array(data->'v')) AS data) AS d)::text"
                    " AS element FROM unnest($1::jsonb[]) WITH ORDINALITY AS r (data, n)"
                    " ORDER BY n",
                    [f'{{"v":{value}}}' for value in values],
                )
            )
            assert all(row["one"] == row["element"] for row in rows)
            return [json.loads(row["one"]) for row in rows]

        yield ask
        runner.run(connection.close())


@pytest.mark.parametrize("name", FORMATS)
@given(data=st.data())
def test_constants_and_stored_values_have_one_form_in_the_order_of_the_values(
    values_in_postgresql: ValuesInPostgresql, name: str, data: st.DataObject
) -> None:
    texts = data.draw(st.lists(format_texts.valid[name], min_size=2, max_size=8))
    forms = [FORMATS[name].form_of(text) for text in texts]
    assert values_in_postgresql(name, [json.dumps(text) for text in texts]) == forms
    values = [value_of(name, text) for text in texts]
    for form, value in zip(forms, values, strict=True):
        assert form is not None
        for other_form, other_value in zip(forms, values, strict=True):
            assert other_form is not None
            assert (form < other_form, form == other_form) == (
                value < other_value,
                value == other_value,
            )


@pytest.mark.parametrize("name", FORMATS)
@given(data=st.data())
def test_a_filter_takes_what_a_record_takes(name: str, data: st.DataObject) -> None:
    text = data.draw(format_texts.malformed[name] | format_texts.valid[name])
    record = {"v": text}
    validator = RecordValidator({"properties": {"v": {"format": name}}})
    faults = validator.errors(record, json.dumps(record))
    assert bool(faults) is not format_texts.is_valid(name, text)
    taken = FORMATS[name].form_of(text) is not None
    assert taken is not bool(faults) or (name == "duration" and re.search("[0-9]{16}", text))


@pytest.mark.parametrize("name", [name for name, each in FORMATS.items() if each.function])
@given(data=st.data())
def test_postgresql_has_null_for_malformed_texts(
    values_in_postgresql: ValuesInPostgresql, name: str, data: st.DataObject
) -> None:
    texts = data.draw(st.lists(format_texts.malformed[name], min_size=1, max_size=8))
    for text, form in zip(
        texts, values_in_postgresql(name, [json.dumps(text) for text in texts]), strict=True
    ):
        assert form == FORMATS[name].form_of(text)


@pytest.mark.parametrize("name", [name for name, each in FORMATS.items() if each.function])
def test_values_other_than_strings_stay_as_they_are(
    values_in_postgresql: ValuesInPostgresql, name: str
) -> None:
    values = ["null", "true", "1.50", "[]", '["x"]', '{"a": "x"}']
    assert values_in_postgresql(name, values) == [json.loads(value) for value in values]
