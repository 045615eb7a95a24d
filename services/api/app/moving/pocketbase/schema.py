"""JSON Schema of PocketBase's fields, and what it has to leave out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from app.collections.errors import InvalidDefinition
from app.collections.json_schema.schema import check_schema
from app.moving.pocketbase.names import FORMER_ID

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from app.core.errors import FieldError
    from app.moving.pocketbase.names import Naming
    from app.moving.pocketbase.source import Field, SourceCollection

    Tell = Callable[[str], None]

# The maximum of a text that has none of its own, to PocketBase.
_LONGEST_TEXT = 5000
_DATE_TIME = {"type": "string", "format": "date-time"}
_POINT = {
    "type": "object",
    "properties": {"lon": {"type": "number"}, "lat": {"type": "number"}},
    "required": ["lon", "lat"],
    "additionalProperties": False,
}
# Options that JSON Schema has no word for.
_UNSAID = {
    "email": ("exceptDomains", "onlyDomains"),
    "url": ("exceptDomains", "onlyDomains"),
    "date": ("min", "max"),
    "json": ("maxSize",),
    "editor": ("maxSize",),
    "text": ("autogeneratePattern",),
}


def schema_of(collection: SourceCollection, naming: Naming, tell: Tell) -> dict[str, Any]:
    """The schema of the collection's records; `tell` is told what it cannot say."""
    names = naming.fields(collection)
    properties: dict[str, Any] = {}
    required = []
    for field in naming.kept(collection):
        name = names[field.name]
        properties[name] = _checked(field, _property(field), tell)
        if field.is_hidden:
            # Neither shown to clients nor taken from them.
            properties[name] |= {"readOnly": True, "writeOnly": True}
        if collection.is_auth and field.name == "verified":
            properties[name]["readOnly"] = True
        if field.required and field.type != "autodate":
            required.append(name)
        for option in _UNSAID.get(field.type, ()):
            if field.options.get(option):
                tell(f"{field.name}: {option} has no counterpart here")
    properties[FORMER_ID] = {"type": "string", "readOnly": True}
    schema: dict[str, Any] = {"type": "object", "properties": properties}
    if required:
        schema["required"] = required
    return {**schema, "additionalProperties": False}


def loosen(schema: dict[str, Any], faults: Iterable[FieldError], tell: Tell) -> bool:
    """Take the keywords out that these faults of present records are about: PocketBase checks no
    record that was there before an option. Returns whether that changed anything."""
    changed = False
    for fault in faults:
        name, *within = fault.pointer.removeprefix("/").split("/")
        if fault.code == "required" and not within and name in schema.get("required", ()):
            schema["required"] = [each for each in schema["required"] if each != name]
        else:
            part = schema["properties"].get(name, {})
            if within:
                part = part.get("items", part.get("properties", {}).get(within[0], {}))
            if part.pop(fault.code, None) is None:
                continue
        changed = True
        tell(f"{name}: present records do not satisfy {fault.code}, which is left out")
    return changed


def _property(field: Field) -> dict[str, Any]:
    make = _BY_TYPE.get(field.type)
    # Any JSON for `json`, and for types that a later PocketBase may have.
    return {} if make is None else make(field)


def _bool(field: Field) -> dict[str, Any]:
    return {"type": "boolean", **({"const": True} if field.required else {"default": False})}


def _text(field: Field) -> dict[str, Any]:
    found: dict[str, Any] = {"type": "string"}
    least, most = int(field.number("min") or 0), int(field.number("max") or 0)
    if least or field.required:
        found["minLength"] = max(least, int(field.required))
    if field.type == "text":
        found["maxLength"] = most or _LONGEST_TEXT
    if pattern := field.options.get("pattern"):
        found["pattern"] = pattern
    return found


def _number(field: Field) -> dict[str, Any]:
    found: dict[str, Any] = {"type": "integer" if field.options.get("onlyInt") else "number"}
    least, most = field.number("min"), field.number("max")
    if least is not None:
        found["minimum"] = least
    if most is not None:
        found["maximum"] = most
    if field.required:
        # To PocketBase, zero is no value.
        found["not"] = {"const": 0}
    elif zero_fits(field):
        found["default"] = 0
    return found


def zero_fits(field: Field) -> bool:
    """Whether zero, which PocketBase stores for an absent number, is within the bounds."""
    least, most = field.number("min"), field.number("max")
    return (least is None or least <= 0) and (most is None or most >= 0)


def _some(field: Field, each: dict[str, Any]) -> dict[str, Any]:
    one = {"type": "string", **each}
    if not field.is_multiple:
        return one
    found: dict[str, Any] = {"type": "array", "items": one, "uniqueItems": True}
    most = int(field.number("maxSelect") or 0)
    least = max(int(field.number("minSelect") or 0), int(field.required))
    return {**found, "maxItems": most, **({"minItems": least} if least else {})}


_BY_TYPE: dict[str, Callable[[Field], dict[str, Any]]] = {
    "text": _text,
    "editor": _text,
    "number": _number,
    "bool": _bool,
    "email": lambda _: {"type": "string", "format": "email"},
    "url": lambda _: {"type": "string", "format": "uri"},
    "date": lambda _: dict(_DATE_TIME),
    "autodate": lambda _: dict(_DATE_TIME),
    "select": lambda field: _some(field, {"enum": list(field.options.get("values", ()))}),
    "relation": lambda field: _some(field, {"format": "uuid"}),
    "file": lambda field: _some(field, {}),
    "geoPoint": lambda _: dict(_POINT),
}


def _checked(field: Field, found: dict[str, Any], tell: Tell) -> dict[str, Any]:
    """The property, without a pattern that is none here."""
    try:
        check_schema({"properties": {"field": found}})
    except InvalidDefinition:
        if found.pop("pattern", None) is None:
            raise
        tell(f"{field.name}: the pattern means nothing here, and is left out")
    return found
