"""Reading JSON at a cost bounded by the size of the body, since reading holds up requests."""

from __future__ import annotations

import gc
import time
import tracemalloc
from typing import TYPE_CHECKING

import jiter
import pytest

from app.core import json
from app.core.errors import ContentTooLarge, InvalidJson, ValidationFailed

if TYPE_CHECKING:
    from collections.abc import Callable

LARGE = 1_000_000


@pytest.mark.parametrize(
    "text",
    [
        b'["1e5 ' + b"a" * LARGE + b'"]',
        b'["1e5 ' + b'\\"' * (LARGE // 2) + b'"]',
        b'["' + b"1" * LARGE + b'"]',
        b'["\\\\u0000' + b"\\n" * (LARGE // 2) + b'"]',
    ],
)
def test_checks_take_no_more_memory_than_the_body(text: bytes) -> None:
    tracemalloc.start()
    json.parse_strict(text)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    # The peak holds the value, and the body without its strings.
    assert peak < 4 * LARGE


def test_an_escaped_backslash_before_u0000_costs_no_walk_of_all_values() -> None:
    text = b'["\\\\u0000",' + b"1," * (LARGE // 5) + b"1]"

    def seconds(parse: Callable[[bytes], object]) -> float:
        began = time.process_time()
        assert parse(text)
        return time.process_time() - began

    parsed = min(seconds(jiter.from_json) for _ in range(3))
    assert min(seconds(json.parse_strict) for _ in range(3)) < 20 * parsed


MANY = json.MAX_VALUES - 1


@pytest.mark.parametrize(
    "text",
    [
        b"[" + b"1," * MANY + b"1]",
        b"[" + b"[]," * (MANY // 2) + b"1]",
        b'{"a":[' + b'{"b":1},' * (MANY // 2) + b"1]}",
        b'["' + b",[{" * LARGE + b'"]',
        b'["\\\\",' + b'"\\",[",' * (LARGE // 8) + b"1]",
    ],
)
def test_as_many_values_as_allowed_are_read(text: bytes) -> None:
    assert json.parse_strict(text)


@pytest.mark.parametrize(
    "text",
    [
        b"[" + b"1," * MANY + b"1,1]",
        b"[" + b"[]," * (MANY // 2) + b"[],1]",
        b"[" + b"[" * 60 + b"]" * 60 + (b",[" + b"[" * 60 + b"]" * 60) * (LARGE // 120) + b"]",
        b"[" + b'"a,",' * LARGE + b"1]",
    ],
)
def test_too_many_values_are_refused(text: bytes) -> None:
    with pytest.raises(ContentTooLarge, match="250,000 values"):
        json.parse_strict(text)


def test_no_garbage_is_collected_while_a_body_is_read() -> None:
    gc.collect()
    collections: list[str] = []

    def on_collection(phase: str, _: dict[str, int]) -> None:
        collections.append(phase)

    text = b"[" + b"[]," * (MANY // 2) + b"1]"
    gc.callbacks.append(on_collection)
    try:
        value = json.parse_stored(text.decode())
        assert len(collections) <= 2
    finally:
        gc.callbacks.remove(on_collection)
    assert len(value) == MANY // 2 + 1
    assert gc.isenabled()


@pytest.mark.parametrize(
    "text",
    [
        b"[" * 64 + b"]" * 64,
        b'{"a":' * 64 + b"1" + b"}" * 64,
        b"[" + b"[[]]," * 100 + b"1]",
        b'["' + b"[" * 200 + b'"]',
        b'["\\"[' + b"{" * 200 + b'\\\\",[]]',
    ],
)
def test_64_levels_are_read(text: bytes) -> None:
    json.parse_strict(text)


@pytest.mark.parametrize(
    "text",
    [
        b"[" * 65 + b"]" * 65,
        b'[{"a":' * 33 + b"1" + b"}]" * 33,
        b'["]",' * 65 + b"1" + b',"["]' * 65,
        b"[" + b"[]," * 100 + b"[" * 64 + b"]" * 64 + b"]",
    ],
)
def test_more_than_64_levels_are_refused(text: bytes) -> None:
    with pytest.raises(InvalidJson, match="64 levels"):
        json.parse_strict(text)


@pytest.mark.parametrize(
    "text",
    [
        rb'{"v":"\ud800"}',
        rb'{"v":"\udc00\ud800"}',
        rb'{"\ud800":1}',
        b'{"v":1,"v":2}',
        b'{"v":{"a":1,"a":1}}',
        b'{"v":NaN}',
        b'{"v":Infinity}',
        b'{"v":' + b"9" * 5000 + b"}",
        b"[" * 100_000,
        b'{"v":01}',
        b'{"v":+1}',
        b'{"v":.5}',
        b'{"v":1.}',
        b'{"v":"\t"}',
        b"{'v':1}",
        b'{"v":1,}',
        b'{"v":1} x',
        b'{"v":1}{"v":2}',
        b"",
        b" ",
        b"\xef\xbb\xbf{}",
        b'{"v":"\xff"}',
        b'{"v":"\xed\xa0\x80"}',
        b"{\x00}",
    ],
)
def test_texts_that_are_no_json_are_refused(text: bytes) -> None:
    with pytest.raises(InvalidJson):
        json.parse_strict(text)


@pytest.mark.parametrize(
    "number",
    [
        b"1e309",
        b"1e-309",
        b"1e99999",
        b"1e999999999999999999999",
        b"1.8e308",
        b"-" + b"9" * 310 + b".5",
        b"9" * 310 + b"e0",
        b"1" * 3993 + b"e308",
        b"1" * 4000 + b"E-308",
        b"0." + b"1" * 15_999 + b"e-308",
    ],
)
def test_numbers_out_of_bounds_are_refused(number: bytes) -> None:
    with pytest.raises(ValidationFailed):
        json.parse_strict(b'{"v":[1,{"w":' + number + b"}]}")


@pytest.mark.parametrize(
    ("text", "pointer"),
    [
        (rb'"\u0000"', ""),
        (rb'{"a":["x",{"b/c":"x\u0000"}]}', "/a/1/b~1c"),
        (rb'{"a":{"\u0000":1}}', "/a"),
        (rb'["\\\u0000"]', "/0"),
        (rb'["\\\\u0000","\n\u0000"]', "/1"),
    ],
)
def test_a_nul_is_refused_with_its_pointer(text: bytes, pointer: str) -> None:
    with pytest.raises(ValidationFailed) as refused:
        json.parse_strict(text)
    assert [fault.pointer for fault in refused.value.errors] == [pointer]


@pytest.mark.parametrize("text", [rb'["\\u0000"]', rb'["\\\\u0000"]', rb'["\\",{"\\\\u0000":1}]'])
def test_an_escaped_backslash_before_u0000_is_no_nul(text: bytes) -> None:
    json.parse_strict(text)
