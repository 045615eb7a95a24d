"""Single records: creating, reading, changing and deleting them, and the refusals."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest

from fixtures.cluster import fetch

if TYPE_CHECKING:
    import httpx

    from fixtures.server import Server

SCHEMA = {
    "type": "object",
    "properties": {
        "title": {"type": "string", "maxLength": 100},
        "size": {"type": ["integer", "null"]},
        "email": {"type": "string", "format": "email"},
        "site": {"type": "string", "format": "uri"},
        "when": {"type": "string", "format": "date-time"},
        "ref": {"type": "string", "format": "uuid"},
        "nested": {"type": "object"},
    },
    "required": ["title"],
}
RULES = {
    "list": "",
    "read": "",
    "create": "@user.id is not null",
    "update": "owner = @user.id",
    "delete": "owner = @user.id",
}
PATH = "/collections/notes/records"
JSON = {"Content-Type": "application/json"}


@pytest.fixture(scope="module", autouse=True)
def notes(admin: httpx.Client) -> None:
    assert admin.put("/collections/notes", json={"schema": SCHEMA, "rules": RULES}).is_success


def create(client: httpx.Client, **data: Any) -> dict[str, Any]:
    response = client.post(PATH, json={"title": "a", **data})
    assert response.status_code == 201, response.text
    record: dict[str, Any] = response.json()
    return record


def events(server: Server, id_: str) -> list[tuple[str, int]]:
    url = server.settings.database_url.get_secret_value()
    sql = "SELECT type, version FROM listo.events WHERE subject = $1 ORDER BY id"
    return [tuple(row) for row in fetch(url, sql, id_)]


def test_a_created_record_is_flat_and_can_be_read(ada: httpx.Client) -> None:
    response = ada.post(PATH, json={"title": "Moby Dick", "size": 3})
    record = response.json()
    assert response.status_code == 201
    assert response.headers["location"] == f"{PATH}/{record['id']}"
    assert response.headers["etag"] == '"1"'
    assert record["title"] == "Moby Dick"
    assert record["version"] == 1
    assert record["owner"] == ada.get("/auth/me").json()["id"]
    assert record["created_at"].endswith("Z")
    read = ada.get(response.headers["location"])
    assert read.json() == record
    assert read.headers["etag"] == '"1"'
    assert read.headers["content-type"] == "application/json"


def test_ids_sort_by_time(ada: httpx.Client) -> None:
    ids = [create(ada)["id"] for _ in range(5)]
    assert ids == sorted(ids)
    assert all(id_[14] == "7" for id_ in ids)


def test_put_replaces_and_counts_the_version(ada: httpx.Client) -> None:
    record = create(ada, size=1)
    response = ada.put(f"{PATH}/{record['id']}", json={"title": "b"})
    assert response.json()["version"] == 2
    assert "size" not in response.json()
    assert response.json()["created_at"] == record["created_at"]
    assert response.json()["updated_at"] > record["updated_at"]


def test_patch_is_a_merge_patch(ada: httpx.Client) -> None:
    record = create(ada, size=1, nested={"a": 1, "b": {"c": 2}})
    response = ada.patch(
        f"{PATH}/{record['id']}",
        content='{"size": null, "nested": {"a": null, "b": {"d": 3}}}',
        headers={"Content-Type": "application/merge-patch+json"},
    )
    assert response.status_code == 200
    assert "size" not in response.json()
    assert response.json()["nested"] == {"b": {"c": 2, "d": 3}}
    assert response.json()["title"] == "a"


def test_a_patch_that_breaks_the_schema_changes_nothing(ada: httpx.Client) -> None:
    record = create(ada)
    response = ada.patch(f"{PATH}/{record['id']}", json={"title": None})
    assert response.status_code == 422
    assert response.json()["errors"][0]["pointer"] == "/title"
    assert ada.get(f"{PATH}/{record['id']}").json() == record


@pytest.mark.parametrize(
    ("method", "body"),
    [
        ("PATCH", {}),
        ("PATCH", {"size": 3}),
        ("PATCH", {"nothing": None}),
        ("PATCH", {"nested": {"b": {"c": [1, 2.50]}}}),
        ("PATCH", {"nested": {"b": {"c": [1, 2.5], "d": None}, "x": None}}),
        ("PUT", {"size": 3, "nested": {"b": {"c": [1, 2.5]}, "a": "é"}, "title": "a"}),
    ],
)
def test_what_changes_nothing_keeps_the_version(
    server: Server, ada: httpx.Client, method: str, body: dict[str, Any]
) -> None:
    record = create(ada, size=3, nested={"a": "é", "b": {"c": [1, 2.5]}})
    path = f"{PATH}/{record['id']}"
    for precondition in ({}, {"If-Match": '"1"'}):
        # Escaped and with spaces, as some clients write JSON.
        response = ada.request(
            method,
            path,
            content=json.dumps(body, indent=1),
            headers={"Content-Type": "application/json", **precondition},
        )
        assert response.status_code == 200
        assert response.headers["etag"] == '"1"'
        assert response.json() == record == ada.get(path).json()
    assert ada.request(method, path, json=body, headers={"If-Match": '"2"'}).status_code == 412
    operation = {"op": "update", "id": record["id"], "data": body, "version": 1}
    batch = ada.post(f"{PATH}:batch", json={"operations": [operation, operation]})
    assert [result["version"] for result in batch.json()["results"]] == [1, 1]
    assert events(server, record["id"]) == [("record.created", 1)]


def test_a_change_of_digits_alone_is_a_change(ada: httpx.Client) -> None:
    record = create(ada, nested={"n": 1})
    path = f"{PATH}/{record['id']}"
    changed = ada.patch(path, content=b'{"nested":{"n":1.0}}', headers=JSON)
    assert '"n": 1.0' in changed.text
    assert changed.headers["etag"] == '"2"'


def test_a_deleted_record_is_gone(ada: httpx.Client) -> None:
    record = create(ada)
    assert ada.delete(f"{PATH}/{record['id']}").status_code == 204
    assert ada.get(f"{PATH}/{record['id']}").status_code == 404
    assert ada.delete(f"{PATH}/{record['id']}").status_code == 404


@pytest.mark.parametrize(
    ("method", "headers", "status", "code"),
    [
        ("PUT", {"If-Match": '"1"'}, 200, None),
        ("PUT", {"If-Match": "*"}, 200, None),
        ("PUT", {"If-Match": '"1", "7"'}, 200, None),
        ("PUT", {"If-Match": '"2"'}, 412, "version_conflict"),
        # Compressing proxies pass on such tags.
        ("PUT", {"If-Match": 'W/"1"'}, 200, None),
        ("PUT", {"If-Match": '"1-gzip"'}, 200, None),
        ("PUT", {"If-Match": '"7", W/"1"'}, 200, None),
        ("PUT", {"If-Match": 'W/"2"'}, 412, "version_conflict"),
        ("PUT", {"If-Match": '"1-other"'}, 412, "version_conflict"),
        ("PUT", {"If-Match": '"-gzip"'}, 412, "version_conflict"),
        ("PUT", {"If-Match": '"01-gzip"'}, 412, "version_conflict"),
        ("PUT", {"If-Match": '"1-gzip-gzip"'}, 412, "version_conflict"),
        ("PUT", {"If-Match": "1"}, 400, "invalid_precondition"),
        ("PUT", {"If-Match": '"99999999999999999999999"'}, 412, "version_conflict"),
        ("PUT", {"If-Match": '"01"'}, 412, "version_conflict"),
        ("PUT", {"If-Match": '"0"'}, 412, "version_conflict"),
        ("PUT", {"If-Match": '"one"'}, 412, "version_conflict"),
        ("PUT", {"If-None-Match": "*"}, 412, "version_conflict"),
        ("PUT", {"If-None-Match": '"1"'}, 400, "invalid_precondition"),
        ("PATCH", {"If-Match": '"1"'}, 200, None),
        ("PATCH", {"If-Match": '"2"'}, 412, "version_conflict"),
        ("PATCH", {"If-Match": '"001"'}, 412, "version_conflict"),
        ("DELETE", {"If-Match": '"2"'}, 412, "version_conflict"),
        ("DELETE", {"If-Match": '"01"'}, 412, "version_conflict"),
        ("DELETE", {"If-Match": '"1"'}, 204, None),
        ("PATCH", {"If-Match": 'W/"1"'}, 200, None),
        ("PATCH", {"If-Match": '"1--gzip"'}, 200, None),
        ("PATCH", {"If-Match": '"2-gzip"'}, 412, "version_conflict"),
        ("DELETE", {"If-Match": 'W/"1"'}, 204, None),
        ("DELETE", {"If-Match": '"1-br"'}, 204, None),
        ("DELETE", {"If-Match": 'W/"2"'}, 412, "version_conflict"),
        ("GET", {"If-None-Match": '"1"'}, 304, None),
        ("GET", {"If-None-Match": 'W/"1"'}, 304, None),
        ("GET", {"If-None-Match": '"1-zstd"'}, 304, None),
        ("GET", {"If-None-Match": '"1;gzip"'}, 304, None),
        ("GET", {"If-None-Match": '"2-gzip"'}, 200, None),
        ("GET", {"If-None-Match": '"2", "1"'}, 304, None),
        ("GET", {"If-None-Match": '"2"'}, 200, None),
        ("GET", {"If-None-Match": '"01"'}, 200, None),
        ("GET", {"If-None-Match": "*"}, 304, None),
    ],
)
def test_preconditions_decide_whether_a_request_is_done(
    ada: httpx.Client, method: str, headers: dict[str, str], status: int, code: str | None
) -> None:
    record = create(ada)
    body = {"title": "b"} if method in ("PUT", "PATCH") else None
    response = ada.request(method, f"{PATH}/{record['id']}", json=body, headers=headers)
    assert response.status_code == status, response.text
    if code:
        assert response.json()["code"] == code
        assert ada.get(f"{PATH}/{record['id']}").json() == record


def test_put_creates_under_the_clients_id_once(ada: httpx.Client) -> None:
    id_ = str(uuid4())
    absent = {"If-None-Match": "*"}
    assert ada.put(f"{PATH}/{id_}", json={"title": "a"}).status_code == 404
    created = ada.put(f"{PATH}/{id_}", json={"title": "a"}, headers=absent)
    assert created.status_code == 201
    assert created.json()["id"] == id_
    assert ada.put(f"{PATH}/{id_}", json={"title": "b"}, headers=absent).status_code == 412
    assert ada.get(f"{PATH}/{id_}").json()["title"] == "a"


def test_of_two_writers_with_one_version_one_wins(ada: httpx.Client) -> None:
    record = create(ada)
    headers = {"If-Match": '"1"'}
    statuses = [
        ada.patch(f"{PATH}/{record['id']}", json={"size": n}, headers=headers).status_code
        for n in range(3)
    ]
    assert statuses == [200, 412, 412]


@pytest.mark.parametrize(
    ("data", "pointer", "code"),
    [
        ({}, "/title", "required"),
        ({"title": 1}, "/title", "type"),
        ({"title": "x" * 101}, "/title", "maxLength"),
        ({"title": "a", "email": "nobody"}, "/email", "format"),
        ({"title": "a", "site": "no uri"}, "/site", "format"),
        ({"title": "a", "when": "2026-01-01"}, "/when", "format"),
        ({"title": "a", "ref": "1"}, "/ref", "format"),
        ({"title": "a", "id": str(uuid4())}, "/id", "reserved_name"),
        ({"title": "a", "owner": None}, "/owner", "reserved_name"),
    ],
)
def test_the_schema_is_enforced(
    ada: httpx.Client, data: dict[str, Any], pointer: str, code: str
) -> None:
    response = ada.post(PATH, json=data)
    assert response.status_code == 422
    assert response.headers["content-type"] == "application/problem+json"
    assert response.json()["code"] == "invalid_record"
    error = response.json()["errors"][0]
    assert (error["pointer"], error["code"]) == (pointer, code)


def test_events_are_written_with_the_record(server: Server, ada: httpx.Client) -> None:
    record = create(ada)
    path = f"{PATH}/{record['id']}"
    ada.patch(path, json={"size": 1})
    ada.patch(path, json={"title": 7})  # refused
    ada.put(path, json={"title": "x"}, headers={"If-Match": '"9"'})  # refused
    ada.delete(path)
    assert events(server, record["id"]) == [
        ("record.created", 1),
        ("record.updated", 2),
        ("record.deleted", 2),
    ]
