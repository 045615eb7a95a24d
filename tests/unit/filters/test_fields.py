"""What a schema promises of a field's types, and which fields it rules out."""

from __future__ import annotations

import tracemalloc
from typing import Any

import pytest

from app.filters.errors import UnknownField
from app.filters.fields import JSON_TYPES, Fields

CLOSED: dict[str, Any] = {"properties": {"a": {}}, "additionalProperties": False}
SCHEMA: dict[str, Any] = {
    "properties": {
        "text": {"type": "string"},
        "count": {"type": "integer"},
        "mixed": {"type": ["integer", "string", "null"]},
        "any": True,
        "choice": {"enum": ["a", "b"]},
        "inner": {"type": "object", "properties": {"x": {"type": "string"}}, "required": ["x"]},
        "maybe": {
            "type": ["object", "array"],
            "properties": {"x": {"type": "string"}},
            "required": ["x"],
        },
        "shut": {"type": "object", **CLOSED},
    },
    "required": ["text", "inner", "maybe", "shut"],
}


@pytest.mark.parametrize(
    ("path", "types"),
    [
        (("text",), {"string"}),
        (("count",), {"number", "null"}),
        (("mixed",), {"number", "string", "null"}),
        (("any",), JSON_TYPES),
        (("choice",), JSON_TYPES),
        (("undeclared",), JSON_TYPES),
        (("inner", "x"), {"string"}),
        (("inner", "y"), JSON_TYPES),
        # The required member of what need not be an object may be absent.
        (("maybe", "x"), {"string", "null"}),
        (("text", "x"), {"null"}),
        (("any", "x"), JSON_TYPES),
    ],
)
def test_types(path: tuple[str, ...], types: set[str]) -> None:
    fields = Fields(SCHEMA)
    assert fields.types(path) == types
    assert fields.types(path) == types


def test_without_a_schema_everything_may_be() -> None:
    assert Fields(True).types(("a", "b")) == JSON_TYPES


@pytest.mark.parametrize(
    ("schema", "path", "name"),
    [
        (CLOSED, ("b",), "b"),
        (SCHEMA, ("shut", "b"), "shut.b"),
        ({"additionalProperties": False}, ("a",), "a"),
    ],
)
def test_a_closed_level_has_no_other_fields(
    schema: dict[str, Any], path: tuple[str, ...], name: str
) -> None:
    fields = Fields(schema)
    for _ in range(2):
        with pytest.raises(UnknownField, match=f"no field '{name}'") as caught:
            fields.types(path, 5)
        assert (caught.value.code, caught.value.members) == ("unknown_field", {"position": 5})


@pytest.mark.parametrize(
    "opening",
    [
        {"patternProperties": {"^x-": {}}},
        {"$ref": "#/$defs/more"},
        {"allOf": [{"properties": {"b": {}}}]},
        {"additionalProperties": True},
        {"additionalProperties": {"type": "string"}},
    ],
)
def test_a_level_that_may_have_more_is_open(opening: dict[str, Any]) -> None:
    assert Fields({**CLOSED, **opening}).types(("b",)) == JSON_TYPES


def test_what_strangers_ask_for_is_not_kept() -> None:
    fields = Fields(True)
    fields.types(("read",))
    tracemalloc.start()
    for number in range(1000):
        fields.types((f"{number:04}{'x' * 4000}",))
    size, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert size < 1 << 20
