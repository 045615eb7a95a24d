"""Budgets of a request once caches are warm: statements, round trips to PostgreSQL, bytes."""

from __future__ import annotations

from itertools import count
from typing import TYPE_CHECKING, Any

import pytest

from fixtures.relay import postgres_relay
from fixtures.server import Server, serving, settings

if TYPE_CHECKING:
    from collections.abc import Iterator

    import httpx

    from fixtures.relay import Relay

PATH = "/collections/cheap/records"
_NUMBERS = count(10)
BATCH = {"operations": [{"op": "create", "data": {"n": n}} for n in range(3)]}


@pytest.fixture(scope="module")
def relay(database_url: str) -> Iterator[tuple[str, Relay]]:
    with postgres_relay(database_url) as between:
        yield between


@pytest.fixture(scope="module")
def server(relay: tuple[str, Relay]) -> Iterator[Server]:
    """Replaces the usual server: the turns of this one to PostgreSQL can be counted."""
    with serving(settings(relay[0])) as running:
        yield running


@pytest.fixture(scope="module")
def record(admin: httpx.Client, ada: httpx.Client) -> str:
    body = {
        "schema": {"type": "object", "properties": {"n": {"type": "integer"}}},
        "rules": dict.fromkeys(("list", "read", "create", "update", "delete"), "owner = @user.id"),
    }
    assert admin.put("/collections/cheap", json=body).is_success
    ids = [ada.post(PATH, json={"n": n}).json()["id"] for n in range(3)]
    return f"{PATH}/{ids[0]}"


@pytest.mark.parametrize(
    ("method", "path", "body", "statements", "trips"),
    [
        ("GET", "RECORD", None, 1, 1),
        ("GET", PATH + "?filter=n>0&sort=-n&limit=1", None, 1, 1),
        ("GET", PATH + "?count=exact", None, 1, 1),
        ("GET", PATH + "?count=estimated", None, 1, 1),
        ("POST", PATH, {"n": 1}, 1, 1),
        ("PUT", "RECORD", "ANOTHER", 1, 1),
        ("PATCH", "RECORD", "ANOTHER", 2, 2),
        # Writes that change nothing.
        ("PUT", "RECORD", {"n": 1}, 2, 2),
        ("PATCH", "RECORD", {"n": 2}, 1, 1),
        # BEGIN and COMMIT among them.
        ("POST", PATH + ":batch", BATCH, 3, 3),
        ("GET", "/health", None, 0, 0),
    ],
)
def test_a_request_takes_its_statements_and_round_trips(
    server: Server,
    relay: tuple[str, Relay],
    ada: httpx.Client,
    record: str,
    method: str,
    path: str,
    body: Any,
    statements: int,
    trips: int,
) -> None:
    def turns() -> int:
        # The listener checks its connection by the clock, so its turns do not count.
        return relay[1].round_trips(excluding=b"LISTEN")

    target = record if path == "RECORD" else path

    def ask() -> httpx.Response:
        return ada.request(
            method, target, json={"n": next(_NUMBERS)} if body == "ANOTHER" else body
        )

    ask()  # warms the caches
    ask()
    server.statements.clear()
    before = turns()
    response = ask()
    assert response.is_success
    assert len(server.statements) == statements, server.statements
    assert turns() - before == trips


@pytest.mark.parametrize(
    ("method", "path", "body", "content", "head"),
    [
        ("GET", "RECORD", None, 250, 450),
        ("GET", PATH + "?limit=3", None, 800, 600),
        ("POST", PATH, {"n": 1}, 250, 450),
        ("PATCH", "RECORD", {"n": 2}, 250, 400),
    ],
)
def test_an_answer_is_within_its_bytes(
    ada: httpx.Client,
    record: str,
    method: str,
    path: str,
    body: Any,
    content: int,
    head: int,
) -> None:
    response = ada.request(method, record if path == "RECORD" else path, json=body)
    assert response.is_success
    headers = sum(len(name) + len(value) + 4 for name, value in response.headers.raw)
    assert len(response.content) < content
    assert headers < head
