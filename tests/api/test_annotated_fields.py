"""Fields with a default, fields that only admins write, fields that nobody reads."""

from __future__ import annotations

import json
import tracemalloc
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest

from app.collections.json_schema.keywords import Annotations
from fixtures.rules import ANYONE

if TYPE_CHECKING:
    import httpx

SYSTEM = {"id", "version", "created_at", "updated_at", "owner"}


def define(admin: httpx.Client, schema: dict[str, Any], **more: Any) -> str:
    name = f"annotated_{uuid4().hex[:12]}"
    made = admin.put(f"/collections/{name}", json={"schema": schema, "rules": ANYONE, **more})
    assert made.status_code == 201, made.text
    return f"/collections/{name}/records"


def own(answer: httpx.Response) -> dict[str, Any]:
    assert answer.is_success, answer.text
    return {key: value for key, value in answer.json().items() if key not in SYSTEM}


@pytest.mark.parametrize(
    ("schema", "at"),
    [
        ({"required": ["id"]}, "/required/0"),
        ({"required": ["title", "version"]}, "/required/1"),
        ({"allOf": [{}, {"required": ["owner"]}]}, "/allOf/1/required/0"),
        ({"anyOf": [{"required": ["owner"]}]}, "/anyOf/0/required/0"),
        ({"dependentRequired": {"title": ["created_at"]}}, "/dependentRequired/title/0"),
        ({"dependentRequired": {"id": ["title"]}}, "/dependentRequired/id"),
        ({"dependentSchemas": {"a": {"required": ["id"]}}}, "/dependentSchemas/a/required/0"),
        ({"if": {}, "then": {"required": ["updated_at"]}}, "/then/required/0"),
        ({"$ref": "#/$defs/a", "$defs": {"a": {"required": ["id"]}}}, "/$defs/a/required/0"),
        ({"allOf": [{"properties": {"id": {}}}]}, "/allOf/0/properties/id"),
        ({"properties": {"owner": {}}}, "/properties/owner"),
        ({"const": {"id": 1}}, "/const/id"),
    ],
)  # fmt: skip
def test_a_schema_that_asks_for_fields_of_the_server_is_refused(
    admin: httpx.Client, schema: dict[str, Any], at: str
) -> None:
    answer = admin.put("/collections/reserving", json={"schema": schema})
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_definition")
    fault = answer.json()["errors"][0]
    assert (fault["pointer"], fault["code"]) == (f"/schema{at}", "reserved_name")


@pytest.mark.parametrize(
    "schema",
    [
        {"properties": {"book": {"required": ["id"], "properties": {"id": {}}}}},
        {"not": {"required": ["id"]}},
        {"properties": {"books": {"items": {"required": ["owner"]}}}},
    ],
)
def test_below_the_record_these_are_names_like_others(
    admin: httpx.Client, schema: dict[str, Any]
) -> None:
    path = define(admin, schema)
    assert admin.post(path, json={}).status_code == 201


DEFAULTS = {
    "properties": {
        "state": {"default": "draft"},
        "count": {"type": "integer", "default": 0},
        "none": {"default": None},
        "money": {"type": "object", "properties": {"currency": {"default": "EUR"}, "sum": {}}},
        "place": {"$ref": "#/$defs/place"},
    },
    "allOf": [{"properties": {"merged": {"default": [1]}}}],
    "anyOf": [{"properties": {"branch": {"default": 1}}}],
    "required": ["state"],
    "$defs": {"place": {"properties": {"land": {"default": "ES"}}, "default": {"land": "PT"}}},
}
FILLED = {"state": "draft", "count": 0, "none": None, "place": {"land": "PT"}, "merged": [1]}


def test_defaults_fill_what_is_absent(anonymous: httpx.Client, admin: httpx.Client) -> None:
    path = define(admin, DEFAULTS)
    assert own(anonymous.post(path, json={})) == FILLED
    given = {"state": "x", "count": None, "none": 1, "place": {}, "money": {"sum": 1}}
    refused = anonymous.post(path, json=given)
    assert refused.json()["errors"][0]["pointer"] == "/count"
    given["count"] = 7
    made = own(anonymous.post(path, json=given))
    assert made == {
        **given, "place": {"land": "ES"}, "merged": [1], "money": {"sum": 1, "currency": "EUR"}
    }  # fmt: skip


def test_defaults_fill_creates_of_a_batch_and_replacements_but_no_patches(
    anonymous: httpx.Client, admin: httpx.Client
) -> None:
    path = define(admin, DEFAULTS)
    operations = [{"op": "create", "data": {}}, {"op": "create", "data": {"count": 2}}]
    made = anonymous.post(f"{path}:batch", json={"operations": operations}).json()["results"]
    assert own(anonymous.get(f"{path}/{made[0]['id']}")) == FILLED
    assert own(anonymous.get(f"{path}/{made[1]['id']}")) == {**FILLED, "count": 2}
    one = f"{path}/{made[0]['id']}"
    assert own(anonymous.put(one, json={"count": 3})) == {**FILLED, "count": 3}
    assert "count" not in own(anonymous.patch(one, json={"count": None}))
    new = anonymous.put(f"{path}/{uuid4()}", json={}, headers={"If-None-Match": "*"})
    assert own(new) == FILLED


def test_digits_stay_as_they_came_where_defaults_are_filled_in(
    anonymous: httpx.Client, admin: httpx.Client
) -> None:
    path = define(admin, DEFAULTS)
    text = '{"price": 1.50, "large": 123456789012345678901234567890, "money": {"sum": 0.10}}'
    made = anonymous.post(path, content=text, headers={"Content-Type": "application/json"}).text
    for digits in ("1.50", "123456789012345678901234567890", '"sum": 0.10'):
        assert digits in made


TREE = {
    "properties": {"a": {"$ref": "#"}, "b": {"$ref": "#"}, "tag": {"default": "x" * 1000}},
}


def test_defaults_find_their_objects(anonymous: httpx.Client, admin: httpx.Client) -> None:
    path = define(admin, TREE)
    filled: dict[str, Any] = {"tag": "x" * 1000}
    given: dict[str, Any] = {
        "c": [{"a": {}}, "{"],
        "a": {"{": '"{', "a": {}},
        "d": {"a": {}},
        "b": {"tag": None},
    }
    expected: dict[str, Any] = {
        **given, **filled,
        "a": {"{": '"{', "a": filled, **filled},
    }  # fmt: skip
    assert own(anonymous.post(path, json=given)) == expected


def test_defaults_do_not_make_a_large_record_of_a_small_one(
    anonymous: httpx.Client, admin: httpx.Client
) -> None:
    path = define(admin, TREE)
    record: dict[str, Any] = {}
    for _ in range(7):
        record = {"a": record, "b": record}
    answer = anonymous.post(path, json=record)
    assert (answer.status_code, answer.json()["code"]) == (413, "content_too_large")


def test_filling_in_a_deep_record_does_not_copy_it_for_each_level() -> None:
    value: dict[str, Any] = {"text": "y" * 1_000_000}
    for _ in range(50):
        value = {"a": value}
    text = json.dumps(value)
    annotations = Annotations(TREE)
    tracemalloc.start()
    filled = annotations.filled(text, value)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert filled.count('"tag":') == 51
    assert peak < 3 * len(filled)


READ_ONLY = {
    "properties": {"title": {"type": "string"}, "checked": {"$ref": "#/$defs/checked"}},
    "allOf": [{"properties": {"score": {"type": "number", "readOnly": True, "default": 1}}}],
    "$defs": {"checked": {"readOnly": True}},
}


def test_only_admins_write_read_only_fields(ada: httpx.Client, admin: httpx.Client) -> None:
    path = define(admin, READ_ONLY)

    def refused(answer: httpx.Response, pointer: str) -> None:
        assert (answer.status_code, answer.json()["code"]) == (422, "invalid_record")
        fault = answer.json()["errors"][0]
        assert (fault["pointer"], fault["code"]) == (pointer, "read_only")

    refused(ada.post(path, json={"checked": True}), "/checked")
    batch = {"operations": [{"op": "create", "data": {}}, {"op": "create", "data": {"score": 2}}]}
    refused(ada.post(f"{path}:batch", json=batch), "/operations/1/data/score")
    made = ada.post(path, json={"title": "a"})
    assert own(made) == {"title": "a", "score": 1}
    one = f"{path}/{made.json()['id']}"
    for value in (True, None):
        refused(ada.patch(one, json={"checked": value}), "/checked")
        refused(ada.put(one, json={"checked": value}), "/checked")
    assert own(admin.patch(one, json={"checked": True, "score": 2.50}))["checked"] is True
    # Replacing leaves read-only fields as they are.
    assert own(ada.put(one, json={"title": "b"})) == {"title": "b", "checked": True, "score": 2.5}
    assert own(ada.patch(one, json={"title": "c"}))["checked"] is True
    stale = ada.put(one, json={"title": "d"}, headers={"If-Match": '"1"'})
    assert stale.status_code == 412
    assert own(admin.put(one, json={"title": "e"})) == {"title": "e", "score": 1}


WRITE_ONLY = {
    "type": "object",
    "properties": {"title": {"type": "string"}, "it's data": {"type": "string", "writeOnly": True}},
    "required": ["title", "it's data"],
    "anyOf": [{"properties": {"title": {"maxLength": 9}}}],
    "additionalProperties": False,
}


@pytest.mark.parametrize("cache", [None, {"list": "30s"}])
def test_write_only_fields_are_never_read(
    anonymous: httpx.Client, admin: httpx.Client, cache: dict[str, str] | None
) -> None:
    path = define(admin, WRITE_ONLY, cache=cache)
    sent = {"title": "a", "it's data": "hidden"}
    made = anonymous.post(path, json=sent)
    one = f"{path}/{made.json()['id']}"
    answers = [
        made,
        anonymous.put(one, json=sent),
        anonymous.patch(one, json={"title": "b"}),
        anonymous.patch(one, json={"title": "b"}),
        *(client.get(url) for client in (anonymous, admin) for url in (one, path)),
        anonymous.get(path, params={"fields": "title", "filter": 'title = "b"', "sort": "title"}),
        anonymous.patch(one, json={"title": "far too long to be one"}),
        anonymous.patch(one, json={"other": 1}),
    ]
    assert [answer.status_code for answer in answers] == [201, *[200] * 8, 422, 422]
    for answer in answers:
        assert "hidden" not in answer.text
        assert "it's data" not in answer.text or answer.status_code == 422
    assert own(anonymous.get(one)) == {"title": "b"}


@pytest.mark.parametrize(
    "query",
    [
        {"filter": '`it\'s data` = "x"'},
        {"filter": 'title = "x" or `it\'s data`.a is null'},
        {"sort": "-`it's data`"},
        {"fields": "`it's data`"},
    ],
)
def test_lists_cannot_ask_about_write_only_fields(
    anonymous: httpx.Client, admin: httpx.Client, query: dict[str, str]
) -> None:
    path = define(admin, WRITE_ONLY)
    for client in (anonymous, admin):
        answer = client.get(path, params=query)
        assert (answer.status_code, answer.json()["code"]) == (400, "unknown_field"), answer.text


def test_a_guess_at_a_write_only_field_is_not_told_by_the_version(
    anonymous: httpx.Client, admin: httpx.Client
) -> None:
    path = define(admin, WRITE_ONLY)
    sent = {"title": "a", "it's data": "hidden"}
    one = f"{path}/{anonymous.post(path, json=sent).json()['id']}"
    guesses = [{"it's data": "hidden"}, {"it's data": "other"}, {"it's data": "other"}]
    versions = [anonymous.patch(one, json=guess).json()["version"] for guess in guesses]
    versions.append(anonymous.put(one, json={**sent, "it's data": "other"}).json()["version"])
    assert versions == [2, 3, 4, 5]


def test_rules_may_ask_about_write_only_fields(
    anonymous: httpx.Client, admin: httpx.Client
) -> None:
    path = define(admin, WRITE_ONLY, rules={**ANYONE, "list": '`it\'s data` = "shown"'})
    for text in ("shown", "other"):
        anonymous.post(path, json={"title": text, "it's data": text})
    assert [item["title"] for item in anonymous.get(path).json()["items"]] == ["shown"]


def test_the_document_has_write_only_fields_in_requests_alone(admin: httpx.Client) -> None:
    path = define(admin, WRITE_ONLY)
    name = path.split("/")[2]
    schemas = admin.get("/openapi.json").json()["components"]["schemas"]
    assert "it's data" in schemas[f"{name}.input"]["properties"]
    for kind in ("record", "item"):
        described = schemas[f"{name}.{kind}"]
        assert "it's data" not in described["properties"]
        assert "it's data" not in described["required"]
        assert "it's data" not in str(described.get("examples"))


SHARED = {"$ref": "#/$defs/s"}


def test_own_fields_share_a_definition(anonymous: httpx.Client, admin: httpx.Client) -> None:
    schema = {
        "$ref": "#/$defs/record",
        "$defs": {
            "record": {"properties": {"pin": SHARED, "puk": {"allOf": [SHARED]}, "name": {}}},
            "s": {"writeOnly": True},
        },
    }
    path = define(admin, schema)
    assert own(anonymous.post(path, json={"pin": 1, "puk": 2, "name": "a"})) == {"name": "a"}


@pytest.mark.parametrize("keyword", ["readOnly", "writeOnly"])
@pytest.mark.parametrize(
    ("schema", "at"),
    [
        ({"properties": {"a": {"properties": {"b": "X"}}}}, "/properties/a/properties/b"),
        ({"properties": {"a": {"items": "X"}}}, "/properties/a/items"),
        ({"anyOf": [{"properties": {"a": "X"}}]}, "/anyOf/0/properties/a"),
        ({"additionalProperties": "X"}, "/additionalProperties"),
        # The keyword counts only for own fields; these definitions serve other places, too.
        (
            {"$defs": {"s": "X"}, "properties": {"a": SHARED, "b": {"items": SHARED}}},
            "/$defs/s",
        ),
        (
            {"$defs": {"s": "X"}, "properties": {"a": SHARED}, "patternProperties": {"b": SHARED}},
            "/$defs/s",
        ),
        ({"$defs": {"s": "X"}, "properties": {"a": SHARED}, "if": {"not": SHARED}}, "/$defs/s"),
        (
            {"properties": {"a": "X", "b": {"properties": {"c": {"$ref": "#/properties/a"}}}}},
            "/properties/a",
        ),
        (
            {
                "patternProperties": {"b": "X"},
                "properties": {"a": {"$ref": "#/patternProperties/b"}},
            },
            "/patternProperties/b",
        ),
        ({"$defs": {"s": "X", "t": SHARED}}, "/$defs/s"),
    ],
)
def test_a_keyword_that_would_not_be_heeded_is_refused(
    admin: httpx.Client, schema: dict[str, Any], at: str, keyword: str
) -> None:
    def put_in(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: put_in(each) for key, each in value.items()}
        if isinstance(value, list):
            return [put_in(each) for each in value]
        return {keyword: True} if value == "X" else value

    answer = admin.put("/collections/unheeded", json={"schema": put_in(schema)})
    fault = answer.json()["errors"][0]
    assert (fault["pointer"], fault["code"]) == (f"/schema{at}/{keyword}", "unheeded_keyword")
