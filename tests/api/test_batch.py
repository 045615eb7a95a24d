"""Batches: all operations or none, in order, with the first failure's index."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest

if TYPE_CHECKING:
    import httpx

PATH = "/collections/items/records"
SCHEMA = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}


@pytest.fixture(scope="module", autouse=True)
def items(admin: httpx.Client) -> None:
    rules = {"list": "", "read": "", "create": "n >= 0", "update": "owner = @user.id", "delete": ""}
    assert admin.put("/collections/items", json={"schema": SCHEMA, "rules": rules}).is_success


def batch(client: httpx.Client, *operations: dict[str, Any]) -> httpx.Response:
    return client.post(f"{PATH}:batch", json={"operations": list(operations)})


def count(client: httpx.Client) -> int:
    total: int = client.get(PATH, params={"count": "exact", "limit": 1}).json()["total"]
    return total


def test_one_request_creates_a_thousand_records(ada: httpx.Client) -> None:
    before = count(ada)
    response = batch(ada, *({"op": "create", "data": {"n": n}} for n in range(1000)))
    assert response.status_code == 200
    assert [result["version"] for result in response.json()["results"]] == [1] * 1000
    assert count(ada) == before + 1000


def test_operations_happen_in_order(ada: httpx.Client) -> None:
    id_ = str(uuid4())
    response = batch(
        ada,
        {"op": "create", "id": id_, "data": {"n": 1}},
        {"op": "update", "id": id_, "data": {"n": 2}, "version": 1},
        {"op": "update", "id": id_, "data": {"n": 3}, "version": 2},
        {"op": "delete", "id": id_, "version": 3},
        {"op": "create", "id": id_, "data": {"n": 4}},
    )
    assert response.status_code == 200, response.text
    assert [result["version"] for result in response.json()["results"]] == [1, 2, 3, None, 1]
    assert ada.get(f"{PATH}/{id_}").json()["n"] == 4


@pytest.mark.parametrize(
    ("bad", "status", "code"),
    [
        ({"op": "create", "data": {"n": "x"}}, 422, "invalid_record"),
        ({"op": "create", "data": {"n": -1}}, 403, "forbidden"),
        ({"op": "create", "data": {"n": 1, "id": "x"}}, 422, "invalid_record"),
        ({"op": "update", "id": str(uuid4()), "data": {"n": 1}}, 404, "record_not_found"),
        ({"op": "delete", "id": str(uuid4())}, 404, "record_not_found"),
        ({"op": "update", "id": "EXISTING", "data": {"n": "x"}}, 422, "invalid_record"),
        (
            {"op": "update", "id": "EXISTING", "data": {"n": 1}, "version": 9},
            412,
            "version_conflict",
        ),
        ({"op": "create", "id": "EXISTING", "data": {"n": 1}}, 409, "record_exists"),
    ],
)
def test_the_first_failure_undoes_everything(
    ada: httpx.Client, bad: dict[str, Any], status: int, code: str
) -> None:
    existing = ada.post(PATH, json={"n": 5}).json()["id"]
    bad = {key: existing if value == "EXISTING" else value for key, value in bad.items()}
    before = count(ada)
    good = [{"op": "create", "data": {"n": n}} for n in range(3)]
    response = batch(ada, *good, bad, *good)
    assert response.status_code == status, response.text
    assert response.json()["code"] == code
    assert response.json()["index"] == 3
    if code == "invalid_record":
        assert response.json()["errors"][0]["pointer"] in (
            "/operations/3/data/n",
            "/operations/3/data/id",
        )
    assert count(ada) == before


def test_strangers_records_stay_as_they_are(ada: httpx.Client, bob: httpx.Client) -> None:
    id_ = ada.post(PATH, json={"n": 5}).json()["id"]
    assert batch(bob, {"op": "update", "id": id_, "data": {"n": 6}}).status_code == 403
    assert ada.get(f"{PATH}/{id_}").json()["n"] == 5


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ([], ""),
        ({"operations": []}, "/operations"),
        ({"operations": {}}, "/operations"),
        ({"operations": [1]}, "/operations/0/op"),
        ({"operations": [{"op": "upsert"}]}, "/operations/0/op"),
        ({"operations": [{"op": ["create"]}]}, "/operations/0/op"),
        ({"operations": [{"op": "create"}]}, "/operations/0/data"),
        ({"operations": [{"op": "create", "data": {}, "version": 1}]}, "/operations/0/version"),
        ({"operations": [{"op": "update", "data": {}}]}, "/operations/0/id"),
        ({"operations": [{"op": "update", "id": "x", "data": {}}]}, "/operations/0/id"),
        ({"operations": [{"op": "delete", "id": str(uuid4()), "version": True}]},
         "/operations/0/version"),
        ({"operations": [{"op": "create", "data": {"n": 1}}] * 1001}, "/operations"),
        ({"operations": [], "more": 1}, ""),
    ],
)  # fmt: skip
def test_malformed_batches_are_refused(ada: httpx.Client, body: Any, pointer: str) -> None:
    response = ada.post(f"{PATH}:batch", json=body)
    assert response.status_code == 422, response.text
    assert response.json()["code"] == "invalid_batch"
    assert response.json()["errors"][0]["pointer"] == pointer


def test_numbers_stay_exact(ada: httpx.Client, admin: httpx.Client) -> None:
    admin.put("/collections/exact", json={"schema": {}, "rules": {"create": "", "read": ""}})
    number = "0." + "123456789" * 5
    text = f'{{"operations": [{{"op": "create", "data": {{"n": {number}, "b": {"9" * 30}}}}}]}}'
    response = ada.post(
        "/collections/exact/records:batch",
        content=text,
        headers={"Content-Type": "application/json"},
    )
    id_ = response.json()["results"][0]["id"]
    stored = ada.get(f"/collections/exact/records/{id_}").text
    assert number in stored
    assert "9" * 30 in stored
