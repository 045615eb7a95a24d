"""The SQL of a filter: shapes that indexes and prepared statements depend on, and refusals."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest

from app.filters.compiler import compile_filter
from app.filters.errors import FilterError, UnknownField
from app.filters.fields import Fields
from app.filters.language.parser import parse_filter
from app.filters.params import Params
from app.filters.paths import field_sql, sql_literal

ADA = UUID(int=0xADA)
NIL = "'00000000-0000-0000-0000-000000000000'::uuid"
OWNER = f"coalesce(owner, {NIL})"
FREE = Fields(True)
TYPED = Fields(
    {
        "properties": {
            "name": {"type": "string"},
            "note": {"type": "string"},
            "size": {"type": "integer"},
            "both": {"type": ["integer", "string"]},
            "tags": {"type": "array"},
            "flag": {"type": "boolean"},
        },
        "required": ["name"],
        "additionalProperties": False,
    }
)


def sql(text: str, fields: Fields = FREE) -> str:
    """The compiled text, with `[a]` for the SQL of a field `a`."""
    compiled = compile_filter(parse_filter(text), fields, Params())
    for name in ("a", "b", "name", "note", "size", "both", "tags", "flag"):
        compiled = compiled.replace(f"coalesce(data->'{name}', 'null'::jsonb)", f"[{name}]")
    return compiled


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a = 1", "([a] = $1::jsonb)"),
        ("a != 1", "(NOT ([a] = $1::jsonb))"),
        ("a is null", "([a] = 'null'::jsonb)"),
        ("a != null", "(NOT ([a] = 'null'::jsonb))"),
        ("a = b", "([a] = [b])"),
        ("a > 1", "([a] > $1::jsonb AND jsonb_typeof([a]) = 'number')"),
        ('a < "x"', "([a] < $1::jsonb AND jsonb_typeof([a]) = 'string')"),
        ("a in [1, 2]", "([a] = ANY($1::jsonb[]))"),
        ('a has "x"', "([a] @> $1::jsonb)"),
        ("a = @user.id", "([a] = $1::jsonb AND $1::jsonb <> 'null'::jsonb)"),
        ("a = 1 and b = 2 and not a = 3",
         "(([a] = $1::jsonb) AND ([b] = $2::jsonb) AND (NOT ([a] = $3::jsonb)))"),
        ("a = 1 or b = 2", "(([a] = $1::jsonb) OR ([b] = $2::jsonb))"),
        (f'id = "{ADA}"', "(id = $1::uuid)"),
        (f'owner = "{ADA}"', f"({OWNER} = $1::uuid)"),
        ("owner = @user.id", f"({OWNER} = $1::uuid AND $1::uuid IS NOT NULL)"),
        ("@user.id = owner", f"({OWNER} = $1::uuid AND $1::uuid IS NOT NULL)"),
        ("owner is null", f"({OWNER} = {NIL})"),
        ("id is null", "(false)"),
        ("version >= 2", "(version >= $1::bigint)"),
        ('created_at < "2026-01-31T12:00:00Z"', "(created_at < $1::timestamptz)"),
        ("created_at = updated_at", "(created_at = updated_at)"),
    ],
)  # fmt: skip
def test_shapes_without_a_schema(text: str, expected: str) -> None:
    assert sql(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("size > 1", "([size] > $1::jsonb)"),
        ("size <= 1", "([size] <= $1::jsonb AND [size] > 'null'::jsonb)"),
        ('name < "x"', "([name] < $1::jsonb)"),
        ('note >= "x"', "([note] >= $1::jsonb)"),
        ("both > 1", "([both] > $1::jsonb AND jsonb_typeof([both]) = 'number')"),
        ('size > "x"', "(false)"),
        ("@user.id > 1", "(false)"),
        ('name like "x%"', "(([name] #>> '{}') LIKE $1::text)"),
        ('note ilike "x%"', "([note] > 'null'::jsonb AND ([note] #>> '{}') ILIKE $1::text)"),
        ('both like "x%"', "(jsonb_typeof([both]) = 'string' AND ([both] #>> '{}') LIKE $1::text)"),
        ('size like "x%"', "(false)"),
        ("flag < size", "(false)"),
        ("name in tags",
         "([tags] @> jsonb_build_array([name]))"),
        ("tags has flag", "([tags] @> jsonb_build_array([flag]))"),
    ],
)  # fmt: skip
def test_a_schema_leaves_guards_out(text: str, expected: str) -> None:
    assert sql(text, TYPED) == expected


def test_values_are_bound_and_never_part_of_the_text() -> None:
    def shape(text: str, params: Params) -> str:
        return compile_filter(parse_filter(text), FREE, params)

    one, two = Params(3), Params(3)
    first = shape('a = "x" and b in [1] and version = 1 and a like "y"', one)
    assert first == shape('a = 2.50 and b in [3, "4"] and version = 2 and a like "z"', two)
    assert first.count("$3") == first.count("$6") == 1
    assert two.bind(None, ()) == ["2.50", ["3", '"4"'], 2, "z"]


def test_the_caller_is_bound_once_and_known_only_at_the_end() -> None:
    params = Params(2)
    text = (
        "owner = @user.id or id = @user.id or a = @user.id or b = @user.id"
        " or a in @user.roles or @user.roles has b"
    )
    compile_filter(parse_filter(text), FREE, params)
    assert params.bind(ADA, {"b", "a"}) == [ADA, f'"{ADA}"', '["a", "b"]']
    assert params.bind(None, ()) == [None, "null", "[]"]


def test_a_copy_of_the_parameters_goes_its_own_way() -> None:
    params = Params()
    params.add("1", "jsonb")
    copied = params.copy()
    assert copied.add(5, "bigint") == "$2::bigint"
    assert params.bind(None, ()) == ["1"]


def test_times_are_bound_as_moments() -> None:
    params = Params()
    compile_filter(parse_filter('created_at > "2026-01-31t13:00:00.5+01:00"'), FREE, params)
    assert params.bind(None, ()) == [datetime(2026, 1, 31, 12, 0, 0, 500_000, tzinfo=UTC)]


@pytest.mark.parametrize(
    ("text", "position", "message"),
    [
        ("a > true", 4, "> goes with a number, a string or a field"),
        ("a <= null", 5, "<= goes with"),
        ("a < [1]", 4, "< goes with"),
        ("a < @user.id", 4, "< goes with"),
        ("a = [1]", 4, "A list can stand only after `in`."),
        ("a in 1", 5, "`in` needs a list on its right: a field or @user.roles, or constants like"),
        ("a in @user.id", 5, "`in` needs a list on its right: a field or @user.roles"),
        ("a has [1]", 6, "A list can stand only after `in`."),
        ("@user.id has 1", 0, "`has` needs a list on its left: a field or @user.roles."),
        ("a = @user.roles", 4, "Write @user.roles before `has` or after `in`."),
        ("@user.roles is null", 0, "Write @user.roles before"),
        ('@user.roles like "x"', 0, "Write @user.roles before"),
        ("a like 1", 7, "like goes with a string constant"),
        ("a ilike b", 8, "ilike goes with a string constant"),
        ('a like "x\\\\"', 7, "a backslash that escapes nothing"),
        ("id.x = 1", 0, "id has no fields of its own"),
        ("a = owner.x", 4, "owner cannot stand on the right"),
        ("a = owner", 4, "owner cannot stand on the right of = here"),
        ("a has id", 6, "id cannot stand on the right of has"),
        ("owner = a", 8, "owner cannot be compared with a"),
        ("version = id", 10, "version cannot be compared with id"),
        ("id > owner", 3, "> does not go with owner"),
        ('owner < "x"', 6, "< does not go with owner"),
        ('id like "x"', 3, "like does not go with id"),
        ("version has 1", 8, "has does not go with version"),
        ('id = "x"', 5, "id is a UUID"),
        (f'id = "{{{ADA}}}"', 5, "id is a UUID"),
        ("owner = 1", 8, "owner is a UUID"),
        ("id in 1", 6, "`in` needs a list on its right: for id, constants like [1, 2]."),
        ("id in b", 6, "`in` needs a list on its right: for id, constants like [1, 2]."),
        ('id in ["x"]', 7, "id is a UUID"),
        ("id = [1]", 5, "A list can stand only after `in`."),
        ("id = @user.roles", 5, "@user.roles does not go with id"),
        ("version = @user.id", 10, "@user.id does not go with version"),
        ("version = 1.5", 10, "version is an integer"),
        ("version = true", 10, "version is an integer"),
        ("version > 9223372036854775808", 10, "version is an integer"),
        ("version > null", 10, "version is an integer"),
        ("created_at > 5", 13, "created_at is a time"),
        ('created_at > "2026-01-31"', 13, "created_at is a time"),
        ('created_at > "2026-01-31T12:00:00"', 13, "created_at is a time"),
        ('created_at > "2026-02-30T12:00:00Z"', 13, "created_at is a time"),
        ('created_at > "2026-01-31T12:00:00.1234567Z"', 13, "to the microsecond at most"),
        ('created_at > "0001-01-01T00:00:00+14:00"', 13, "created_at is a time"),
        ('created_at > "٢٠٢٦-01-31T12:00:00Z"', 13, "created_at is a time"),
    ],
)
def test_a_wrong_filter_is_refused_with_its_position(
    text: str, position: int, message: str
) -> None:
    with pytest.raises(FilterError) as caught:
        sql(text)
    assert message in caught.value.detail
    assert caught.value.members == {"position": position}
    assert (caught.value.status, caught.value.code) == (400, "invalid_filter")


@pytest.mark.parametrize("text", ["a = 1", "name = a", 'a like "x"', "@user.id in a", "a.b < 1"])
def test_fields_that_the_schema_rules_out_are_refused(text: str) -> None:
    with pytest.raises(UnknownField) as caught:
        sql(text, TYPED)
    position: Any = caught.value.position
    assert text[position] == "a"


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        (("a",), "coalesce(data->'a', 'null'::jsonb)"),
        (("a", "it's"), "coalesce(data->'a'->'it''s', 'null'::jsonb)"),
        (("", "😀"), "coalesce(data->''->'😀', 'null'::jsonb)"),
        (("a\\'b",), "coalesce(data->E'a\\\\''b', 'null'::jsonb)"),
        (("version",), "version"),
        (("owner",), OWNER),
        (("a", "id"), "coalesce(data->'a'->'id', 'null'::jsonb)"),
    ],
)
def test_a_path_has_its_sql(path: tuple[str, ...], expected: str) -> None:
    assert field_sql(path) == expected


def test_literals_are_quoted_in_sql() -> None:
    assert [sql_literal(text) for text in ("", "a", "'", "\\", "\\'")] == [
        "''", "'a'", "''''", "E'\\\\'", "E'\\\\'''",
    ]  # fmt: skip
