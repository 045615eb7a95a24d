"""A collection's schemas in the OpenAPI document: a record as it is sent, as it is read, and as an
item of a list."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from app.collections.schema import RESERVED
from app.records import examples
from app.records.embedding import Embedded

if TYPE_CHECKING:
    from app.collections.models import Collection

_SYSTEM: dict[str, Any] = {
    "id": {"type": "string", "format": "uuid", "readOnly": True},
    "version": {"type": "integer", "minimum": 1, "readOnly": True},
    "created_at": {"type": "string", "format": "date-time", "readOnly": True},
    "updated_at": {"type": "string", "format": "date-time", "readOnly": True},
    "owner": {"type": ["string", "null"], "format": "uuid", "readOnly": True},
}


def identifier(collection: str) -> str:
    """The collection's name as programs can use it: letters, digits and `_`, each name another."""
    # No name has capitals.
    return collection.replace("-", "_Dash_")


def reference(collection: str, kind: str) -> dict[str, Any]:
    """A reference to one of the collection's schemas: `input`, `record` or `item`."""
    return {"$ref": f"#/components/schemas/{_name(collection, kind)}"}


def components_of(collection: Collection) -> dict[str, Any]:
    """The schemas that the collection's paths refer to, by name."""
    name = collection.name
    embedded = Embedded(collection.definition.schema, reference(name, "input")["$ref"])
    # Not with the schema itself, which need not allow the system's fields.
    properties, required = embedded.members(embedded.schema)
    item: dict[str, Any] = {
        "type": "object",
        "properties": _SYSTEM | properties | _SYSTEM,
        "required": ["id"],
    }
    sent = embedded.schema
    if (example := examples.example_of(collection, embedded)) is not None:
        sent = {"examples": [example], **sent}
        item["examples"] = [examples.SYSTEM | example]
    record = {**item, "required": list(dict.fromkeys([*RESERVED, *required]))}
    return {
        _name(name, "input"): sent,
        _name(name, "record"): record,
        # Sparse records lack required fields.
        _name(name, "item"): item,
    }


def _name(collection: str, kind: str) -> str:
    # Models of Python have no dot in their names.
    return f"{identifier(collection)}.{kind}"
