"""The cost of checking a record: estimated before, and bounded by the size of the record."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from app.collections.checking.pool import AT_ONCE
from app.collections.json_schema.exact import MultipleOf, UniqueItems
from app.collections.json_schema.validator import RecordValidator
from app.core import json
from fixtures import hostile_schemas

if TYPE_CHECKING:
    from collections.abc import Callable

PROGRAM = Path(hostile_schemas.__file__)
ROOT = PROGRAM.parents[2]
UNIQUE = {"uniqueItems": True}
FIRST, COUNT = int(os.environ.get("SEED", "0")), int(os.environ.get("EXAMPLES", "120"))


def test_checks_that_are_done_at_once_take_little_time() -> None:
    """The check of each schema ends, too; otherwise the kernel would end the program."""
    done = subprocess.run(
        (sys.executable, str(PROGRAM), *map(str, range(FIRST, FIRST + COUNT))),
        env={**os.environ, "PYTHONPATH": f"{ROOT}/services/api:{ROOT}:{ROOT}/tests"},
        capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, (done.stdout.splitlines()[-1:], done.stderr[-500:])
    outcomes = {line.partition(" ")[2] for line in done.stdout.splitlines()}
    assert outcomes >= {"valid", "told", "beside", "schema_too_costly"}


def test_a_long_regular_expression_is_checked_beside() -> None:
    """A check of 100 kB with thousands of named groups takes a third of a second."""
    text = "".join(f"(?<n{number}>a)" for number in range(9000))
    cost = RecordValidator({"properties": {"x": {"format": "regex"}}}).cost(f'{{"x": "{text}"}}')
    assert cost > AT_ONCE


def _seconds(work: Callable[[], object]) -> float:
    """CPU seconds, the minimum of three runs."""

    def once() -> float:
        began = time.thread_time()
        work()
        return time.thread_time() - began

    return min(once() for _ in range(3))


@pytest.mark.parametrize(
    ("schema", "made"),
    [
        ({"items": {"minLength": 1}, **UNIQUE}, lambda n: [10**30 + i for i in range(n)]),
        (UNIQUE, lambda n: [(1 << 63) + i for i in range(n)]),
        (UNIQUE, lambda n: [((1 << 61) - 1) << i % 300 for i in range(n // 300)]),
        (UNIQUE, lambda n: [i * ((1 << 61) - 1) for i in range(n)]),
        (UNIQUE, lambda n: [[10**30 + i] for i in range(n)]),
        ({"items": {"multipleOf": 0.01}}, lambda n: [10**4000 + i for i in range(n // 10)]),
    ],
)  # fmt: skip
def test_numbers_of_any_size_cost_in_proportion(
    schema: dict[str, Any], made: Callable[[int], list[Any]]
) -> None:
    validator = RecordValidator({"properties": {"x": schema}})

    def seconds_for(n: int) -> float:
        text = f'{{"x": [{", ".join(map(str, made(n)))}]}}'
        value = json.parse_strict(text.encode())
        validator.is_valid(value, text)
        return _seconds(lambda: validator.is_valid(value, text))

    # A cost that grew with the square would be 16 times as much.
    assert seconds_for(8000) < 9 * seconds_for(2000)


@pytest.mark.parametrize("large", [10**30, 1 << 63])
def test_large_numbers_are_told_apart_as_small_ones_are(large: int) -> None:
    validator = RecordValidator({"properties": {"x": {"uniqueItems": True}}})

    def unique(*items: str) -> bool:
        text = f'{{"x": [{", ".join(items)}, {large}]}}'
        return validator.is_valid(json.parse_strict(text.encode()), text)

    assert unique(
        "1", "2", "true", '"1"', "null", "[1]", '{"a": 1}', "1.5", "[]", "{}", "false", "0"
    )
    for twice in ("1", "1.0", "true", "null", '"a"', "[1, 2]", '{"a": 1, "b": [2]}', str(large)):
        assert not unique(twice, twice)
    assert not unique("1", "1.0")
    assert not unique("[[1], 2]", "[[1.0], 2.0]")
    assert not unique('{"a": 1, "b": 2}', '{"b": 2, "a": 1}')
    assert unique('{"a": 1}', '["a", 1]', '[["a", 1]]')


@pytest.mark.parametrize("step", [1, 3, 0.5, 0.01, 1e-9, 2.5, 1e300])
def test_multiples_are_the_same_for_large_numbers(step: float) -> None:
    validator = RecordValidator({"properties": {"x": {"multipleOf": step}}})
    for value in (0, 1, 3, -6, 0.07, 19.99, 4.35, 2.5, 1e-9, 1e300, 123456.78, True, "1"):
        plain = validator.is_valid({"x": value}, "")
        try:
            MultipleOf({}, step, []).validate(value)
        except ValueError:
            assert not plain, value
        else:
            assert plain, value


def test_unique_items_passes_false_and_values_other_than_lists() -> None:
    UniqueItems({}, False, []).validate([1, 1])
    UniqueItems({}, True, []).validate("aa")


def test_a_fault_deep_in_a_record_costs_a_copy_for_each_level() -> None:
    validator = RecordValidator({"properties": {"a": {"$ref": "#"}, "n": {"type": "integer"}}})
    long = f'{{"n": "{"x" * 15_000}"}}'
    deep = '{"a":' * 50 + long + "}" * 50
    small = '{"a":' * 50 + '{"n": "x"}' + "}" * 50
    copies = validator.cost(deep, faults=True) - validator.cost(small, faults=True)
    flat = validator.cost(long, faults=True) - validator.cost('{"n": "x"}', faults=True)
    assert copies > 20 * flat
