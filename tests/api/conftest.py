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
    unique = {"fields": ["code"], "unique": True}
    body = {"schema": SCHEMA, "rules": ANYONE, "indexes": [unique]}
    assert admin.put("/collections/orders", json=body).is_success


@pytest.fixture
def key() -> str:
    return str(uuid4())
