"""The OpenAPI document is sound for any names and schemas of collections."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

import jsonschema_rs
import pytest

from fixtures.rules import ANYONE

if TYPE_CHECKING:
    from collections.abc import Iterator

    import httpx

SYSTEM = ("id", "version", "created_at", "updated_at", "owner")
# Keywords whose values may look like anything.
VALUES = ("const", "enum", "default", "examples", "example")


def put(admin: httpx.Client, name: str, schema: dict[str, Any], rules: Any = None) -> str:
    body = {"schema": schema, "rules": ANYONE if rules is None else rules}
    response = admin.put(f"/collections/{name}", json=body)
    assert response.is_success, response.text
    return f"/collections/{name}/records"


def document(client: httpx.Client) -> dict[str, Any]:
    response = client.get("/openapi.json")
    assert response.status_code == 200, response.text
    found: dict[str, Any] = response.json()
    return found


def resolve(whole: Any, reference: str) -> Any:
    """The target of a reference: a pointer into the document, since generators know no others."""
    assert reference.startswith("#/"), reference
    found = whole
    for part in unquote(reference[2:]).split("/"):
        key = part.replace("~1", "/").replace("~0", "~")
        found = found[int(key)] if isinstance(found, list) else found[key]
    return found


def keywords(schema: Any, *, names: bool = False) -> Iterator[tuple[str, Any]]:
    """The keywords of schemas with their values, without names that look like keywords."""
    if isinstance(schema, dict):
        for key, value in schema.items():
            if not names:
                yield key, value
            if names or key not in VALUES:
                yield from keywords(value, names=not names and key in ("properties", "$defs"))
    elif isinstance(schema, list):
        for each in schema:
            yield from keywords(each)


def validator_of(whole: dict[str, Any], path: str, method: str, status: str) -> Any:
    """A validator for an operation's answers with `status`."""
    found = whole["paths"][path][method]["responses"][status]
    schema = found["content"]["application/json"]["schema"]
    return jsonschema_rs.Draft202012Validator(
        {"components": whole["components"], "allOf": [schema]}, validate_formats=True
    )


NAMES = ("users", "collection", "a-b", "a_b", "ab", "a-_b", "a_-b", "a--b", "a-dash-b", "a-", "a_")


def test_no_two_operations_or_schemas_have_one_name(admin: httpx.Client) -> None:
    for name in NAMES:
        put(admin, name, {"type": "object"})
    found = document(admin)
    operations = [each for path in found["paths"].values() for each in path.values()]
    ids = [each["operationId"] for each in operations]
    assert len(ids) == len(set(ids))
    assert all(re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", each) for each in ids)
    # Generators write listUsers and list_users alike.
    users = [each.replace("_", "").lower() for each in ids if "user" in each.lower()]
    assert len(users) == len(set(users))

    assert all(re.fullmatch(r"[a-zA-Z0-9._-]+", name) for name in found["components"]["schemas"])
    created = {
        found["paths"][f"/collections/{name}/records"]["post"]["responses"]["201"]["content"][
            "application/json"
        ]["schema"]["$ref"]
        for name in NAMES
    }
    assert len(created) == len(NAMES)


SCHEMAS: dict[str, tuple[dict[str, Any], Any, Any]] = {
    "definitions": (
        {
            "properties": {"p": {"$ref": "#/$defs/a~1b%20%C3%A9"}},
            "$defs": {"a/b é": {"type": "integer"}},
        },
        {"p": 1},
        {"p": "x"},
    ),
    "recursion": (
        {
            "type": "object",
            "required": ["n"],
            "properties": {
                "n": {"type": "integer"},
                "children": {"type": "array", "items": {"$ref": "#"}},
            },
        },
        {"n": 1, "children": [{"n": 2, "children": []}]},
        {"n": 1, "children": [{"n": 2, "children": [{}]}]},
    ),
    "root": (
        {
            "$ref": "#/$defs/node",
            "$defs": {
                "node": {
                    "type": "object",
                    "properties": {"n": {"type": "integer"}, "next": {"$ref": "#/$defs/node"}},
                }
            },
        },
        {"n": 1, "next": {"n": 2}},
        {"n": 1, "next": {"n": "x"}},
    ),
    "anchors": (
        {
            "$id": "https://example.com/one",
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            "properties": {"p": {"$ref": "#here"}},
            "$defs": {"x": {"$anchor": "here", "type": "integer"}},
        },
        {"p": 1},
        {"p": "x"},
    ),
    "dynamic": (
        {
            "$dynamicAnchor": "node",
            "properties": {
                "n": {"type": "integer"},
                "children": {"type": "array", "items": {"$dynamicRef": "#node"}},
            },
        },
        {"children": [{"n": 1}]},
        {"children": [{"n": "x"}]},
    ),
    "resources": (
        {
            "$id": "https://example.com/one",
            "properties": {
                "inner": {
                    "$id": "inner",
                    "properties": {
                        "kind": {"$dynamicRef": "#kind"},
                        "same": {"$ref": "#/$defs/kind"},
                        "root": {"$ref": "#"},
                    },
                    "$defs": {"kind": {"$dynamicAnchor": "kind", "type": "integer"}},
                },
                "kind": {"$anchor": "kind", "type": "string"},
            },
        },
        {"kind": "x", "inner": {"kind": 1, "same": 1, "root": {"kind": 2}}},
        {"inner": {"root": {"kind": "x"}}},
    ),
    "no-ids": (
        {
            "properties": {"p": {"$id": "#", "$ref": "#/$defs/a"}},
            "$defs": {"a": {"type": "integer"}},
            "x-notes": [{"$ref": "#/nowhere"}, {"$ref": "#nowhere"}, {"$ref": "#/x-notes/y"}],
        },
        {"p": 1},
        {"p": "x"},
    ),
    "both": (
        {
            "properties": {"p": {"$ref": "#/$defs/a", "$dynamicRef": "#b"}},
            "$defs": {"a": {"type": "integer"}, "b": {"$dynamicAnchor": "b", "minimum": 2}},
        },
        {"p": 2},
        {"p": 1},
    ),
    "odd-names": (
        {
            "properties": {
                "$ref": {"type": "integer"},
                "$id": {"$ref": "#/properties/$ref"},
                "default": {"$ref": "#/properties/$ref"},
                "x": {"const": {"$ref": "#nowhere"}},
            }
        },
        {"$ref": 1, "$id": 2, "default": 3, "x": {"$ref": "#nowhere"}},
        {"default": "x"},
    ),
    "closed": (
        {
            "type": "object",
            "properties": {"n": {"type": "integer"}},
            "additionalProperties": False,
        },
        {"n": 1},
        {"n": "x"},
    ),
    "composed": (
        {
            "allOf": [
                {"properties": {"n": {"type": "integer"}}, "required": ["n"]},
                {"properties": {"n": {"minimum": 1}}},
            ],
            "unevaluatedProperties": False,
        },
        {"n": 1},
        {"n": 0},
    ),
}


@pytest.mark.parametrize("name", SCHEMAS)
def test_schemas_mean_in_the_document_what_they_mean_alone(
    admin: httpx.Client, anonymous: httpx.Client, name: str
) -> None:
    schema, good, bad = SCHEMAS[name]
    path = put(admin, name, schema)
    created = anonymous.post(path, json=good)
    assert created.status_code == 201, created.text
    assert anonymous.post(path, json=bad).status_code == 422
    found = document(anonymous)

    for key, value in keywords([found["paths"], *found["components"]["schemas"].values()]):
        assert key not in ("$id", "$schema", "$anchor", "$dynamicAnchor", "$dynamicRef")
        if key == "$ref":
            resolve(found, value)
    body = found["paths"][path]["post"]["requestBody"]["content"]["application/json"]["schema"]
    validator = jsonschema_rs.Draft202012Validator(
        {"components": found["components"], "allOf": [body]}
    )
    assert validator.is_valid(good)
    assert not validator.is_valid(bad)
    record = validator_of(found, path, "post", "201")
    assert not list(record.iter_errors(created.json()))
    assert not record.is_valid({**created.json(), **bad})
    assert not record.is_valid({"id": created.json()["id"], **good})


def test_items_of_lists_are_typed_and_may_lack_fields(
    admin: httpx.Client, anonymous: httpx.Client
) -> None:
    properties = {"title": {"type": "string"}, "year": {"type": "integer"}}
    path = put(admin, "listed", {"properties": properties, "required": ["title"]})
    anonymous.post(path, json={"title": "Moby Dick", "year": 1851})
    page = validator_of(document(anonymous), path, "get", "200")
    for fields in ("", "year", "title,version"):
        answer = anonymous.get(path, params={"fields": fields} if fields else {}).json()
        assert not list(page.iter_errors(answer)), fields
    assert not page.is_valid({"items": [{"id": answer["items"][0]["id"], "year": "x"}],
                              "next": None, "prev": None})  # fmt: skip


EXAMPLES: dict[str, tuple[dict[str, Any], Any]] = {
    "authors": ({"examples": [{"n": 1}], "properties": {"n": {"type": "integer"}}}, {"n": 1}),
    "plain": (
        {
            "required": ["title"],
            "properties": {
                "title": {"type": "string", "minLength": 6, "maxLength": 8},
                "email": {"type": ["string", "null"], "format": "email"},
                "year": {"type": "integer", "minimum": 1450.5},
                "share": {"type": "number", "exclusiveMinimum": 0, "maximum": 0.5},
                "kind": {"enum": ["novel", "play"]},
                "state": {"const": "new"},
                "copies": {"type": "integer", "default": 3},
                "lent": {"type": "boolean"},
                "tags": {"type": "array", "items": {"$ref": "#/$defs/tag"}},
                "size": {
                    "type": "object",
                    "required": ["width"],
                    "properties": {"width": {"type": "integer", "maximum": -1}},
                },
                "isbn": {"type": "string", "pattern": "^97[89]"},
            },
            "$defs": {"tag": {"type": "string", "examples": ["whales"]}},
        },
        {
            "title": "text..",
            "email": "ada@example.com",
            "year": 1451,
            "share": 0.5,
            "kind": "novel",
            "state": "new",
            "copies": 3,
            "lent": True,
            "tags": ["whales"],
            "size": {"width": -1},
        },
    ),
    "optional": (
        {"properties": {"n": {"type": "integer"}, "even": {"type": "integer", "multipleOf": 2}}},
        {},
    ),
    "wrong": ({"examples": ["x", {"n": "x"}], "properties": {"n": {"type": "integer"}}}, {"n": 1}),
    "uncertain": (
        {"required": ["isbn"], "properties": {"isbn": {"type": "string", "pattern": "^97[89]"}}},
        None,
    ),
    "unchecked": (
        {"properties": {"p": {"$ref": "#/x-a"}}, "x-a": {"examples": 5, "type": "boolean"}},
        {"p": True},
    ),
    "unheard": (
        {"properties": {"p": {"$ref": "#/x-a"}}, "x-a": {"type": []}},
        {},
    ),
    "huge": (
        {"properties": {"n": {"type": "integer", "minimum": 10**400}, "m": {"type": "boolean"}}},
        {"n": 10**400, "m": True},
    ),
    "endless": (
        {
            "$ref": "#/$defs/node",
            "$defs": {"node": {"required": ["next"], "properties": {"next": {"$ref": "#"}}}},
        },
        None,
    ),
    "wide": (
        {
            "$defs": {"many": {"properties": {f"p{n}": {"$ref": "#"} for n in range(20)}}},
            "$ref": "#/$defs/many",
        },
        {},
    ),
}


@pytest.mark.parametrize("name", EXAMPLES)
def test_a_collection_takes_its_examples(
    admin: httpx.Client, anonymous: httpx.Client, name: str
) -> None:
    schema, expected = EXAMPLES[name]
    path = put(admin, f"example-{name}", schema)
    found = document(anonymous)
    schemas = found["components"]["schemas"]
    sent = schemas[f"example_Dash_{name}.input"].get("examples", [])
    read = schemas[f"example_Dash_{name}.record"].get("examples", [])
    if expected is None:
        assert (sent, read) == ([], [])
        return
    [example] = read
    own = {field: value for field, value in example.items() if field not in SYSTEM}
    assert anonymous.post(path, json=own).status_code == 201
    assert not list(validator_of(found, path, "post", "201").iter_errors(example))
    if name != "wide":
        assert own == expected
    assert sent == schema.get("examples", [own])


def test_a_schema_is_not_repeated_by_every_path(admin: httpx.Client) -> None:
    put(admin, "once", {"description": "b52f6d", "properties": {"p": {"pattern": "a7c1e9"}}})
    text = admin.get("/openapi.json").text
    # The schemas of requests, of answers, and of items of lists.
    assert text.count("a7c1e9") == 3


def test_the_document_tells_nothing_of_hidden_collections(
    admin: httpx.Client, anonymous: httpx.Client, ada: httpx.Client
) -> None:
    schema = {
        "title": "c81d4e2e title",
        "properties": {"c81d4e2e_p": {"$ref": "#/$defs/c81d4e2e_d"}},
        "$defs": {"c81d4e2e_d": {"type": "string", "default": "c81d4e2e example"}},
        "examples": [{"c81d4e2e_p": "c81d4e2e"}],
    }
    put(admin, "c81d4e2e-hidden", schema, {})
    # A caller who may write but not read learns no more.
    put(admin, "c81d4e2e-written", schema, {"create": "", "update": "", "delete": ""})
    put(admin, "shown", {"type": "object"}, {"list": ""})
    key = {"name": "key", "scopes": ["records:read"], "collections": ["shown"]}
    limited = admin.post("/auth/api-keys", json=key).json()["key"]
    assert "c81d4e2e" in admin.get("/openapi.json").text
    for client, headers in (
        (anonymous, {}),
        (ada, {}),
        (anonymous, {"Authorization": f"Bearer {limited}"}),
    ):
        text = client.get("/openapi.json", headers=headers).text
        assert "/collections/shown/records" in text
        assert "c81d4e2e" not in text
