"""Records and schemas made to be slow to check: nobody else notices, and every check ends."""

from __future__ import annotations

import os
import signal
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest

from app.collections.checking import pool as checking
from fixtures.rules import ANYONE

if TYPE_CHECKING:
    import httpx

    from fixtures.server import Server

JSON = {"Content-Type": "application/json"}
# Comparing one item with 4,000 numbers takes some 5 ms.
COSTLY = {"properties": {"x": {"items": {"enum": [n + 0.5 for n in range(4000)]}}}}
ENDLESS = f'{{"x": [{", ".join(["3999.5"] * 4000)}]}}'
BESIDE = f'{{"x": [{", ".join(["3999.5"] * 20)}]}}'


def define(admin: httpx.Client, name: str, schema: dict[str, Any]) -> str:
    made = admin.put(f"/collections/{name}", json={"schema": schema, "rules": ANYONE})
    assert made.is_success, made.text
    return f"/collections/{name}/records"


def refusal(admin: httpx.Client, schema: dict[str, Any]) -> tuple[str, str]:
    answer = admin.put("/collections/refused", json={"schema": schema})
    assert answer.status_code == 422, answer.text
    return answer.json()["errors"][0]["code"], answer.json()["errors"][0]["message"]


def test_many_large_numbers_are_told_to_be_no_strings(
    admin: httpx.Client, anonymous: httpx.Client
) -> None:
    path = define(
        admin, "large", {"properties": {"x": {"items": {"type": "string"}, "uniqueItems": True}}}
    )
    numbers = ", ".join(str(10**30 + n) for n in range(2000))
    answer = anonymous.post(path, content=f'{{"x": [{numbers}]}}', headers=JSON)
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_record")
    assert {fault["code"] for fault in answer.json()["errors"]} == {"type"}
    define(admin, "large", {"properties": {"x": {"uniqueItems": True}}})
    assert anonymous.post(path, content=f'{{"x": [{numbers}]}}', headers=JSON).status_code == 201
    twice = f'{{"x": [{numbers}, {10**30}]}}'
    refused = anonymous.post(path, content=twice, headers=JSON).json()
    assert refused["errors"][0]["code"] == "uniqueItems"


def test_many_digits_are_divided_by_a_fraction(
    admin: httpx.Client, anonymous: httpx.Client
) -> None:
    path = define(admin, "digits", {"properties": {"x": {"items": {"multipleOf": 0.01}}}})
    # The first is as large as a record may be.
    for count, status in ((240, 201), (1200, 422)):
        numbers = ", ".join(str(10**4298 + n) for n in range(count))
        answer = anonymous.post(path, content=f'{{"x": [{numbers}]}}', headers=JSON)
        assert answer.status_code == status, answer.text


def test_others_are_answered_while_a_record_is_checked_that_takes_for_ever(
    admin: httpx.Client, anonymous: httpx.Client
) -> None:
    path = define(admin, "endless", COSTLY)
    with ThreadPoolExecutor(1) as pool:
        sent = pool.submit(anonymous.post, path, content=ENDLESS, headers=JSON)
        others = 0
        while not sent.done():
            assert admin.get("/collections/endless").status_code == 200
            others += 1
    assert others > 3
    answer = sent.result()
    assert (answer.status_code, answer.json()["code"]) == (422, "check_too_costly")
    # The end of a check does not affect the next check.
    assert anonymous.post(path, content=BESIDE, headers=JSON).status_code == 201


@pytest.mark.parametrize("sent", ["one", "batch", "patch", "put"])
def test_a_record_that_takes_for_ever_is_refused_however_it_is_sent(
    admin: httpx.Client, anonymous: httpx.Client, sent: str
) -> None:
    path = define(admin, f"endless_{sent}", COSTLY)
    made = anonymous.post(path, json={}).json()["id"]
    match sent:
        case "one":
            answer = anonymous.post(path, content=ENDLESS, headers=JSON)
        case "batch":
            operations = f'{{"operations": [{{"op": "create", "data": {ENDLESS}}}]}}'
            answer = anonymous.post(f"{path}:batch", content=operations, headers=JSON)
        case "patch":
            answer = anonymous.patch(f"{path}/{made}", content=ENDLESS, headers=JSON)
        case _:
            answer = anonymous.put(f"{path}/{made}", content=ENDLESS, headers=JSON)
    assert (answer.status_code, answer.json()["code"]) == (422, "check_too_costly")


def test_a_fault_that_takes_long_to_explain_is_refused_unexplained(
    admin: httpx.Client, anonymous: httpx.Client
) -> None:
    # The check is fast, but there are 2^40 ways to be wrong.
    twice = {"properties": {"a": {"$ref": "#"}}}
    path = define(admin, "ways", {"type": "object", "anyOf": [twice, {**twice, "title": "x"}]})
    record: Any = 5
    for _ in range(40):
        record = {"a": record}
    answer = anonymous.post(path, json=record)
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_record")
    assert answer.json()["errors"] == [
        {
            "pointer": "",
            "message": "does not match the schema; saying where takes too long",
            "code": "schema",
        }
    ]


def test_a_lost_process_fails_nobody(admin: httpx.Client, anonymous: httpx.Client) -> None:
    path = define(admin, "lost", COSTLY)
    assert anonymous.post(path, content=BESIDE, headers=JSON).status_code == 201
    process = checking.beside.process
    assert process is not None
    os.kill(process.pid, signal.SIGKILL)
    assert anonymous.post(path, content=BESIDE, headers=JSON).status_code == 201


def test_existing_records_that_take_too_long_do_not_fit(
    admin: httpx.Client, anonymous: httpx.Client
) -> None:
    path = define(admin, "grown", {})
    assert anonymous.post(path, content=ENDLESS, headers=JSON).status_code == 201
    answer = admin.put("/collections/grown", json={"schema": COSTLY, "rules": ANYONE})
    assert (answer.status_code, answer.json()["code"]) == (409, "records_do_not_fit")
    assert answer.json()["errors"][0]["code"] == "check_too_costly"


def references(count: int, **node: Any) -> dict[str, Any]:
    """Each definition refers to the next."""

    def made(number: int) -> dict[str, Any]:
        if number == count:
            return {"type": "object"}
        target = {"$ref": f"#/$defs/d{number + 1}"}
        return {key: [target] * times for key, times in node.items()} if node else target

    return {"$defs": {f"d{n}": made(n) for n in range(count + 1)}, "$ref": "#/$defs/d0"}


LARGE: dict[str, dict[str, Any]] = {
    "ten_thousand": {"properties": {f"p{n}": {"type": "string"} for n in range(9_998)}},
    "branches": {
        "anyOf": [{"properties": {"x": {"const": n}}, "required": ["x"]} for n in range(1000)]
    },
    "merged": {"allOf": [{"properties": {"x": {"minimum": n}}} for n in range(1000)]},
    "referring": references(90),
    "recursive": {"$defs": {f"d{n}": {"properties": {"a": {"$ref": f"#/$defs/d{n + 1}"}, "b": {
        "$ref": f"#/$defs/d{n + 1}"}}} for n in range(200)} | {"d200": {}}, "$ref": "#/$defs/d0"},
}  # fmt: skip


def test_large_schemas_are_taken_and_described(server: Server, admin: httpx.Client) -> None:
    for name, schema in LARGE.items():
        path = define(admin, name, schema)
        assert admin.post(path, json={"x": 999}).status_code == 201, name
        refused = admin.post(path, json={"x": -1, "p1": 1})
        assert refused.status_code in (201, 422), refused.text
    document = admin.get("/openapi.json")
    assert document.status_code == 200
    # The document leaves out schemas that are too large, and says so.
    assert "referring.input" in document.json()["components"]["schemas"]
    for name in LARGE:
        assert admin.delete(f"/collections/{name}", params={"confirm": name}).status_code == 204


@pytest.mark.parametrize(
    ("schema", "why"),
    [
        ({"properties": {f"p{n}": {} for n in range(20_001)}}, "objects"),
        (references(200), "upon one another"),
        (references(30, allOf=2), "would look at one value"),
        (references(30, anyOf=2), "would look at one value"),
        (references(30, oneOf=2) | {"unevaluatedProperties": False}, "would look at one value"),
        ({"properties": {f"p{n}": {"pattern": "(a{99}){99}"} for n in range(100)}}, "patterns"),
    ],
)
def test_schemas_that_cost_too_much_are_refused(
    admin: httpx.Client, schema: dict[str, Any], why: str
) -> None:
    code, message = refusal(admin, schema)
    assert code == "schema_too_costly"
    assert why in message


@pytest.mark.parametrize(
    "schema",
    [
        {"$ref": "#"},
        {"allOf": [{"$ref": "#"}, {"$ref": "#"}]},
        {"$dynamicAnchor": "x", "anyOf": [{"$dynamicRef": "#x"}]},
        {
            "$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"not": {"$ref": "#/$defs/a"}}},
            "$ref": "#/$defs/a",
        },
    ],
)
def test_schemas_without_end_are_refused(admin: httpx.Client, schema: dict[str, Any]) -> None:
    code, message = refusal(admin, schema)
    assert code == "invalid_schema"
    assert "without end" in message


def test_200_levels_are_no_json(admin: httpx.Client) -> None:
    schema: dict[str, Any] = {}
    for _ in range(200):
        schema = {"not": schema}
    answer = admin.put("/collections/refused", json={"schema": schema})
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_json")
