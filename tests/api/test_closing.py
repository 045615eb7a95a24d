"""The end of a process and its work beside requests: an error in a step skips no other step."""

from __future__ import annotations

import json
import threading
from typing import TYPE_CHECKING, Any

import asyncpg
import pytest

from app import lifespan
from app.auth.api_keys import repository as api_key_repository
from app.core.background import Background
from app.overload.concurrency import Concurrency
from app.ratelimit.memory import MemoryLimiter
from fixtures.cluster import fetch
from fixtures.server import serving, settings

if TYPE_CHECKING:
    from fixtures.server import Server


def use_a_key(server: Server) -> str:
    body = {"name": "key", "scopes": ["records:read"]}
    made = server.admin().post("/auth/api-keys", json=body).json()
    assert server.client(made["key"]).get("/auth/me").is_success
    return str(made["id"])


def warnings(capsys: pytest.CaptureFixture[str]) -> list[str]:
    lines = map(json.loads, capsys.readouterr().out.splitlines())
    return [line["message"] for line in lines if line["level"] != "INFO"]


def last_use(database_url: str, key: str) -> Any:
    (row,) = fetch(database_url, f"SELECT last_used_at FROM listo.api_keys WHERE id = '{key}'")
    return row["last_used_at"]


def test_the_use_of_keys_is_noted_after_a_fault(
    database_url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    touch, noted, calls = api_key_repository.touch, threading.Event(), 0

    async def faulty(session: Any, used: Any) -> None:
        nonlocal calls
        calls += 1
        if calls == 1:
            raise asyncpg.InsufficientPrivilegeError("denied\nfor one table")
        await touch(session, used)
        noted.set()

    monkeypatch.setattr(lifespan, "_FLUSH_SECONDS", 0.01)
    monkeypatch.setattr(api_key_repository, "touch", faulty)
    with serving(settings(database_url)) as server:
        key = use_a_key(server)
        assert noted.wait(10)
        assert last_use(database_url, key) is not None
    assert warnings(capsys) == [
        "could not note the use of API keys: InsufficientPrivilegeError: denied for one table"
    ]


def test_everything_is_closed_although_a_step_fails(
    database_url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    async def broken(*_: object) -> None:
        raise RuntimeError("broken\nin two lines")

    # This task ends before the server stops.
    monkeypatch.setattr(Concurrency, "run", broken)
    monkeypatch.setattr(Background, "close", broken)
    monkeypatch.setattr(MemoryLimiter, "close", broken)
    with serving(settings(database_url)) as server:
        key = use_a_key(server)
        services = server.services
        assert last_use(database_url, key) is None
    assert last_use(database_url, key) is not None
    assert services.database._pool is None
    with pytest.raises(RuntimeError, match="cannot schedule new futures after shutdown"):
        services.passwords._pool.submit(int)
    assert warnings(capsys) == [
        f"could not {step}: RuntimeError: broken in two lines"
        for step in ("go on with concurrency", "end background work", "close the limiter")
    ]
