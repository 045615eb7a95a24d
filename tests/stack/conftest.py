"""These tests are of the stack that runs in this checkout; `make test-stack` asks for them."""

from __future__ import annotations

import os
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
