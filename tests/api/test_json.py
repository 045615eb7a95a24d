"""What JSON backends get wrong sooner or later: decided in docs/json.md, held to here."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

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
def test_values_come_back_as_they_went(anonymous: httpx.Client, value: str) -> None:
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


@pytest.mark.parametrize(
    ("text", "status", "code"),
    [
        ('{"v":"\\u0000"}', 422, "validation_failed"),
        ('{"a\\u0000":1}', 422, "validation_failed"),
        ('{"v":["\\u0000"]}', 422, "validation_failed"),
        ('{"v":"\\ud800"}', 400, "invalid_json"),
        ('{"v":"\\udc00\\ud800"}', 400, "invalid_json"),
        ('{"\\ud800":1}', 400, "invalid_json"),
        ('{"v":1,"v":2}', 400, "invalid_json"),
        ('{"v":{"a":1,"a":1}}', 400, "invalid_json"),
        ('{"v":NaN}', 400, "invalid_json"),
        ('{"v":Infinity}', 400, "invalid_json"),
        ('{"v":1e309}', 422, "validation_failed"),
        ('{"v":1e-309}', 422, "validation_failed"),
        ('{"v":1e99999}', 422, "validation_failed"),
        ('{"v":1e999999999999999999999}', 422, "validation_failed"),
        ('{"v":' + "9" * 5000 + "}", 400, "invalid_json"),
        ('{"v":' + "[" * 64 + "]" * 64 + "}", 400, "invalid_json"),
        ("[" * 100_000, 400, "invalid_json"),
        ('{"v":01}', 400, "invalid_json"),
        ('{"v":+1}', 400, "invalid_json"),
        ('{"v":.5}', 400, "invalid_json"),
        ('{"v":1.}', 400, "invalid_json"),
        ('{"v":"\t"}', 400, "invalid_json"),
        ("{'v':1}", 400, "invalid_json"),
        ('{"v":1,}', 400, "invalid_json"),
        ('{"v":1} x', 400, "invalid_json"),
        ('{"v":1}{"v":2}', 400, "invalid_json"),
        ("", 400, "invalid_json"),
        (" ", 400, "invalid_json"),
        ("null", 422, "invalid_record"),
        ("[]", 422, "invalid_record"),
        ('"x"', 422, "invalid_record"),
    ],
)
def test_texts_that_are_refused(anonymous: httpx.Client, text: str, status: int, code: str) -> None:
    response = send(anonymous, text)
    assert (response.status_code, response.json()["code"]) == (status, code), response.text


@pytest.mark.parametrize(
    "raw", [b"\xef\xbb\xbf{}", b'{"v":"\xff"}', b'{"v":"\xed\xa0\x80"}', b"{\x00}"]
)
def test_bytes_that_are_no_utf8_text(anonymous: httpx.Client, raw: bytes) -> None:
    response = send(anonymous, raw)
    assert (response.status_code, response.json()["code"]) == (400, "invalid_json")


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
