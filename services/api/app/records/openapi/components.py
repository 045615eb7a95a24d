"""A collection's schemas in the OpenAPI document: a record as it is sent, changed and read, an item
and a page of a list, and a batch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from app.collections.json_schema.keywords import RESERVED
from app.ratelimit import costs
from app.records.openapi import examples
from app.records.openapi.embedding import COMPONENTS, Embedded
from app.records.openapi.plain import json_type

if TYPE_CHECKING:
    from app.collections.models import Collection

_SYSTEM: dict[str, Any] = {
    "id": {"type": "string", "format": "uuid", "readOnly": True},
    "version": {"type": "integer", "minimum": 1, "readOnly": True},
    "created_at": {"type": "string", "format": "date-time", "readOnly": True},
    "updated_at": {"type": "string", "format": "date-time", "readOnly": True},
    "owner": {"type": ["string", "null"], "format": "uuid", "readOnly": True},
}
_COMPONENTS = frozenset(
    {"input", "patch", "record", "item", "page", "batch", "batch_create", "batch_update"}
)
_NULLABLE = {"type": ["string", "null"]}
_ID = {"type": "string", "format": "uuid"}
_VERSION = {"type": "integer", "minimum": 1}

# The schemas that all collections share.
SHARED: dict[str, Any] = {
    "BatchDelete": {
        "type": "object",
        "required": ["op", "id"],
        "additionalProperties": False,
        "properties": {"op": {"const": "delete"}, "id": _ID, "version": _VERSION},
    },
    "BatchResult": {
        "type": "object",
        "required": ["id", "version"],
        "properties": {"id": _ID, "version": {"type": ["integer", "null"]}},
    },
    "BatchResults": {
        "type": "object",
        "required": ["results"],
        "properties": {"results": {"type": "array", "items": {"$ref": f"{COMPONENTS}BatchResult"}}},
    },
}


def identifier(collection: str) -> str:
    """The collection's name for programs: letters, digits and `_`; distinct names stay distinct."""
    # Collection names have no capitals, so `_Dash_` cannot collide.
    return collection.replace("-", "_Dash_")


def reference(collection: str, kind: str) -> dict[str, Any]:
    """A reference to one of the collection's schemas, `input` or `record` for example."""
    assert kind in _COMPONENTS
    return {"$ref": COMPONENTS + _name(collection, kind)}


def components_of(collection: Collection) -> dict[str, Any]:
    """The schemas that the collection's paths refer to, by name."""
    name = collection.name
    embedded = Embedded(
        collection.definition.schema, _name(name, "input"), f"{identifier(name)}.", _COMPONENTS
    )
    # `item` and `record` are built from the properties, since the schema may refuse `id`, `version`
    # and so on.
    properties, required = embedded.members(embedded.schema)
    hidden = collection.annotations.write_only
    shown = {name: each for name, each in properties.items() if name not in hidden}
    item: dict[str, Any] = {
        "type": "object",
        "properties": _SYSTEM | shown | _SYSTEM,
        "required": ["id"],
    }
    sent, patch = embedded.schema, _patch(embedded, properties, required)
    if (example := examples.example_of(collection, embedded)) is not None:
        sent = {"examples": [example], **sent}
        visible = {key: value for key, value in example.items() if key not in hidden}
        item["examples"] = [examples.SYSTEM | visible]
        patch["examples"] = [dict(list(example.items())[:1])]
    required_shown = [each for each in required if each not in hidden]
    record = {**item, "required": list(dict.fromkeys([*RESERVED, *required_shown]))}
    made = {
        "input": sent,
        "patch": patch,
        "record": record,
        # With `fields=`, an item has only the fields asked for, so only `id` is required.
        "item": item,
        "page": _page(name),
        **_batch(name),
    }
    return {_name(name, kind): schema for kind, schema in made.items()} | embedded.parts


def _patch(embedded: Embedded, properties: dict[str, Any], required: list[str]) -> dict[str, Any]:
    """The schema of a merge patch: any of the fields, and null for an optional field."""
    fields: dict[str, Any] = {}
    for name, schema in properties.items():
        if _may_be_object(embedded, schema):
            # A patch may hold a part of the object, which is merged into the present one.
            fields[name] = {"description": "An object is merged into the present one."}
        elif name in required:
            fields[name] = {key: value for key, value in schema.items() if key != "default"}
        else:
            fields[name] = {"anyOf": [schema, {"type": "null"}]}
    return {"type": "object", "description": "JSON Merge Patch, RFC 7396.", "properties": fields}


def _may_be_object(embedded: Embedded, schema: dict[str, Any], depth: int = 8) -> bool:
    """Whether `schema` may accept an object. False beyond `depth` nested anyOf or oneOf."""
    for each in embedded.applying(schema):
        types = each.get("type", "object")
        if "object" not in (types if isinstance(types, list) else [types]):
            return False
        values: Any = [each["const"]] if "const" in each else each.get("enum")
        if isinstance(values, list) and all(json_type(value) != "object" for value in values):
            return False
        for keyword in ("anyOf", "oneOf"):
            branches = each.get(keyword)
            if branches and not (
                depth and any(_may_be_object(embedded, branch, depth - 1) for branch in branches)
            ):
                return False
    return True


def _page(name: str) -> dict[str, Any]:
    return {
        "type": "object",
        "required": ["items", "next", "prev"],
        "properties": {
            "items": {"type": "array", "items": reference(name, "item")},
            "next": _NULLABLE,
            "prev": _NULLABLE,
            "total": {"type": "integer"},
        },
    }


def _batch(name: str) -> dict[str, Any]:
    operations: dict[str, tuple[dict[str, Any], list[str]]] = {
        "create": ({"id": _ID, "data": reference(name, "input")}, ["op", "data"]),
        "update": (
            {"id": _ID, "data": reference(name, "patch"), "version": _VERSION},
            ["op", "id", "data"],
        ),
    }
    schemas = {
        f"batch_{op}": {
            "type": "object",
            "properties": {"op": {"const": op}, **properties},
            "required": required,
            "additionalProperties": False,
        }
        for op, (properties, required) in operations.items()
    }
    choice = [
        *(reference(name, kind) for kind in schemas),
        {"$ref": f"{COMPONENTS}BatchDelete"},
    ]
    batch = {
        "type": "object",
        "required": ["operations"],
        "additionalProperties": False,
        "properties": {
            "operations": {
                "type": "array", "minItems": 1, "maxItems": costs.MAX_OPERATIONS,
                "items": {"oneOf": choice},
            }
        },
    }  # fmt: skip
    return {"batch": batch, **schemas}


def _name(collection: str, kind: str) -> str:
    # The dot keeps these names apart from the API's own models, which are Python identifiers.
    return f"{identifier(collection)}.{kind}"
