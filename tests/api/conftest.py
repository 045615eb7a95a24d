"""Fixtures of the tests of idempotency keys."""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import uuid4

import pytest

from fixtures.keyed import SCHEMA
from fixtures.rules import ANYONE

if TYPE_CHECKING:
    import httpx


@pytest.fixture(scope="module")
def orders(admin: httpx.Client) -> None:
    assert admin.put("/collections/orders", json={"schema": SCHEMA, "rules": ANYONE}).is_success


@pytest.fixture
def key() -> str:
    return str(uuid4())
