"""The meaning of a sort, and the SQL for ordering and keyset pagination."""

from __future__ import annotations

from datetime import UTC, datetime
from uuid import UUID

import pytest

from app.filters.errors import FilterError
from app.filters.fields import Fields
from app.filters.params import Params
from app.filters.sort import SortKey, after, key_columns, order_by, parse_sort

FIELDS = Fields({"properties": {"title": {}, "size": {}, "a,b": {}}, "additionalProperties": False})
ID = SortKey(("id",), descending=False)
ID_DOWN = SortKey(("id",), descending=True)
TITLE = "coalesce(data->'title', 'null'::jsonb)"


@pytest.mark.parametrize(
    ("text", "keys"),
    [
        ("", (ID,)),
        ("id", (ID,)),
        ("-id", (ID_DOWN,)),
        ("title", (SortKey(("title",), descending=False), ID)),
        ("-title", (SortKey(("title",), descending=True), ID_DOWN)),
        (
            "-created_at,title",
            (SortKey(("created_at",), descending=True), SortKey(("title",), descending=False), ID),
        ),
        ("-title,id", (SortKey(("title",), descending=True), ID)),
        ("-`a,b`", (SortKey(("a,b",), descending=True), ID_DOWN)),
    ],
)
def test_id_comes_last_in_the_direction_of_the_key_before(
    text: str, keys: tuple[SortKey, ...]
) -> None:
    assert parse_sort(text, FIELDS) == keys


@pytest.mark.parametrize(
    ("text", "position", "code"),
    [
        (",", 0, "invalid_sort"),
        ("title,", 6, "invalid_sort"),
        ("title, size", 6, "invalid_sort"),
        ("-", 1, "invalid_sort"),
        ("--title", 1, "invalid_sort"),
        ("title desc", 5, "invalid_sort"),
        ("`title", 0, "invalid_sort"),
        ("@user.id", 0, "invalid_sort"),
        ("id.x", 0, "invalid_sort"),
        ("title,-title", 6, "invalid_sort"),
        ("id,title", 3, "invalid_sort"),
        ("a" * 1025, 1024, "invalid_sort"),
        ("title,-size,version,owner,created_at,updated_at", 37, "invalid_sort"),
        ("title,-colour", 7, "unknown_field"),
    ],
)
def test_faults_are_told_with_their_place(text: str, position: int, code: str) -> None:
    with pytest.raises(FilterError) as caught:
        parse_sort(text, FIELDS)
    assert (caught.value.status, caught.value.code) == (400, code)
    assert caught.value.members == {"position": position}


def test_one_direction_is_one_range() -> None:
    keys, params = parse_sort("-title", FIELDS), Params(2)
    assert order_by(keys) == f"{TITLE} DESC, id DESC"
    assert order_by(keys, reverse=True) == f"{TITLE}, id"
    assert order_by(keys, parenthesised=True) == f"({TITLE}) DESC, (id) DESC"
    assert after(keys, params, ['"x"', str(UUID(int=7))]) == (
        f"(({TITLE}, id) < ($2::jsonb, $3::uuid))"
    )
    assert params.bind(None, ()) == ['"x"', UUID(int=7)]
    assert " > " in after(keys, Params(), ['"x"', str(UUID(int=7))], reverse=True)


def test_mixed_directions_start_from_a_range_of_the_first_key() -> None:
    keys, params = parse_sort("-version,title", FIELDS), Params()
    assert after(keys, params, ["3", "null", str(UUID(int=7))]) == (
        "(version <= $1::bigint AND ((version < $1::bigint)"
        f" OR (version = $1::bigint AND {TITLE} > $2::jsonb)"
        f" OR (version = $1::bigint AND {TITLE} = $2::jsonb AND id > $3::uuid)))"
    )
    assert params.bind(None, ()) == [3, "null", UUID(int=7)]


def test_times_go_through_a_cursor_to_the_microsecond() -> None:
    keys = parse_sort("created_at", FIELDS)
    assert key_columns(keys) == [
        "((extract(epoch FROM created_at) * 1000000)::bigint)::text",
        "(id)::text",
    ]
    params = Params()
    after(keys, params, ["1769860800000001", str(UUID(int=7))])
    assert params.bind(None, ())[0] == datetime(2026, 1, 31, 12, 0, 0, 1, tzinfo=UTC)
