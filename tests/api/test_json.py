"""Cases that JSON backends often get wrong; docs/json.md defines the right answers."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from fixtures.cluster import execute

if TYPE_CHECKING:
    import httpx

PATH = "/collections/anything/records"
JSON = {"Content-Type": "application/json"}


@pytest.fixture(scope="module", autouse=True)
def anything(admin: httpx.Client) -> None:
    rules = dict.fromkeys(("list", "read", "create", "update"), "")
    assert admin.put("/collections/anything", json={"schema": {}, "rules": rules}).is_success


def send(client: httpx.Client, text: str | bytes) -> httpx.Response:
    return client.post(PATH, content=text, headers=JSON)


@pytest.mark.parametrize(
    "value",
    [
        "9007199254740993",
        "-9223372036854775809",
        "1" * 1000,
        "-" + "9" * 1000,
        "0.1",
        "0.1000000000000000055511151231257827",
        "1" * 30 + "." + "2" * 30,
        "1.10",
        "true",
        "null",
        '"plain"',
        '"\\u00e9"',
        '"e\\u0301"',
        '"\\ud83d\\ude00"',
        '"\\u2028\\u007f"',
        '"\\\\u0000"',
        '""',
        '{"":{"":""}}',
        '{"a.b":1,"a\'b":2,"a\\"b":3,"😀":4,"a\\\\b":5,"$":6,"`":7}',
        "[]",
        "[[],{},null,[1,[2]]]",
    ],
)
def test_values_come_back_as_they_were_sent(anonymous: httpx.Client, value: str) -> None:
    created = send(anonymous, f'{{"v":{value}}}')
    assert created.status_code == 201, created.text
    read = anonymous.get(created.headers["location"])
    exact: Any = json.loads(value, parse_float=str)
    assert json.loads(read.text, parse_float=str)["v"] == exact
    # The created record is the stored one.
    assert created.text == read.text


@pytest.mark.parametrize(
    ("value", "stored"),
    [
        ("-0", "0"),
        ("1e2", "100"),
        ("1.5E+3", "1500"),
        ("1e-3", "0.001"),
        ("-0.0", "0.0"),
    ],
)
def test_numbers_are_kept_as_decimals(anonymous: httpx.Client, value: str, stored: str) -> None:
    created = send(anonymous, f'{{"v":{value}}}')
    assert f'"v": {stored}}}' in created.text


@pytest.mark.parametrize(
    "value",
    [
        "1.7976931348623157e308",
        "0." + "1" * 15_692 + "e-308",
        "0." + "0" * 15_999 + "1e308",
        "1" * 308 + ".5",
        "9" * 4300,
    ],
)
def test_numbers_near_the_bounds_are_read_again(
    admin: httpx.Client, anonymous: httpx.Client, value: str
) -> None:
    rules = dict.fromkeys(("read", "create", "update"), "")
    path = "/collections/bounds"
    admin.put(path, json={"schema": {}, "rules": rules}).raise_for_status()
    created = anonymous.post(f"{path}/records", content=f'{{"v":{value}}}', headers=JSON)
    location = created.headers["location"]
    assert anonymous.patch(location, json={"w": 1}).status_code == 200
    stored = anonymous.get(location).text.partition('"v": ')[2].partition(",")[0]
    sent = f'{{"v":{stored}}}'
    assert anonymous.put(location, content=sent, headers=JSON).status_code == 200
    changed = admin.put(path, json={"schema": {"title": value[:9]}, "rules": rules})
    assert changed.status_code == 200, changed.text


def test_a_schema_takes_no_number_that_no_record_may_have(admin: httpx.Client) -> None:
    for number in ("1.8e308", "9" * 310 + ".5"):
        body = f'{{"schema":{{"properties":{{"a":{{"default":{number}}}}}}}}}'
        refused = admin.put("/collections/endless", content=body, headers=JSON)
        assert (refused.status_code, refused.json()["code"]) == (422, "validation_failed")


def test_a_record_that_cannot_be_read_is_named_and_can_be_replaced(
    admin: httpx.Client, database_url: str
) -> None:
    """SQL or an earlier version may have written such a record."""
    admin.put("/collections/unread", json={"schema": {}}).raise_for_status()
    path = admin.post("/collections/unread/records", json={}).headers["location"]
    id_ = path.rpartition("/")[2]
    large = "jsonb_build_object('v', repeat('9', 5000)::numeric)"
    execute(database_url, f"UPDATE records.unread SET data = {large}")
    patched = admin.patch(path, json={"w": 1})
    assert (patched.status_code, patched.json()["code"]) == (422, "invalid_record")
    changed = admin.put("/collections/unread", json={"schema": {"title": "t"}})
    assert (changed.status_code, changed.json()["records"]) == (409, [id_])
    assert id_ in changed.json()["errors"][0]["message"]
    assert admin.put(path, json={"w": 1}).status_code == 200
    assert admin.put("/collections/unread", json={"schema": {"title": "t"}}).status_code == 200


def test_unicode_is_not_normalised(anonymous: httpx.Client) -> None:
    composed, decomposed = "\u00e9", "e\u0301"
    body = json.dumps({"v": composed, decomposed: 1, composed: 2})
    record = send(anonymous, body).json()
    assert record["v"] == composed
    assert record[decomposed] == 1
    assert record[composed] == 2
    filtered = anonymous.get(PATH, params={"filter": f'v = "{decomposed}"'})
    assert record["id"] not in filtered.text


@pytest.mark.parametrize("key", ["a.b", "a'b", 'a"b', "", "😀", "a`b", "a\\b", "and", "é", "a b"])
def test_every_key_can_be_filtered_and_sorted_by(anonymous: httpx.Client, key: str) -> None:
    record = anonymous.post(PATH, json={key: f"only {key!r}", "odd": True}).json()
    quoted = "`" + key.replace("`", "``") + "`"
    parameters = {
        "filter": f"{quoted} = {json.dumps(record[key])}",
        "sort": f"-{quoted}",
        "fields": quoted,
    }
    items = anonymous.get(PATH, params=parameters).json()["items"]
    assert items == [{"id": record["id"], key: record[key]}]


def test_numbers_in_exponent_form_cannot_grow_without_bound(anonymous: httpx.Client) -> None:
    assert send(anonymous, '{"v":[' + ",".join(["1e300"] * 100) + "]}").status_code == 201
    response = send(anonymous, '{"v":[' + ",".join(["1e300"] * 5000) + "]}")
    assert response.status_code == 422
    strings = send(anonymous, '{"v":"1e999 2e99999"}')
    assert strings.status_code == 201


def test_a_patch_keeps_digits_that_it_does_not_touch(anonymous: httpx.Client) -> None:
    number = "0.12345678901234567890123456789"
    location = send(anonymous, f'{{"v":{number},"w":1}}').headers["location"]
    patched = anonymous.patch(location, json={"w": 2})
    assert number in patched.text
