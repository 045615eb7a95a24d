"""Fixtures that several files of tests share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest

from app.db.pool.gathering import Gathering
from fixtures.keyed import SCHEMA
from fixtures.rules import ANYONE

if TYPE_CHECKING:
    import httpx

    from fixtures.server import Server


@pytest.fixture(scope="module")
def orders(admin: httpx.Client) -> None:
    unique = {"fields": ["code"], "unique": True}
    body = {"schema": SCHEMA, "rules": ANYONE, "indexes": [unique]}
    assert admin.put("/collections/orders", json=body).is_success


@pytest.fixture
def key() -> str:
    return str(uuid4())


@pytest.fixture
def asked(server: Server, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The questions so far. Each read and create goes through a joint statement, one at a time."""
    monkeypatch.setattr(Gathering, "_may_go_alone", lambda _: False)
    # While a test holds a lock, requests are not to be refused for the strain that they are.
    monkeypatch.setattr(server.services.concurrency, "_delay", lambda: 0.0)
    ask, questions = Gathering.ask, list[Any]()

    async def noted(self: Gathering[Any, Any], question: Any, weight: int) -> Any:
        questions.append(question)
        return await ask(self, question, weight)

    monkeypatch.setattr(Gathering, "ask", noted)
    return questions
