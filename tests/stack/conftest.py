"""Tests of the stack that runs in this checkout, by `make test-stack`."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from threading import Event
from typing import TYPE_CHECKING

import pytest

from fixtures import stack as running_stack

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fixtures.stack import Stack

collect_ignore_glob = [] if os.environ.get("LISTO_STACK") else ["test_*.py"]


@pytest.fixture(scope="session")
def stack() -> Stack:
    return running_stack.running()


@pytest.fixture
def collection(stack: Stack) -> Iterator[str]:
    with stack.collection() as name:
        yield name


@pytest.fixture
def others(stack: Stack) -> Iterator[None]:
    """Meanwhile another client can read a small record."""
    ended = Event()
    with stack.collection() as name, stack.admin() as admin, ThreadPoolExecutor(1) as pool:
        made = admin.post(f"/collections/{name}/records", json={"n": 1})
        path = f"/collections/{name}/records/{made.json()['id']}"

        def read() -> list[int]:
            statuses = []
            # Ten times a second, since the reader has a limit, too.
            while not ended.wait(0.1):
                statuses.append(admin.get(path).status_code)
            return statuses

        reading = pool.submit(read)
        try:
            yield
        finally:
            ended.set()
        statuses = reading.result()
    assert statuses
    assert set(statuses) == {200}
