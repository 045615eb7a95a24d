"""Every operator on every field with every kind of value, since chance may miss a case."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from datetime import timedelta
from itertools import product
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from app.filters.compiler import compile_filter
from app.filters.fields import Fields
from app.filters.language.parser import parse_filter
from app.filters.language.syntax import (
    Comparator,
    Comparison,
    Constant,
    Field,
    Items,
    Operand,
    Variable,
)
from app.filters.params import Params
from fixtures import filter_texts as texts
from fixtures.filter_oracle import RELATION, Asker, Record, columns, matches

CONTAINERS = (
    "[]", "[1]", '["a",null,"editor"]', '[["a","b"]]', f'["{texts.ADA}"]', "{}", '{"x":"a"}',
)  # fmt: skip
VALUES = (
    *map(json.dumps, texts.TEXTS), *texts.NUMBERS, "true", "false", "null", *CONTAINERS,
)  # fmt: skip
NAMES = ("title", "note", "size", "either", "tags", "flag", "loose")
FIELDS = [Field((name,), 0) for name in (*NAMES, "absent")] + [Field(("loose", "x"), 0)]
TYPES = {
    "title": ("string",), "note": ("string", "null"), "size": ("number", "null"),
    "either": ("string", "number"), "tags": ("array",), "flag": ("boolean",),
}  # fmt: skip
CONSTANTS = [texts.constant(text) for text in VALUES if text not in CONTAINERS]
NUMBERS_AND_STRINGS = [
    constant for constant in CONSTANTS if type(constant.value) in (str, int, float)
]
LISTS = [Items((), 0), Items(tuple(CONSTANTS[::7]), 0), Items((texts.constant("null"),), 0)]
PATTERNS = [texts.constant(json.dumps(pattern)) for pattern in (*texts.PATTERNS, "1%", "[%")]
RIGHT: dict[Comparator, list[Operand]] = {
    "=": [*CONSTANTS, *FIELDS, texts.USER],
    "!=": [*CONSTANTS, *FIELDS, texts.USER],
    ">": [*NUMBERS_AND_STRINGS, *FIELDS],
    ">=": [*NUMBERS_AND_STRINGS, *FIELDS],
    "<": [*NUMBERS_AND_STRINGS, *FIELDS],
    "<=": [*NUMBERS_AND_STRINGS, *FIELDS],
    "in": [*LISTS, *FIELDS, texts.ROLES],
    "like": [*PATTERNS],
    "ilike": [*PATTERNS],
    "has": [*CONSTANTS, *FIELDS, texts.USER],
}
ASKERS = [Asker(None, ()), Asker(texts.ADA, ("editor", "a"))]
ANOTHER_ASKER = Asker(texts.BOB, ("a",))


def record(number: int, data: dict[str, str], id_: UUID = texts.ADA) -> Record:
    text = "{" + ",".join(f"{json.dumps(key)}:{value}" for key, value in data.items()) + "}"
    moment = texts.START + timedelta(microseconds=number % 3)
    owner = (None, texts.ADA, texts.BOB)[number % 3]
    return Record(id_, number % 3, moment, texts.START, owner, text)


def kind(value: str) -> str:
    """The JSON type of a value, by how it starts."""
    types = ("string", "boolean", "boolean", "null", "array", "object")
    return dict(zip('"tfn[{', types, strict=True)).get(value[0], "number")


def free_records() -> list[Record]:
    """Any value in any field: one value in all fields, then a different value in each."""
    count = len(VALUES)
    rows = [dict.fromkeys(NAMES, value) for value in VALUES]
    rows += [
        {name: VALUES[(number + 5 * place) % count] for place, name in enumerate(NAMES)}
        for number in range(count)
    ]
    # Only scalars count as elements; inner lists and parts of elements do not.
    rows += [{"tags": '[["a","b"],{"x":1}]', "note": '["a"]', "title": "[[]]", "size": "{}"}]
    return [record(number, row) for number, row in enumerate([{}, *rows])]


def typed_records() -> list[Record]:
    """Values that the schema allows; optional fields are left out in turn."""
    allowed = {
        name: [value for value in VALUES if kind(value) in kinds] for name, kinds in TYPES.items()
    }
    allowed["size"] = [value for value in allowed["size"] if value not in ("0.1", "1e-300")]
    rows = []
    for number in range(len(VALUES)):
        row = {name: of[number % len(of)] for name, of in allowed.items()}
        row |= {"ratio": "1", "meta": '{"kind":"a"}', "loose": ('"a"', '{"x":"a"}')[number % 2]}
        if number % 3 == 0:
            del row["note"], row["size"], row["tags"], row["flag"]
        rows.append(record(number, row))
    return rows


class Database:
    """Evaluates conditions, many in one statement."""

    def __init__(self, runner: asyncio.Runner, connection: Any) -> None:
        self._runner, self._connection = runner, connection

    def kept(
        self, terms: list[Comparison], fields: Fields, records: list[Record], asker: Asker
    ) -> list[list[bool]]:
        """For each term, whether it keeps each record, or None if SQL gives null."""
        params = Params(7)
        conditions = [
            compile_filter(parse_filter(texts.text_of(term)), fields, params) for term in terms
        ]
        rows = self._runner.run(
            self._connection.fetch(
                f"SELECT ARRAY[{', '.join(conditions)}] AS kept FROM {RELATION} ORDER BY number",
                *columns(records),
                *params.bind(asker.id, asker.roles),
            )
        )
        return [list(column) for column in zip(*(row["kept"] for row in rows), strict=True)]


@pytest.fixture(scope="module")
def database(database_url: str) -> Iterator[Database]:
    with asyncio.Runner() as runner:
        connection = runner.run(asyncpg.connect(database_url))
        yield Database(runner, connection)
        runner.run(connection.close())


def compare(
    database: Database,
    terms: list[Comparison],
    fields: Fields,
    records: list[Record],
    asker: Asker,
) -> None:
    for start in range(0, len(terms), 200):
        part = terms[start : start + 200]
        for term, kept in zip(part, database.kept(part, fields, records, asker), strict=True):
            expected = [matches(term, record, asker) for record in records]
            wrong = [
                (record.text, got)
                for record, want, got in zip(records, expected, kept, strict=True)
                if want is not got
            ]
            assert not wrong, f"{texts.text_of(term)}: {wrong[:3]}"


@pytest.mark.parametrize("operator", RIGHT)
@pytest.mark.parametrize("schema", ["free", "typed"])
def test_operators_on_fields_agree_with_plain_python(
    database: Database, operator: Comparator, schema: str
) -> None:
    typed = schema == "typed"
    records = typed_records() if typed else free_records()
    left: list[Field | Variable]
    left = [*FIELDS, texts.ROLES] if operator == "has" else [*FIELDS, texts.USER]
    terms = [
        Comparison(side, operator, right, 0)
        for side, right in product(left, RIGHT[operator])
        if not (side == texts.ROLES and right == texts.USER)
    ]
    for asker in ASKERS:
        compare(database, terms, Fields(texts.SCHEMA if typed else True), records, asker)


def column_terms() -> Iterator[Comparison]:
    nil, null = UUID(int=0), texts.constant("null")
    ids: list[Constant] = [
        texts.constant(f'"{id_}"') for id_ in (nil, texts.ADA, texts.BOB, UUID(int=7))
    ]
    moments = [
        texts.constant(f'"2026-01-31T12:00:00{fraction}Z"')
        for fraction in ("", ".000001", ".000002")
    ]
    integers = [texts.constant(text) for text in ("-1", "0", "1", "2")]
    equality: tuple[Comparator, ...] = ("=", "!=")
    for names, constants, operators in (
        (("id",), ids, (*equality, *texts.ORDERINGS)),
        (("owner",), ids, equality),
        (("created_at", "updated_at"), moments, (*equality, *texts.ORDERINGS)),
        (("version",), integers, (*equality, *texts.ORDERINGS)),
    ):
        for name, operator, constant in product(names, operators, constants):
            yield Comparison(Field((name,), 0), operator, constant, 0)
        for name, operator in product(names, equality):
            yield Comparison(Field((name,), 0), operator, null, 0)
        for name in names:
            for items in ((), (null,), (constants[0],), (constants[0], null), tuple(constants)):
                yield Comparison(Field((name,), 0), "in", Items(items, 0), 0)
        for name, other, operator in product(names, names, operators):
            yield Comparison(Field((name,), 0), operator, Field((other,), 0), 0)
    for operator, name, other in product(equality, ("id", "owner"), ("id", "owner")):
        yield Comparison(Field((name,), 0), operator, Field((other,), 0), 0)
        yield Comparison(Field((name,), 0), operator, texts.USER, 0)
        yield Comparison(texts.USER, operator, Field((name,), 0), 0)


def test_operators_on_columns_agree_with_plain_python(database: Database) -> None:
    ids = (UUID(int=0), texts.ADA, texts.BOB, UUID(int=7))
    records = [record(number, {}, ids[number % 4]) for number in range(12)]
    for asker in (*ASKERS, ANOTHER_ASKER):
        compare(database, list(column_terms()), Fields(True), records, asker)
