"""PostgreSQL uses a field's index for filters on that field, and for sorting by it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from app.filters.compiler import compile_filter
from app.filters.fields import Fields
from app.filters.language.parser import parse_filter
from app.filters.params import Params
from app.filters.paths import elements_sql, field_sql
from app.filters.sort import after, order_by, parse_sort

ADA = UUID(int=0xADA)
FIELDS = Fields(
    {
        "properties": {
            "title": {"type": "string"},
            "size": {"type": "integer"},
            "tags": {"type": "array"},
            "meta": {"type": "object"},
            "at": {"type": "string", "format": "date-time"},
            "seen": {"type": "array", "items": {"type": "string", "format": "date-time"}},
        },
        "required": ["title"],
    }
)
TABLE = """
CREATE TABLE r (
    id uuid PRIMARY KEY,
    version bigint NOT NULL,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    owner uuid,
    data jsonb NOT NULL
)
"""
RECORDS = """
INSERT INTO r
SELECT gen_random_uuid(), 1, now(), now(), NULL, jsonb_build_object(
    'title', 'title ' || n, 'size', n, 'tags', jsonb_build_array('t' || n),
    'at', listo.rfc3339(timestamptz '2026-01-01T00:00:00Z' + n * interval '1 minute'),
    'seen', jsonb_build_array(listo.rfc3339(timestamptz '2026-01-01Z' + n * interval '1 minute'))
)
FROM generate_series(1, 2000) AS n
"""
ELEMENTS = elements_sql(("seen",), FIELDS.items_format(("seen",)))
INDEXES = (
    *(
        f"CREATE INDEX ON r ({order_by(parse_sort(sort, FIELDS), parenthesised=True)})"
        for sort in ("title", "size", "at", "owner,created_at", "-created_at", "meta.`it's \\ odd`")
    ),
    f"CREATE INDEX ON r USING gin (({field_sql(('tags',))}) jsonb_path_ops)",
    "CREATE INDEX ON r USING gin ((" + ELEMENTS + ") jsonb_path_ops)",
)


class Planner:
    """Explains how PostgreSQL would find the records of a page."""

    def __init__(self, runner: asyncio.Runner, connection: Any) -> None:
        self._runner, self._connection = runner, connection

    def __call__(self, where: str, params: Params, order: str = "") -> str:
        rows = self._runner.run(
            self._connection.fetch(
                f"EXPLAIN SELECT * FROM r WHERE {where} {order}", *params.bind(ADA, ["a"])
            )
        )
        return "\n".join(row[0] for row in rows)


@pytest.fixture(scope="module")
def plan(database_url: str) -> Iterator[Planner]:
    with asyncio.Runner() as runner:
        connection = runner.run(asyncpg.connect(database_url))
        for statement in (TABLE, RECORDS, *INDEXES, "ANALYZE r"):
            runner.run(connection.execute(statement))
        yield Planner(runner, connection)
        runner.run(connection.close())


@pytest.mark.parametrize(
    "text",
    [
        'title = "title 7"',
        'title in ["title 7", "title 8"]',
        'title > "title 9"',
        "title = @user.id",
        "size = 7",
        "size >= 1990",
        "size < 10",
        "size > 10 and size <= 20 and not title = @user.id",
        "owner = @user.id",
        'owner = @user.id and created_at > "2026-01-01T00:00:00Z"',
        'created_at > "2126-01-01T00:00:00Z"',
        'tags has "t7"',
        "tags has @user.id",
        "meta.`it's \\ odd` = 1",
        f'id = "{ADA}"',
        'at = "2026-01-01T01:00:00+01:00"',
        'at in ["2026-01-01T01:00:00+01:00", "2026-01-01T01:00:00Z"]',
        'at > "2026-01-02T09:00:00Z"',
        'at >= "2026-01-01T01:00:00Z" and at < "2026-01-01T02:00:00Z"',
        'seen has "2026-01-01T01:00:00+01:00"',
    ],
)
def test_a_filter_is_an_index_condition(plan: Planner, text: str) -> None:
    params = Params()
    explained = plan(compile_filter(parse_filter(text), FIELDS, params), params)
    assert "Index Cond" in explained, explained


@pytest.mark.parametrize(
    ("sort", "values"),
    [
        ("title", ['"title 7"', str(ADA)]),
        ("-size", ["7", str(ADA)]),
        ("at", ['"12026-01-02T00:00:00"', str(ADA)]),
        ("created_at", ["1769860800000000", str(ADA)]),
        ("owner,created_at", [str(ADA), "1769860800000000", str(ADA)]),
        ("size,-title", ["7", '"title 7"', str(ADA)]),
    ],
)
@pytest.mark.parametrize("reverse", [False, True])
def test_a_page_starts_where_the_cursor_says_and_needs_no_sorting_of_the_rest(
    plan: Planner,
    sort: str,
    values: list[str],
    reverse: bool,  # noqa: FBT001 - a parameter
) -> None:
    keys, params = parse_sort(sort, FIELDS), Params()
    order = f"ORDER BY {order_by(keys, reverse=reverse)} LIMIT 50"
    explained = plan(after(keys, params, values, reverse=reverse), params, order)
    assert "Index Cond" in explained, explained
    # Only records with equal first keys are sorted.
    assert "Incremental Sort" in explained or "Sort" not in explained, explained


@pytest.mark.parametrize(
    ("text", "rows"),
    [
        ("size > 1000", 1000),
        ("size < 500", 500),
        ("size >= 10 and size < 110", 100),
        ('at > "2026-01-01T16:40:00Z"', 1000),
        ('at < "2026-01-01T01:00:00-07:20"', 500),
    ],
)
def test_the_planner_knows_how_many_records_a_range_holds(
    plan: Planner, text: str, rows: int
) -> None:
    params = Params()
    first = plan(compile_filter(parse_filter(text), FIELDS, params), params).splitlines()[0]
    estimate = int(first.split("rows=")[1].split()[0])
    assert rows * 0.7 < estimate < rows * 1.4, first
