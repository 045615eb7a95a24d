"""Many records that are slow to check, at the same time: no process ends, others are served."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from itertools import count
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fixtures.stack import Stack

AT_ONCE = 12
LARGE = ", ".join(str(10**30 + n) for n in range(2000))
DIGITS = ", ".join(str(10**4298 + n) for n in range(240))
ENDLESS = ", ".join(["3999.5"] * 4000)
# The schema of the list, its items, and the status of the answer.
KINDS: dict[str, tuple[dict[str, Any], str, int]] = {
    "large numbers": ({"items": {"type": "string"}, "uniqueItems": True}, LARGE, 422),
    "different numbers": ({"uniqueItems": True}, LARGE, 201),
    "many digits": ({"items": {"multipleOf": 0.01}}, DIGITS, 201),
    "endless": ({"items": {"enum": [n + 0.5 for n in range(4000)]}}, ENDLESS, 422),
}
_keys = count()


def processes(stack: Stack) -> set[tuple[str, str]]:
    """The processes that serve, each with its replica."""
    found = set()
    for replica in stack.containers("api"):
        _, *lines = stack.docker("top", replica["Name"], "-o", "pid,ppid").splitlines()
        parents = dict(line.split() for line in lines)
        masters = {pid for pid, parent in parents.items() if parent not in parents}
        found |= {(replica["ID"], pid) for pid, parent in parents.items() if parent in masters}
    return found


@pytest.fixture
def _unharmed(stack: Stack, others: None) -> Iterator[None]:
    before = processes(stack)
    assert before
    yield
    assert processes(stack) == before


@pytest.mark.usefixtures("_unharmed")
@pytest.mark.parametrize("kind", KINDS)
def test_records_that_are_slow_to_check(stack: Stack, kind: str) -> None:
    items, values, expected = KINDS[kind]
    body = f'{{"x": [{values}]}}'
    with (
        stack.collection(schema={"properties": {"x": items}}, indexes=[]) as name,
        stack.admin() as client,
        ThreadPoolExecutor(AT_ONCE) as pool,
    ):

        def create(_: int) -> int:
            fields = {
                "Content-Type": "application/json",
                "Idempotency-Key": f"costly-{name}-{next(_keys)}",
            }
            return client.post(
                f"/collections/{name}/records", content=body, headers=fields
            ).status_code

        statuses = set(pool.map(create, range(AT_ONCE)))
    # If room is missing for long, the answer is 503.
    assert expected in statuses
    assert statuses <= {expected, 503}
