"""The OpenAPI document: complete, typed per collection, limited to the caller's permissions."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Any

import pytest
import redis
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    response_schema_conformance,
    status_code_conformance,
)

from fixtures.cluster import database
from fixtures.redis import redis_store
from fixtures.rules import ANYONE
from fixtures.server import serving
from fixtures.server import settings as configured

if TYPE_CHECKING:
    from collections.abc import Iterator

    import httpx

    from fixtures.server import Server

SCHEMA = {
    "type": "object",
    "required": ["title"],
    "properties": {
        "title": {"type": "string", "maxLength": 50, "examples": ["Moby Dick"]},
        "year": {"type": "integer"},
        "tags": {"type": "array", "items": {"type": "string"}},
        "parent": {"$ref": "#/$defs/parent"},
    },
    "$defs": {"parent": {"type": ["string", "null"], "format": "uuid"}},
}


@pytest.fixture(scope="module")
def document(admin: httpx.Client) -> dict[str, Any]:
    return document_of_collections(admin)


def document_of_collections(admin: httpx.Client) -> dict[str, Any]:
    """The document with collections of each kind."""
    open_ = ANYONE
    for name, rules in (("books", open_), ("read-only", {"list": "", "read": ""}), ("hidden", {})):
        assert admin.put(f"/collections/{name}", json={"schema": SCHEMA, "rules": rules}).is_success
    found: dict[str, Any] = admin.get("/openapi.json").json()
    return found


def test_every_collection_has_its_typed_paths(document: dict[str, Any]) -> None:
    paths = document["paths"]
    created = paths["/collections/books/records"]["post"]
    body = created["requestBody"]["content"]["application/json"]["schema"]["$ref"]
    schema = document["components"]["schemas"][body.removeprefix("#/components/schemas/")]
    assert schema["properties"]["title"] == SCHEMA["properties"]["title"]  # type: ignore[index]
    assert set(paths["/collections/books/records/{record_id}"]) == {"get", "put", "patch", "delete"}
    assert "/collections/hidden/records" in paths


def test_operations_are_complete(document: dict[str, Any]) -> None:
    ids = []
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            ids.append(operation["operationId"])
            assert operation["tags"], path
            assert operation["responses"], path
            declared = {name for p in operation.get("parameters", ()) for name in [p["name"]]}
            assert set(re.findall(r"{(\w+)}", path)) <= declared, path
            for status, response in operation["responses"].items():
                if int(status) >= 400:
                    assert response == {"$ref": f"#/components/responses/{status}"}, (path, method)
                    problem = document["components"]["responses"][status]
                    assert set(problem["content"]) == {"application/problem+json"}
    assert len(ids) == len(set(ids))
    assert set(document["components"]["securitySchemes"]) == {"accessToken", "apiKey"}


@pytest.mark.parametrize(
    ("path", "method", "fields"),
    [
        ("/collections/{collection}", "put", {"If-Match", "If-None-Match"}),
        ("/collections/{collection}", "delete", {"If-Match"}),
        ("/collections/books/records/{record_id}", "put", {"If-Match", "If-None-Match"}),
        ("/collections/books/records/{record_id}", "patch", {"If-Match"}),
        ("/collections/books/records/{record_id}", "delete", {"If-Match"}),
        ("/collections/books/records/{record_id}", "get", {"If-None-Match"}),
    ],
)
def test_preconditions_are_documented(
    document: dict[str, Any], path: str, method: str, fields: set[str]
) -> None:
    operation = document["paths"][path][method]
    told = {each["name"] for each in operation["parameters"] if each["in"] == "header"}
    assert told - {"Idempotency-Key"} == fields
    assert ("304" if method == "get" else "412") in operation["responses"]


def test_the_page_would_send_nothing_optional(document: dict[str, Any]) -> None:
    for path, operations in document["paths"].items():
        for each in (each for one in operations.values() for each in one.get("parameters", ())):
            if not each.get("required") and path.startswith("/collections"):
                schema = each["schema"]
                assert not {"example", "examples", "default"} & {*each, *schema}, (path, each)


def test_the_definition_that_the_page_shows_is_accepted(
    document: dict[str, Any], admin: httpx.Client
) -> None:
    operation = document["paths"]["/collections/{collection}"]["put"]
    body = operation["requestBody"]["content"]["application/json"]["schema"]["examples"][0]
    name = operation["parameters"][0]["schema"]["example"]
    assert admin.put(f"/collections/{name}-as-shown", json=body).status_code == 201


def test_the_pattern_of_names_of_collections_is_documented(document: dict[str, Any]) -> None:
    for operation in document["paths"]["/collections/{collection}"].values():
        [name] = [each for each in operation["parameters"] if each["name"] == "collection"]
        assert re.match(name["schema"]["pattern"], "my-books_2")
        assert not re.match(name["schema"]["pattern"], "Books")


def test_other_callers_see_the_paths_that_they_may_use(
    document: dict[str, Any], anonymous: httpx.Client, ada: httpx.Client
) -> None:
    for client in (anonymous, ada):
        paths = client.get("/openapi.json").json()["paths"]
        assert "/collections/books/records" in paths
        assert set(paths["/collections/read-only/records"]) == {"get"}
        assert set(paths["/collections/read-only/records/{record_id}"]) == {"get"}
        assert "/collections/read-only/records:batch" not in paths
        assert not [path for path in paths if "hidden" in path]


@pytest.mark.parametrize(
    ("rule", "methods"), [("create", {"get", "put"}), ("update", {"get", "put", "patch"})]
)
def test_a_path_that_one_of_several_rules_allows_is_shown(
    admin: httpx.Client, anonymous: httpx.Client, rule: str, methods: set[str]
) -> None:
    rules = {"list": "", "read": "", rule: ""}
    admin.put(f"/collections/only-{rule}", json={"schema": SCHEMA, "rules": rules})
    paths = anonymous.get("/openapi.json").json()["paths"]
    base = f"/collections/only-{rule}/records"
    assert set(paths[base + "/{record_id}"]) == methods
    assert set(paths[base + ":batch"]) == {"post"}


def test_the_document_follows_the_definitions(admin: httpx.Client) -> None:
    admin.put("/collections/passing", json={"schema": SCHEMA, "rules": {"list": ""}})
    assert "/collections/passing/records" in admin.get("/openapi.json").json()["paths"]
    admin.delete("/collections/passing?confirm=passing")
    assert "/collections/passing/records" not in admin.get("/openapi.json").json()["paths"]


def test_one_collections_large_number_leaves_the_document_to_all(
    admin: httpx.Client, anonymous: httpx.Client
) -> None:
    schema = {"properties": {"n": {"type": "integer", "maximum": 10**30}}}
    admin.put("/collections/large", json={"schema": schema, "rules": {"list": ""}})
    response = anonymous.get("/openapi.json")
    assert response.status_code == 200
    assert str(10**30) in response.text


def test_documents_take_no_room_on_redis(cluster_url: str) -> None:
    with (
        redis_store() as redis_url,
        database(cluster_url) as url,
        serving(configured(url, redis_url=redis_url)) as server,
        redis.Redis.from_url(redis_url) as store,
    ):
        admin = server.admin()
        first = admin.get("/openapi.json")
        assert admin.get("/openapi.json").content == first.content
        assert not [key for key in store.scan_iter() if b"openapi" in key]


@pytest.fixture
def own_server(cluster_url: str) -> Iterator[Server]:
    with database(cluster_url) as url, serving(configured(url)) as running:
        yield running


def test_any_request_gets_a_documented_answer(own_server: Server) -> None:
    """schemathesis: requests made from the document, sound and unsound, over HTTP.

    Some of them change the collections that other tests rely on.
    """
    admin = own_server.admin()
    found = document_of_collections(admin)
    # A log-out would end the session of all other requests.
    del found["paths"]["/auth/logout"]["post"]
    schema = schemathesis.openapi.from_dict(found)
    schema.config.update(base_url=own_server.url)
    operations = [
        result.ok()
        for result in schema.get_all_operations()
        if isinstance(result, schemathesis.core.result.Ok)
    ]
    assert len(operations) > 20
    token = str(admin.headers["authorization"])

    @settings(
        max_examples=int(os.environ.get("EXAMPLES", "150")),
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
        deadline=None,
    )
    @given(st.data())
    def one(data: st.DataObject) -> None:
        operation = data.draw(st.sampled_from(operations), label="operation")
        mode = data.draw(st.sampled_from(list(schemathesis.GenerationMode)), label="mode")
        case = data.draw(operation.as_strategy(generation_mode=mode), label="case")
        case.call_and_validate(
            headers={"Authorization": token},
            checks=[not_a_server_error, status_code_conformance, response_schema_conformance],
        )

    one()
