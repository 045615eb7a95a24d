"""Bodies that are made to cost far more than their size: refused, or read at a bounded price."""

from __future__ import annotations

import resource
import time
from typing import TYPE_CHECKING

import pytest

from fixtures.rules import ANYONE

if TYPE_CHECKING:
    import httpx

PATH = "/collections/hostile/records"
JSON = {"Content-Type": "application/json"}


@pytest.fixture(scope="module", autouse=True)
def hostile(admin: httpx.Client) -> None:
    assert admin.put("/collections/hostile", json={"schema": {}, "rules": ANYONE}).is_success


def send(client: httpx.Client, text: str) -> httpx.Response:
    return client.post(PATH, content=text, headers=JSON)


def test_an_exponent_is_bounded_however_it_is_padded(anonymous: httpx.Client) -> None:
    for exponent in ("+0000131071", "-0000016383", "0000131071", "+00000" + "9" * 50):
        response = send(anonymous, f'{{"v":[{f"1e{exponent}," * 10}1]}}')
        assert (response.status_code, response.json()["code"]) == (422, "validation_failed")
    kept = send(anonymous, '{"v":[1e+0000000000,1e-00000001]}')
    assert kept.text.endswith('"v": [1, 0.1]}')


@pytest.mark.parametrize("decimals", [16_001, 16_384, 200_000])
def test_more_decimals_than_postgresql_takes_are_refused(
    anonymous: httpx.Client, decimals: int
) -> None:
    response = send(anonymous, f'{{"v":0.{"1" * decimals}}}')
    assert (response.status_code, response.json()["code"]) == (422, "validation_failed")


def test_decimals_are_kept_up_to_the_bound(anonymous: httpx.Client) -> None:
    number = "0." + "1" * 16_000
    assert number in send(anonymous, f'{{"v":{number}}}').text
    assert send(anonymous, f'{{"v":{number}e308}}').status_code == 201
    assert send(anonymous, f'{{"v":"{"1" * 20_000}"}}').status_code == 201


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("POST", "/collections/nothing/records", 404),
        ("POST", "/collections/nothing/records:batch", 404),
        ("POST", "/collections/readable/records", 401),
        ("POST", "/collections/readable/records:batch", 401),
        ("PUT", "/collections/readable/records/01a00000-0000-7000-8000-000000000000", 401),
        ("PATCH", "/collections/readable/records/01a00000-0000-7000-8000-000000000000", 401),
        ("PUT", "/collections/readable", 401),
        ("POST", "/auth/password", 401),
        ("POST", "/auth/api-keys", 401),
        ("POST", "/users", 401),
        ("PATCH", "/users/01a00000-0000-7000-8000-000000000000", 401),
    ],
)
def test_a_body_without_permission_is_not_parsed(
    admin: httpx.Client, anonymous: httpx.Client, method: str, path: str, status: int
) -> None:
    admin.put("/collections/readable", json={"schema": {}, "rules": {"read": ""}})
    response = anonymous.request(method, path, content="no JSON", headers=JSON)
    assert response.status_code == status, response.text


def test_a_batch_is_read_for_whoever_may_do_one_of_its_operations(
    admin: httpx.Client, anonymous: httpx.Client
) -> None:
    admin.put("/collections/deletable", json={"schema": {}, "rules": {"read": "", "delete": ""}})
    id_ = admin.post("/collections/deletable/records", json={}).json()["id"]
    batch = "/collections/deletable/records:batch"
    refused = anonymous.post(batch, json={"operations": [{"op": "create", "data": {}}]})
    assert refused.status_code == 401
    assert anonymous.post(batch, json={"operations": [{"op": "delete", "id": id_}]}).is_success


@pytest.mark.parametrize("values", ["[]," * 500_000, ("[" * 60 + "]" * 60 + ",") * 10_000])
@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH"])
def test_more_values_than_can_be_held_are_not_parsed(
    anonymous: httpx.Client, method: str, values: str
) -> None:
    location = anonymous.post(PATH, json={}).headers["location"]
    path = PATH if method == "POST" else location
    response = anonymous.request(method, path, content=f'{{"a":[{values}1]}}', headers=JSON)
    assert (response.status_code, response.json()["code"]) == (413, "content_too_large")
    assert anonymous.get(location).headers["etag"] == '"1"'


@pytest.mark.parametrize("path", ["/auth/login", "/auth/register", "/auth/refresh"])
def test_large_forms_are_not_parsed(anonymous: httpx.Client, path: str) -> None:
    response = anonymous.post(path, content="[" + "[]," * 30_000 + "1]", headers=JSON)
    assert (response.status_code, response.json()["code"]) == (413, "content_too_large")


@pytest.mark.parametrize("path", ["/auth/login", "/auth/register", "/auth/refresh"])
def test_a_form_of_many_members_is_told_twenty_faults(anonymous: httpx.Client, path: str) -> None:
    answer = anonymous.post(path, json={f"m{n}": 0 for n in range(4000)})
    assert (answer.status_code, answer.json()["code"]) == (422, "validation_failed")
    told = [(fault["pointer"], fault["code"]) for fault in answer.json()["errors"]]
    assert told == [(f"/m{n}", "extra_forbidden") for n in range(20)]


def test_a_definition_that_is_wrong_everywhere_is_told_twenty_faults(admin: httpx.Client) -> None:
    body = {"schema": {}, "rules": {f"m{n}": "" for n in range(4000)}}
    answer = admin.put("/collections/hostile", json=body)
    assert answer.status_code == 422
    assert [fault["pointer"] for fault in answer.json()["errors"]] == [
        f"/rules/m{n}" for n in range(20)
    ]


def test_a_definition_may_be_large(admin: httpx.Client) -> None:
    schema = {"properties": {f"field_{n}": {"type": "string"} for n in range(5000)}}
    assert admin.put("/collections/large", json={"schema": schema}).status_code == 201


def test_a_patch_costs_in_proportion_to_its_size(anonymous: httpx.Client) -> None:
    location = anonymous.post(PATH, json={"kept": 1, "gone": 1}).headers["location"]
    members = {f"member_{n}": {"n": n} for n in range(20_000)}
    began = time.perf_counter()
    response = anonymous.patch(location, json={**members, "gone": None, "nested": members})
    # A patch member by member would exceed the statement's time limit.
    assert time.perf_counter() - began < 10
    assert response.status_code == 200, response.text
    record = response.json()
    assert {"kept": 1, "nested": members, **members}.items() <= record.items()
    assert "gone" not in record


ITEMS = {"items": {"type": "string"}}


LIST = "[" + "{}," * 120_000 + "{}]"
NUMBERS = "[" + "1," * 240_000 + "1]"
MEMBERS = "{" + ",".join(f'"m{n}":1' for n in range(240_000)) + "}"


@pytest.mark.parametrize(
    ("tags", "value", "pointer"),
    [
        (ITEMS, LIST, "/tags/0"),
        ({"items": {"required": ["name"]}}, LIST, "/tags/0/name"),
        # A single error contains the errors of all branches.
        ({"anyOf": [ITEMS, {"items": {"type": "null"}}]}, LIST, ""),
        # A single error names everything that is not allowed.
        ({"unevaluatedItems": False}, NUMBERS, ""),
        ({"unevaluatedProperties": False}, MEMBERS, ""),
        ({"properties": {"a": {}}, "additionalProperties": False}, MEMBERS, ""),
        ({"additionalProperties": {"type": "string"}}, MEMBERS, "/tags/m0"),
    ],
    ids=lambda value: str(value)[:60],
)
def test_a_large_body_that_is_wrong_everywhere_costs_no_fault_for_each_place(
    admin: httpx.Client,
    anonymous: httpx.Client,
    tags: dict[str, object],
    value: str,
    pointer: str,
) -> None:
    schema = {"properties": {"tags": tags}}
    admin.put("/collections/wrong", json={"schema": schema, "rules": ANYONE}).raise_for_status()
    body = f'{{"tags":{value}}}'
    before = most_memory()
    response = anonymous.post("/collections/wrong/records", content=body, headers=JSON)
    assert response.status_code == 422
    (fault,) = response.json()["errors"]
    assert fault["pointer"] == pointer
    # A message that named all values would be as large as the body.
    assert pointer or "too large to say where" in fault["message"]
    # All errors together would take more than a gigabyte.
    assert most_memory() - before < 200 << 20


def test_a_long_body_is_told_of_its_unexpected_member(
    admin: httpx.Client, anonymous: httpx.Client
) -> None:
    schema = {"properties": {"text": {}}, "additionalProperties": False}
    admin.put("/collections/wordy", json={"schema": schema, "rules": ANYONE}).raise_for_status()
    body = {"text": "x" * 20_000, "other": [1] * 4000}
    (fault,) = anonymous.post("/collections/wordy/records", json=body).json()["errors"]
    assert fault["pointer"] == "/other"


def test_a_small_body_is_told_twenty_faults(admin: httpx.Client, anonymous: httpx.Client) -> None:
    schema = {"properties": {"tags": ITEMS}}
    admin.put("/collections/told", json={"schema": schema, "rules": ANYONE}).raise_for_status()
    faults = anonymous.post("/collections/told/records", json={"tags": [1] * 4000}).json()["errors"]
    assert [fault["pointer"] for fault in faults] == [f"/tags/{n}" for n in range(20)]


def most_memory() -> int:
    """The peak memory so far of this process, which also serves, in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
