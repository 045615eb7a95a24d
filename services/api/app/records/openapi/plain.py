"""A JSON Schema in keywords that generators of clients understand: the same values are valid, but
keywords that only a few generators know, or that end some of them, are gone."""

from __future__ import annotations

from typing import Any

# Keywords whose members are schemas under any names.
_BY_NAME = frozenset({"properties", "patternProperties", "dependentSchemas"})
_IN_LISTS = frozenset({"allOf", "anyOf", "oneOf", "prefixItems"})
_SINGLE = frozenset({"items", "contains", "propertyNames", "if", "then", "else", "not",
                     "contentSchema"})  # fmt: skip
# Generators understand true and false here.
_OR_BOOLEAN = frozenset({"additionalProperties", "unevaluatedItems", "unevaluatedProperties"})
_OTHERS = frozenset({
    "$ref", "type", "enum", "const", "multipleOf", "maximum", "exclusiveMaximum", "minimum",
    "exclusiveMinimum", "maxLength", "minLength", "pattern", "maxItems", "minItems", "uniqueItems",
    "maxContains", "minContains", "maxProperties", "minProperties", "required",
    "dependentRequired", "format", "contentEncoding", "contentMediaType", "description", "default",
    "deprecated", "readOnly", "writeOnly", "examples",
})  # fmt: skip
_KINDS = {bool: "boolean", int: "integer", float: "number", str: "string", list: "array",
          dict: "object"}  # fmt: skip
# Generators make types of the values of these.
_NAMED = ("string", "integer")


def plain(schema: Any) -> dict[str, Any]:
    """The plain schema; a value that is no schema allows anything."""
    if schema is False:
        return {"not": {}}
    if not isinstance(schema, dict):
        return {}
    made: dict[str, Any] = {}
    for key, value in schema.items():
        if key in _BY_NAME and isinstance(value, dict):
            made[key] = {name: plain(each) for name, each in value.items()}
        elif key in _IN_LISTS and isinstance(value, list):
            made[key] = [plain(each) for each in value]
        elif key in _SINGLE or (key in _OR_BOOLEAN and not isinstance(value, bool)):
            made[key] = plain(value)
        elif key in _OTHERS or key in _OR_BOOLEAN or key.startswith("x-"):
            made[key] = value
    if isinstance(schema.get("title"), str):
        # A title would become the name of a type, which must be unique in the whole document.
        made.setdefault("description", schema["title"])
    return _with_plain_values(made)


def component(schema: dict[str, Any]) -> dict[str, Any]:
    """A plain schema that can stand alone, unlike a mere reference."""
    if "$ref" not in schema:
        return schema
    rest = {key: value for key, value in schema.items() if key != "$ref"}
    return {**rest, "allOf": [{"$ref": schema["$ref"]}, *rest.get("allOf", ())]}


def kind_of(value: Any) -> str:
    """The type of a JSON value."""
    return _KINDS.get(type(value), "null")


def _with_plain_values(made: dict[str, Any]) -> dict[str, Any]:
    """`enum` and `const` as one type with all its values, or as a choice of such types."""
    if "const" in made and kind_of(made["const"]) != "string":
        made["enum"] = [made.pop("const")]
    if not isinstance(made.get("enum"), list):
        return made
    kinds = _by_kind(made["enum"], made.get("type"))
    if (kinds and set(kinds) - {"null"} <= {"string"}) or set(kinds) - {"null"} == {"integer"}:
        return made
    rest = {key: value for key, value in made.items() if key not in ("enum", "type")}
    choice: dict[str, Any]
    if not kinds:
        choice = {"not": {}}
    elif len(kinds) == 1:
        choice = _one_kind(*kinds.popitem())
    else:
        choice = {"anyOf": [_one_kind(kind, values) for kind, values in kinds.items()]}
    if not choice.keys() & rest.keys():
        return rest | choice
    return {**rest, "allOf": [*rest.get("allOf", ()), choice]}


def _by_kind(values: list[Any], declared: Any) -> dict[str, list[Any]]:
    """The values that the declared types allow."""
    allowed = declared if isinstance(declared, list) else [declared]
    kinds: dict[str, list[Any]] = {}
    for value in values:
        kind = kind_of(value)
        whole = kind == "number" and isinstance(value, float) and value.is_integer()
        if (
            declared is None
            or kind in allowed
            or ("number" in allowed and kind == "integer")
            or (whole and "integer" in allowed)
        ):
            kinds.setdefault(kind, []).append(value)
    if "number" in kinds and "integer" in kinds:
        kinds["number"] += kinds.pop("integer")
    return kinds


def _one_kind(kind: str, values: list[Any]) -> dict[str, Any]:
    if kind == "null":
        return {"type": "null"}
    if kind in (*_NAMED, "boolean"):
        return {"type": kind, "enum": values}
    # Few generators name values of these types, all know the types.
    items: dict[str, Any] = {"items": {}} if kind == "array" else {}
    return {"type": kind, **items, "allOf": [{"enum": values}]}
