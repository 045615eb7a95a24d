"""What a request may cost: statements sent to PostgreSQL, once caches are warm."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    import httpx

    from fixtures.server import Server

PATH = "/collections/cheap/records"


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
    ("method", "path", "body", "statements"),
    [
        ("GET", "RECORD", None, 1),
        ("GET", PATH + "?filter=n>0&sort=-n&limit=1", None, 1),
        ("GET", PATH + "?count=exact", None, 1),
        ("GET", PATH + "?count=estimated", None, 1),
        ("POST", PATH, {"n": 1}, 1),
        ("PUT", "RECORD", {"n": 1}, 1),
        ("PATCH", "RECORD", {"n": 2}, 2),
        ("GET", "/health", None, 0),
    ],
)
def test_statements(
    server: Server,
    ada: httpx.Client,
    record: str,
    method: str,
    path: str,
    body: Any,
    statements: int,
) -> None:
    target = record if path == "RECORD" else path
    ada.request(method, target, json=body)  # warms what is remembered
    server.statements.clear()
    response = ada.request(method, target, json=body)
    assert response.is_success
    assert len(server.statements) == statements, server.statements


def test_bytes_of_a_record(ada: httpx.Client, record: str) -> None:
    response = ada.get(record)
    headers = sum(len(name) + len(value) + 4 for name, value in response.headers.raw)
    assert len(response.content) < 250
    assert headers < 700
