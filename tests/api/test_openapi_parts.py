"""The OpenAPI document: cached per collection, charged to the rate limit, and bounded in size."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from app.ops import openapi
from app.records.openapi.paths import paths_of
from fixtures.cluster import database
from fixtures.server import serving, settings

if TYPE_CHECKING:
    from collections.abc import Iterator

    import httpx

    from fixtures.server import Server

SCHEMA = {
    "properties": {"parent": {"$ref": "#/$defs/parent"}},
    "$defs": {"parent": {"type": "string"}},
}
NAMES = [f"part-{number}" for number in range(8)]


@pytest.fixture(scope="module")
def alone(cluster_url: str) -> Iterator[Server]:
    """A server with eight collections and no others."""
    with database(cluster_url) as url, serving(settings(url)) as server:
        admin = server.admin()
        for name in NAMES:
            define(admin, name)
        yield server


def define(admin: httpx.Client, name: str, schema: dict[str, Any] = SCHEMA) -> None:
    body = {"schema": schema, "rules": {"list": "", "read": "", "create": ""}}
    assert admin.put(f"/collections/{name}", json=body).is_success


def limited(admin: httpx.Client, *names: str) -> dict[str, str]:
    body = {"name": "key", "scopes": ["records:read"], "collections": list(names)}
    return {"Authorization": f"Bearer {admin.post('/auth/api-keys', json=body).json()['key']}"}


@pytest.fixture
def described(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The collections whose paths are described anew."""
    found = []

    def noted(collection: Any, actor: Any) -> dict[str, Any]:
        found.append(collection.name)
        return paths_of(collection, actor)

    monkeypatch.setattr(openapi, "paths_of", noted)
    return found


def test_each_part_is_in_the_whole_as_it_is_alone(alone: Server) -> None:
    for client in (alone.admin(), alone.client()):
        whole = client.get("/openapi.json").json()
        base = client.get("/openapi.json", headers=limited(alone.admin(), NAMES[0])).json()
        paths, schemas = dict(base["paths"]), dict(base["components"]["schemas"])
        for name in NAMES:
            part = client.get(f"/openapi.json?collections={name}").json()
            assert f"/collections/{name}/records" in part["paths"]
            paths |= part["paths"]
            schemas |= part["components"]["schemas"]
        components = {**base["components"], "schemas": schemas}
        assert whole == {**base, "paths": paths, "components": components}


def test_another_set_of_collections_is_only_joined_anew(
    alone: Server, described: list[str]
) -> None:
    admin = alone.admin()
    for first in range(len(NAMES)):
        for last in range(first, len(NAMES)):
            names = NAMES[first : last + 1]
            paths = admin.get(f"/openapi.json?collections={','.join(names)}").json()["paths"]
            found = {path.split("/")[2] for path in paths if path.startswith("/collections/part-")}
            assert {name.partition(":")[0] for name in found} == set(names)
    described.clear()
    for number in range(4):
        key = limited(admin, *NAMES[number : number + 3])
        assert alone.client().get("/openapi.json", headers=key).status_code == 200
    assert len(described) == len(set(described)) <= 6


def test_a_change_describes_that_collection_anew(alone: Server, described: list[str]) -> None:
    admin = alone.admin()
    admin.get("/openapi.json")
    described.clear()
    define(admin, NAMES[0], {"properties": {"changed": {"type": "string"}}})
    schemas = admin.get("/openapi.json").json()["components"]["schemas"]
    assert "changed" in schemas["part_Dash_0.input"]["properties"]
    assert described == [NAMES[0]]


def test_a_client_that_has_the_document_gets_304(alone: Server) -> None:
    admin, anonymous = alone.admin(), alone.client()
    first = admin.get("/openapi.json")
    tag = first.headers["etag"]
    for given in (tag, f"W/{tag}"):
        again = admin.get("/openapi.json", headers={"If-None-Match": given})
        assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", tag)
    head = admin.head("/openapi.json")
    assert head.headers["content-length"] == str(len(first.content))
    assert head.headers["etag"] == tag
    assert anonymous.get("/openapi.json", headers={"If-None-Match": tag}).status_code == 200
    define(admin, NAMES[1], {"title": "changed"})
    assert admin.get("/openapi.json", headers={"If-None-Match": tag}).status_code == 200


def test_two_processes_give_the_document_one_tag(cluster_url: str) -> None:
    found = set()
    for _ in range(2):
        with database(cluster_url) as url, serving(settings(url)) as server:
            define(server.admin(), "shared")
            found.add(server.admin().get("/openapi.json").headers["etag"])
    assert len(found) == 1


def test_a_collection_that_is_named_must_be_visible(
    alone: Server, admin: httpx.Client, anonymous: httpx.Client
) -> None:
    admin.put("/collections/parts-hidden", json={"schema": {}})
    assert admin.get("/openapi.json?collections=parts-hidden").status_code == 200
    for name in ("parts-hidden", "parts-none", "", "a b"):
        answer = anonymous.get("/openapi.json", params={"collections": name})
        assert (answer.status_code, answer.json()["code"]) == (404, "collection_not_found")


@pytest.mark.parametrize(
    ("bound", "value", "described"),
    [("MAX_COLLECTIONS", 3, 3), ("MAX_BYTES", 105_000, 4), ("_MAX_COLLECTION_BYTES", 10, 0)],
)
def test_collections_that_do_not_fit_are_left_out_and_counted(
    cluster_url: str, monkeypatch: pytest.MonkeyPatch, bound: str, value: int, described: int
) -> None:
    monkeypatch.setattr(openapi, bound, value)
    with database(cluster_url) as url, serving(settings(url)) as server:
        admin = server.admin()
        for name in NAMES:
            define(admin, name)
        answer = admin.get("/openapi.json")
        found = answer.json()
        paths = [path for path in found["paths"] if path.endswith(":batch")]
        assert len(paths) == described
        left = len(NAMES) - described
        assert f" {left} of the collections are not described here" in found["info"]["description"]
        one = admin.get(f"/openapi.json?collections={NAMES[-1]}").json()
        assert (f"/collections/{NAMES[-1]}/records" in one["paths"]) == (described > 0)
        assert ("not described" in one["info"]["description"]) == (described == 0)
        admin.delete(f"/collections/{NAMES[-1]}", params={"confirm": NAMES[-1]})
        assert admin.get("/openapi.json").headers["etag"] != answer.headers["etag"]


def test_a_schema_that_is_too_large_is_not_even_described(
    alone: Server, described: list[str]
) -> None:
    admin = alone.admin()
    define(admin, "part-large", {"description": "x" * 200_000})
    try:
        answer = admin.get("/openapi.json")
        assert "/collections/part-large/records" not in answer.json()["paths"]
        assert "1 of the collections" in answer.json()["info"]["description"]
        assert "part-large" not in described
    finally:
        admin.delete("/collections/part-large?confirm=part-large")


def test_documents_are_counted_by_what_they_hold(cluster_url: str) -> None:
    with (
        database(cluster_url) as url,
        serving(settings(url, rate_limit_anonymous="100/hour")) as server,
    ):
        admin = server.admin()
        client = server.client()

        def left(answer: httpx.Response) -> int:
            return int(answer.headers["ratelimit"].split("r=")[1].split(";")[0])

        before = left(client.get("/openapi.json"))
        for number in range(21):
            define(admin, f"counted-{number}")
        answer = client.get("/openapi.json")
        assert before - left(answer) == 2
        unchanged = client.get("/openapi.json", headers={"If-None-Match": answer.headers["etag"]})
        assert before - left(unchanged) == 3
        assert left(client.head("/openapi.json")) == before - 5
