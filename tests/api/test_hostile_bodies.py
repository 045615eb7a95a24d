"""Bodies that are made to cost far more than their size: refused, or read at a bounded price."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    import httpx

PATH = "/collections/hostile/records"
JSON = {"Content-Type": "application/json"}
RULES = dict.fromkeys(("list", "read", "create", "update", "delete"), "")


@pytest.fixture(scope="module", autouse=True)
def hostile(admin: httpx.Client) -> None:
    assert admin.put("/collections/hostile", json={"schema": {}, "rules": RULES}).is_success


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
    assert send(anonymous, f'{{"v":{number}e-308}}').status_code == 201
    assert send(anonymous, f'{{"v":{"1" * 4000}.5e308}}').status_code == 201
    assert send(anonymous, f'{{"v":"{"1" * 20_000}"}}').status_code == 201
