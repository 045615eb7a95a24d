"""Types that a schema promises of a field, and fields that it rules out."""

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
        # A required member may be absent where its parent need not be an object.
        (("maybe", "x"), {"string", "null"}),
        (("text", "x"), {"null"}),
        (("any", "x"), JSON_TYPES),
    ],
)
def test_a_field_has_the_types_that_the_schema_promises(
    path: tuple[str, ...], types: set[str]
) -> None:
    fields = Fields(SCHEMA)
    assert fields.types(path) == types
    assert fields.types(path) == types


def test_without_a_schema_a_field_may_have_every_type() -> None:
    assert Fields(True).types(("a", "b")) == JSON_TYPES


@pytest.mark.parametrize(
    ("schema", "path", "name"),
    [
        (CLOSED, ("b",), "b"),
        (SCHEMA, ("shut", "b"), "shut.b"),
        ({"additionalProperties": False}, ("a",), "a"),
        # Keywords beside a closed schema can restrict more, and never allow more.
        ({**CLOSED, "allOf": [{"properties": {"b": {}}}]}, ("b",), "b"),
        (
            {**CLOSED, "$ref": "#/$defs/more", "$defs": {"more": {"properties": {"b": {}}}}},
            ("b",),
            "b",
        ),
        ({"$ref": "#/$defs/shut", "$defs": {"shut": CLOSED}}, ("b",), "b"),
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
        {"additionalProperties": True},
        {"additionalProperties": {"type": "string"}},
    ],
)
def test_a_level_that_may_have_more_is_open(opening: dict[str, Any]) -> None:
    assert Fields({**CLOSED, **opening}).types(("b",)) == JSON_TYPES


def test_paths_that_strangers_ask_for_are_not_kept() -> None:
    fields = Fields(True)
    fields.types(("read",))
    tracemalloc.start()
    for number in range(1000):
        fields.types((f"{number:04}{'x' * 4000}",))
    size, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert size < 1 << 20


STAMP = {"type": "string", "format": "date-time"}


@pytest.mark.parametrize(
    ("schema", "types", "name"),
    [
        (STAMP, {"string"}, "date-time"),
        ({"type": ["string", "null"], "format": "date"}, {"string", "null"}, "date"),
        ({"anyOf": [STAMP, {"type": "null"}]}, {"string", "null"}, "date-time"),
        ({"oneOf": [{"const": None}, STAMP]}, {"string", "null"}, "date-time"),
        ({"$ref": "#/$defs/a~1b%25"}, {"string"}, "uuid"),
        ({"allOf": [{"$ref": "#/$defs/a~1b%25"}]}, {"string"}, "uuid"),
        ({"format": "time"}, JSON_TYPES, "time"),
        ({"type": ["integer", "string"], "format": "duration"}, {"number", "string"}, "duration"),
        # In these schemas no single format holds for all strings.
        ({"anyOf": [STAMP, {"type": "string", "format": "date"}]}, JSON_TYPES, None),
        ({"anyOf": [STAMP, {"type": "string"}]}, JSON_TYPES, None),
        ({"type": "integer", "format": "date-time"}, {"number"}, None),
        ({"type": "string", "format": "email"}, {"string"}, None),
        ({"$ref": "#/$defs/absent"}, JSON_TYPES, None),
        ({"$ref": "#/properties/x"}, JSON_TYPES, None),
        ({"$ref": "#anchor"}, JSON_TYPES, None),
        (True, JSON_TYPES, None),
    ],
)
def test_a_field_has_the_format_that_all_its_strings_have(
    schema: Any, types: set[str], name: str | None
) -> None:
    whole = {"properties": {"x": schema, "xs": {"items": schema}}, "required": ["x"],
             "$defs": {"a/b%": {"type": "string", "format": "uuid"}}}  # fmt: skip
    fields = Fields(whole)
    found, item = fields.format(("x",)), fields.items_format(("xs",))
    assert fields.types(("x",)) == types
    assert (found and found.name) == (item and item.name) == name


def test_nested_fields_have_formats_too() -> None:
    inner = {"type": "object", "properties": {"at": STAMP}, "required": ["at"]}
    schema = {
        "properties": {"a": {"$ref": "#/$defs/inner"}, "b": {"anyOf": [inner, {"type": "null"}]}},
        "required": ["a", "b"],
        "$defs": {"inner": inner},
    }
    for key, types in (("a", {"string"}), ("b", {"string", "null"})):
        found = Fields(schema).format((key, "at"))
        assert found is not None
        assert found.name == "date-time"
        assert Fields(schema).types((key, "at")) == types


def test_a_reference_within_another_resource_is_not_followed() -> None:
    other = {"$id": "https://example.com/x", "$defs": {"a": {}}, "$ref": "#/$defs/a"}
    assert Fields({"properties": {"x": other}, "$defs": {"a": STAMP}}).format(("x",)) is None


@pytest.mark.parametrize(
    ("path", "hint"),
    [
        (("yaer",), "'yaer'; did you mean year?"),
        (("create_at",), "did you mean created_at?"),
        (("meta", "knid"), "'meta.knid'; did you mean kind?"),
        (("zzz",), "no field 'zzz'."),
        (("y" * 5000,), "yyy'."),
    ],
)
def test_an_unknown_field_is_answered_with_a_similar_name(path: tuple[str, ...], hint: str) -> None:
    meta = {"type": "object", "properties": {"kind": {}}, "additionalProperties": False}
    schema = {"properties": {"year": {}, "meta": meta}, "additionalProperties": False}
    with pytest.raises(UnknownField) as caught:
        Fields(schema).types(path)
    assert hint in caught.value.detail
