"""Defining collections: accepted and refused definitions, and the effect on records."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest

if TYPE_CHECKING:
    import httpx

OBJECT = {"type": "object"}
TAGGED = {"properties": {"tags": {"type": "array"}}}


def put(client: httpx.Client, name: str, body: dict[str, Any], **headers: str) -> httpx.Response:
    return client.put(f"/collections/{name}", json=body, headers=headers)


def test_defining_twice_is_harmless(admin: httpx.Client) -> None:
    body = {"schema": {"type": "object", "properties": {"b": {}, "a": {}}}, "indexes": ["a"]}
    first = put(admin, "twice", body)
    second = put(admin, "twice", body)
    assert (first.status_code, second.status_code) == (201, 200)
    assert first.json()["version"] == second.json()["version"] == 1
    # The order of the properties is the author's.
    assert list(second.json()["schema"]["properties"]) == ["b", "a"]
    assert second.json()["indexes"] == [{"fields": ["a"], "state": "ready"}]


def test_preconditions_guard_a_definition(admin: httpx.Client) -> None:
    absent = {"If-None-Match": "*"}
    assert put(admin, "guarded", {"schema": OBJECT}, **absent).status_code == 201
    assert put(admin, "guarded", {"schema": OBJECT}, **absent).status_code == 412
    changed = {"schema": {"type": "object", "title": "x"}}
    assert put(admin, "guarded", changed, **{"If-Match": '"9"'}).status_code == 412
    response = put(admin, "guarded", changed, **{"If-Match": '"1"'})
    assert response.headers["etag"] == '"2"'
    assert put(admin, "guarded", changed, **{"If-Match": '"9", "2"'}).status_code == 200
    assert put(admin, "guarded", changed, **{"If-Match": "*"}).status_code == 200
    # A compressing proxy passes on such tags.
    for marked in ('W/"2"', '"2-gzip"'):
        assert put(admin, "guarded", changed, **{"If-Match": marked}).status_code == 200
    for other in ('W/"1"', '"1-gzip"'):
        assert put(admin, "guarded", changed, **{"If-Match": other}).status_code == 412
        assert admin.delete("/collections/guarded?confirm=guarded",
                            headers={"If-Match": other}).status_code == 412  # fmt: skip
    gone = admin.delete("/collections/guarded?confirm=guarded", headers={"If-Match": 'W/"2"'})
    assert gone.status_code == 204


@pytest.mark.parametrize("tags", ["*", '"1"'])
def test_if_match_creates_no_collection(admin: httpx.Client, tags: str) -> None:
    assert put(admin, "unborn", {"schema": OBJECT}, **{"If-Match": tags}).status_code == 412
    assert admin.get("/collections/unborn").status_code == 404


@pytest.mark.parametrize("headers", [
    {"If-None-Match": '"3"'}, {"If-None-Match": "*", "If-Match": "*"}, {"If-Match": "3"},
])  # fmt: skip
def test_preconditions_that_mean_nothing_are_refused(
    admin: httpx.Client, headers: dict[str, str]
) -> None:
    response = put(admin, "unborn", {"schema": OBJECT}, **headers)
    assert response.status_code == 400
    assert response.json()["code"] == "invalid_precondition"


def test_a_collection_that_changed_meanwhile_is_not_deleted(admin: httpx.Client) -> None:
    put(admin, "spared", {"schema": OBJECT})
    url = "/collections/spared?confirm=spared"
    assert admin.delete(url, headers={"If-Match": '"2"'}).status_code == 412
    assert admin.get("/collections/spared").status_code == 200
    assert admin.delete(url, headers={"If-Match": '"2", "1"'}).status_code == 204


@pytest.mark.parametrize("name", ["A", "1a", "a b", "a.b", "é", "a" * 49, "a;drop", "_a", "-"])
def test_invalid_names_are_refused(admin: httpx.Client, name: str) -> None:
    response = put(admin, name, {"schema": OBJECT})
    assert response.status_code == 400
    assert response.json()["code"] == "invalid_collection_name"


@pytest.mark.parametrize("name", ["a", "select", "user", "table", "a-b_c9", "a" * 48])
def test_valid_names_are_accepted(admin: httpx.Client, name: str) -> None:
    body = {"schema": OBJECT, "rules": {"create": "", "read": ""}, "indexes": ["x", ["y", "-x"]]}
    assert put(admin, name, body).status_code == 201
    response = admin.post(f"/collections/{name}/records", json={"x": 1})
    assert response.status_code == 201
    assert admin.get(response.headers["location"]).json()["x"] == 1


@pytest.mark.parametrize(
    ("schema", "pointer", "code"),
    [
        ({"type": "strin"}, "/schema/type", "invalid_schema"),
        ({"type": "array"}, "/schema/type", "invalid_schema"),
        ({"properties": {"a": {"type": 1}}}, "/schema/properties/a/type", "invalid_schema"),
        ({"properties": {"id": {}}}, "/schema/properties/id", "reserved_name"),
        ({"properties": {"a": {"$ref": "https://example.com/x"}}},
         "/schema/properties/a/$ref", "remote_reference"),
        ({"properties": {"a": {"$ref": "file:///etc/passwd"}}},
         "/schema/properties/a/$ref", "remote_reference"),
        ({"$ref": "#/$defs/none"}, "/schema", "invalid_schema"),
        ({"properties": {"a": {"pattern": "(?=x)"}}},
         "/schema/properties/a/pattern", "invalid_schema"),
        ({"properties": {"a": {"pattern": "("}}}, "/schema/properties/a/pattern", "invalid_schema"),
        ({"$schema": "http://json-schema.org/draft-07/schema#"},
         "/schema/$schema", "unsupported_dialect"),
        ({"$schema": 5}, "/schema/$schema", "unsupported_dialect"),
        ({"minProperties": -1}, "/schema/minProperties", "invalid_schema"),
        ({"properties": []}, "/schema/properties", "invalid_schema"),
        ({"properties": 5}, "/schema/properties", "invalid_schema"),
        ({"properties": True}, "/schema/properties", "invalid_schema"),
    ],
)  # fmt: skip
def test_invalid_schemas_are_refused(
    admin: httpx.Client, schema: dict[str, Any], pointer: str, code: str
) -> None:
    response = put(admin, "refused", {"schema": schema})
    assert response.status_code == 422, response.text
    error = response.json()["errors"][0]
    assert (error["pointer"], error["code"]) == (pointer, code)
    assert admin.get("/collections/refused").status_code == 404


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({"schema": OBJECT, "rules": {"read": "a ="}}, "/rules/read"),
        ({"schema": OBJECT, "rules": {"read": "@user.name = 1"}}, "/rules/read"),
        ({"schema": OBJECT, "rules": {"write": ""}}, "/rules/write"),
        ({"schema": OBJECT, "rules": {"read": 5}}, "/rules/read"),
        ({"schema": {**OBJECT, "additionalProperties": False}, "rules": {"read": "a = 1"}},
         "/rules/read"),
        ({"schema": OBJECT, "indexes": ["a b"]}, "/indexes/0"),
        ({"schema": OBJECT, "indexes": [[]]}, "/indexes/0"),
        ({"schema": OBJECT, "indexes": ["a", ["a"]]}, "/indexes/1"),
        ({"schema": OBJECT, "indexes": [list("abcdef")]}, "/indexes/0"),
        ({"schema": OBJECT, "indexes": ["a,b"]}, "/indexes/0"),
        ({"schema": OBJECT, "indexes": ["a", ["b", "c,d"]]}, "/indexes/1"),
        ({"schema": OBJECT, "indexes": [""]}, "/indexes/0"),
        ({"schema": OBJECT, "indexes": ["a", "`a`"]}, "/indexes/1"),
        ({"schema": TAGGED, "indexes": ["a", ["tags", "a"]]}, "/indexes/1"),
        ({"schema": TAGGED, "indexes": [["-created_at", "tags"]]}, "/indexes/0"),
        ({"schema": OBJECT, "indexes": "a"}, "/indexes"),
        ({"schema": OBJECT, "search": {}}, "/search"),
        ({"schema": []}, "/schema"),
        ({"json_schema": OBJECT}, "/schema"),
        ({}, "/schema"),
    ],
)  # fmt: skip
def test_invalid_definitions_are_refused(
    admin: httpx.Client, body: dict[str, Any], pointer: str
) -> None:
    response = put(admin, "refused", body)
    assert response.status_code == 422, response.text
    assert response.json()["errors"][0]["pointer"].startswith(pointer)


def test_a_schema_that_records_fail_changes_nothing(admin: httpx.Client) -> None:
    path = "/collections/strict/records"
    put(admin, "strict", {"schema": OBJECT})
    ids = [admin.post(path, json={"n": n}).json()["id"] for n in ("a", 1, "b")]
    wanted = {"schema": {"type": "object", "properties": {"n": {"type": "integer"}}}}
    response = put(admin, "strict", wanted)
    assert response.status_code == 409
    assert response.json()["records"] == [ids[0], ids[2]]
    assert response.json()["errors"][0]["pointer"] == "/n"
    assert admin.get("/collections/strict").json()["version"] == 1
    assert admin.post(path, json={"n": "c"}).status_code == 201
    admin.patch(f"{path}/{ids[0]}", json={"n": 0})
    admin.delete(f"{path}/{ids[2]}")
    for item in admin.get(path).json()["items"]:
        if item["n"] == "c":
            admin.delete(f"{path}/{item['id']}")
    assert put(admin, "strict", wanted).status_code == 200
    assert admin.post(path, json={"n": "c"}).status_code == 422


@pytest.mark.parametrize(
    ("before", "after"), [({"const": 1}, {"const": True}), ({"enum": [False]}, {"enum": [0]})]
)
def test_a_number_and_a_boolean_in_a_schema_are_not_the_same(
    admin: httpx.Client, before: dict[str, Any], after: dict[str, Any]
) -> None:
    name = f"c{uuid4().hex}"
    put(admin, name, {"schema": {"properties": {"n": before}}})
    value = before.get("const", False)
    assert admin.post(f"/collections/{name}/records", json={"n": value}).status_code == 201
    assert put(admin, name, {"schema": {"properties": {"n": after}}}).status_code == 409


def test_deleting_asks_for_the_name(admin: httpx.Client, ada: httpx.Client) -> None:
    put(admin, "doomed", {"schema": OBJECT, "rules": {"list": "", "create": ""}})
    ada.post("/collections/doomed/records", json={})
    assert admin.delete("/collections/doomed").status_code == 400
    assert admin.delete("/collections/doomed?confirm=other").status_code == 400
    assert ada.delete("/collections/doomed?confirm=doomed").status_code == 403
    assert admin.delete("/collections/doomed?confirm=doomed").status_code == 204
    assert ada.get("/collections/doomed/records").status_code == 404
    assert admin.delete("/collections/doomed?confirm=doomed").status_code == 404
    put(admin, "doomed", {"schema": OBJECT, "rules": {"list": ""}})
    assert ada.get("/collections/doomed/records").json()["items"] == []


def test_names_that_look_like_those_of_indexes_are_accepted(admin: httpx.Client) -> None:
    """Tables and indexes share a namespace in PostgreSQL."""
    assert put(admin, "meeting", {"schema": OBJECT}).status_code == 201
    for name in ("meeting_pkey", "meeting_id"):
        assert put(admin, name, {"schema": OBJECT}).status_code == 201
