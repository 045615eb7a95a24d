"""Rate limits over all replicas, exact to the request. WINDOW=60 has windows of a minute."""

from __future__ import annotations

import asyncio
import os
import time
from collections import Counter
from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING

import pytest

from fixtures.hammer import hammer
from fixtures.stack import EDGE_ADDRESS, again

if TYPE_CHECKING:
    import httpx

    from fixtures.hammer import Admitted
    from fixtures.stack import Stack

WINDOW = int(os.environ.get("WINDOW", "10"))
ROUNDS = int(os.environ.get("ROUNDS", "2"))
WINDOWS = 5
LIMITS = (1, 37, 600)


@pytest.mark.parametrize("limit", LIMITS)
def test_exactly_the_limit_passes_from_idle(stack: Stack, limit: int) -> None:
    passed = []
    for _ in range(ROUNDS):
        # The window is a day, so that time gives back no request meanwhile.
        with stack.keys(1, rate_limit=f"{limit}/day") as (key,):
            passed.append(len(asyncio.run(hammer(stack, key, requests=limit + 300))))
    assert passed == [limit] * ROUNDS


def test_the_limit_passes_in_each_later_window(stack: Stack) -> None:
    async def all_at_once(keys: list[str]) -> list[Admitted]:
        seconds = (WINDOWS + 1) * WINDOW
        return await asyncio.gather(*(hammer(stack, key, seconds=seconds) for key in keys))

    with ExitStack() as made:
        keys = [
            made.enter_context(stack.keys(1, rate_limit=f"{limit}/{WINDOW} seconds"))[0]
            for limit in LIMITS
        ]
        every = asyncio.run(all_at_once(keys))
        for limit, key, admitted in zip(LIMITS, keys, every, strict=True):
            with stack.client(headers={"Authorization": f"Bearer {key}"}) as client:
                asked = time.time()
                last = client.get("/collections")
            first_sent = min(sent for sent, _ in admitted)
            first_answered = min(answered for _, answered in admitted)
            print(f"\n{limit}/{WINDOW} s: {_by_window(admitted, first_sent)}")  # noqa: T201
            for number in range(WINDOWS + 1):
                # The limiter counted each request before its answer, also the first one.
                by_then = sum(answered <= first_sent + number * WINDOW for _, answered in admitted)
                assert by_then <= limit + number * limit + 1
            # No request is lost: the admitted and the remaining ones together are the limit and
            # what time gave back.
            left = _remaining(last) + (last.status_code == 200)
            given = min(limit + limit * (asked - first_answered) / WINDOW, len(admitted) + limit)
            assert len(admitted) + left >= given - 1


def _remaining(answer: httpx.Response) -> int:
    return int(answer.headers["RateLimit"].split(";r=")[1].split(";")[0])


def _by_window(admitted: Admitted, start: float) -> list[int]:
    found = Counter(int((answered - start) // WINDOW) for _, answered in admitted)
    return [found[number] for number in range(WINDOWS + 1)]


def test_two_windows_hold_at_once(stack: Stack) -> None:
    seconds, fast, slow = 8, 10, 50
    with stack.keys(1, rate_limit=f"{fast}/second, {slow}/day") as (key,):
        admitted = asyncio.run(hammer(stack, key, seconds=seconds))
    start = min(sent for sent, _ in admitted)
    # The slow rate ends the admission, and until then the fast rate holds.
    assert len(admitted) == slow
    for after in range(seconds):
        assert sum(answered <= start + after for _, answered in admitted) <= fast * (after + 1) + 1


@pytest.mark.parametrize(
    "spoofed",
    [
        {"X-Forwarded-For": "203.0.113.{n}"},
        {"X-Forwarded-For": "203.0.113.{n}, 198.51.100.{n}"},
        {"X-Real-IP": "203.0.113.{n}"},
        {"Forwarded": "for=203.0.113.{n};proto=https, for=198.51.100.{n}"},
        {"X-Forwarded-For": f"{EDGE_ADDRESS}, 203.0.113.{{n}}", "X-Real-IP": "203.0.113.{n}",
         "Forwarded": 'for="[2001:db8::{n}]"'},
    ],
)  # fmt: skip
def test_what_a_client_says_of_its_address_changes_nothing(
    stack: Stack, spoofed: dict[str, str]
) -> None:
    """Each request of the client counts under its one address."""
    remaining = []
    with stack.client() as client:
        for number in range(1, 6):
            headers = {name: value.format(n=number) for name, value in spoofed.items()}
            answer = again(partial(client.get, "/collections", headers=headers))
            remaining.append(_remaining(answer))
    # Time gives back little in between, and a new caller would have the whole limit again.
    assert remaining[0] - remaining[-1] >= 2
