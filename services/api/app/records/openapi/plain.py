"""A JSON Schema in keywords that generators of clients understand: the same values are valid, but
keywords that only a few generators know, or that make some of them fail, are removed."""

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
_JSON_TYPES = {bool: "boolean", int: "integer", float: "number", str: "string", list: "array",
               dict: "object"}  # fmt: skip
# Generators turn an `enum` of these JSON types into an enumeration type.
_ENUM_TYPES = ("string", "integer")


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


def json_type(value: Any) -> str:
    """The type of a JSON value."""
    return _JSON_TYPES.get(type(value), "null")


def _with_plain_values(made: dict[str, Any]) -> dict[str, Any]:
    """`enum` and `const` as one type with all its values, or as a choice of such types."""
    if "const" in made and json_type(made["const"]) != "string":
        made["enum"] = [made.pop("const")]
    if not isinstance(made.get("enum"), list):
        return made
    types = _by_type(made["enum"], made.get("type"))
    if (types and set(types) - {"null"} <= {"string"}) or set(types) - {"null"} == {"integer"}:
        return made
    rest = {key: value for key, value in made.items() if key not in ("enum", "type")}
    choice: dict[str, Any]
    if not types:
        choice = {"not": {}}
    elif len(types) == 1:
        choice = _enum_of_type(*types.popitem())
    else:
        choice = {"anyOf": [_enum_of_type(type_, values) for type_, values in types.items()]}
    if not choice.keys() & rest.keys():
        return rest | choice
    return {**rest, "allOf": [*rest.get("allOf", ()), choice]}


def _by_type(values: list[Any], declared: Any) -> dict[str, list[Any]]:
    """The values that the declared types allow."""
    allowed = declared if isinstance(declared, list) else [declared]
    types: dict[str, list[Any]] = {}
    for value in values:
        type_ = json_type(value)
        whole = type_ == "number" and isinstance(value, float) and value.is_integer()
        if (
            declared is None
            or type_ in allowed
            or ("number" in allowed and type_ == "integer")
            or (whole and "integer" in allowed)
        ):
            types.setdefault(type_, []).append(value)
    if "number" in types and "integer" in types:
        types["number"] += types.pop("integer")
    return types


def _enum_of_type(type_: str, values: list[Any]) -> dict[str, Any]:
    if type_ == "null":
        return {"type": "null"}
    if type_ in (*_ENUM_TYPES, "boolean"):
        return {"type": type_, "enum": values}
    # Few generators support enumerations of these types, so `enum` goes into `allOf` beside the
    # type.
    items: dict[str, Any] = {"items": {}} if type_ == "array" else {}
    return {"type": type_, **items, "allOf": [{"enum": values}]}
