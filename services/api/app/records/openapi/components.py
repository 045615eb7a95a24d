"""A collection's schemas in the OpenAPI document: a record as it is sent, changed and read, an item
and a page of a list, and a batch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from app.collections.json_schema.keywords import RESERVED
from app.ratelimit import costs
from app.records.openapi import examples
from app.records.openapi.embedding import COMPONENTS, Embedded
from app.records.openapi.plain import kind_of

if TYPE_CHECKING:
    from app.collections.models import Collection

_SYSTEM: dict[str, Any] = {
    "id": {"type": "string", "format": "uuid", "readOnly": True},
    "version": {"type": "integer", "minimum": 1, "readOnly": True},
    "created_at": {"type": "string", "format": "date-time", "readOnly": True},
    "updated_at": {"type": "string", "format": "date-time", "readOnly": True},
    "owner": {"type": ["string", "null"], "format": "uuid", "readOnly": True},
}
_KINDS = frozenset(
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
    # No name has capitals.
    return collection.replace("-", "_Dash_")


def reference(collection: str, kind: str) -> dict[str, Any]:
    """A reference to one of the collection's schemas, `input` or `record` for example."""
    assert kind in _KINDS
    return {"$ref": COMPONENTS + _name(collection, kind)}


def components_of(collection: Collection) -> dict[str, Any]:
    """The schemas that the collection's paths refer to, by name."""
    name = collection.name
    embedded = Embedded(
        collection.definition.schema, _name(name, "input"), f"{identifier(name)}.", _KINDS
    )
    # Made of members, since the schema itself may refuse the system's fields.
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
    seen = [each for each in required if each not in hidden]
    record = {**item, "required": list(dict.fromkeys([*RESERVED, *seen]))}
    made = {
        "input": sent,
        "patch": patch,
        "record": record,
        # Sparse records lack required fields.
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
            # A part is merged into the present object.
            fields[name] = {"description": "An object is merged into the present one."}
        elif name in required:
            fields[name] = {key: value for key, value in schema.items() if key != "default"}
        else:
            fields[name] = {"anyOf": [schema, {"type": "null"}]}
    return {"type": "object", "description": "JSON Merge Patch, RFC 7396.", "properties": fields}


def _may_be_object(embedded: Embedded, schema: dict[str, Any], depth: int = 8) -> bool:
    """Whether an object may be valid, as far as can be told."""
    for each in embedded.applying(schema):
        kinds = each.get("type", "object")
        if "object" not in (kinds if isinstance(kinds, list) else [kinds]):
            return False
        values: Any = [each["const"]] if "const" in each else each.get("enum")
        if isinstance(values, list) and all(kind_of(value) != "object" for value in values):
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
    kinds: dict[str, tuple[dict[str, Any], list[str]]] = {
        "create": ({"id": _ID, "data": reference(name, "input")}, ["op", "data"]),
        "update": (
            {"id": _ID, "data": reference(name, "patch"), "version": _VERSION},
            ["op", "id", "data"],
        ),
    }
    operations = {
        f"batch_{op}": {
            "type": "object",
            "properties": {"op": {"const": op}, **properties},
            "required": required,
            "additionalProperties": False,
        }
        for op, (properties, required) in kinds.items()
    }
    choice = [
        *(reference(name, kind) for kind in operations),
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
    return {"batch": batch, **operations}


def _name(collection: str, kind: str) -> str:
    # Models of Python have no dot in their names.
    return f"{identifier(collection)}.{kind}"
