"""Idempotency keys: how long a kept answer counts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from uuid import uuid4

import httpx
import pytest

from app.idempotency import service
from app.idempotency.repository import purge
from app.worker import LOOPS
from fixtures.cluster import database, execute
from fixtures.keyed import PATH, REPLAYED, SCHEMA, kept, replays, send
from fixtures.rules import ANYONE
from fixtures.server import serving, settings

if TYPE_CHECKING:
    from fixtures.server import Server

pytestmark = pytest.mark.usefixtures("orders")


def test_keys_expire_and_are_purged(
    ada: httpx.Client, server: Server, database_url: str, key: str
) -> None:
    other = str(uuid4())
    for each in (key, other):
        assert send(ada, "POST", PATH, each, json={"n": 1}).status_code == 201
    execute(
        database_url,
        "UPDATE listo.idempotency_keys SET created_at = now() - interval '24 hours 1 second'",
    )
    # The key is not purged yet, but it has expired.
    fresh = send(ada, "POST", PATH, key, json={"n": 2})
    assert fresh.status_code == 201
    assert REPLAYED not in fresh.headers
    before = kept(database_url)

    assert run(server, lambda database: purge(database, service.KEPT, 1)) == 1
    assert kept(database_url) == before - 1
    (loop,) = [loop for loop in LOOPS if loop.name == "purge_idempotency_keys"]
    run(server, lambda database: loop.work(database, server.settings))
    assert kept(database_url) == 1
    assert replays(fresh, send(ada, "POST", PATH, key, json={"n": 2}))


def run(server: Server, work: Any) -> Any:
    """Do the work in the server's own event loop."""
    path = f"/test/{uuid4().hex}"

    @server.app.get(path)
    async def duty() -> Any:
        return await work(server.services.database)

    return server.client().get(path).json()


def test_the_secret_may_change(cluster_url: str, key: str) -> None:
    old, new = "0123456789abcdefghijklmnopqrstuv", "zyxwvutsrqponmlkjihgfedcba9876543210"

    def ask(url: str, **secrets: str) -> httpx.Response:
        with serving(settings(url, **secrets)) as server:
            server.admin().put("/collections/orders", json={"schema": SCHEMA, "rules": ANYONE})
            return send(server.client(), "POST", PATH, key, json={"n": 1})

    with database(cluster_url) as url:
        first = ask(url, jwt_secret=old)
        assert replays(first, ask(url, jwt_secret=new, jwt_secret_previous=old))
        # The answer is lost, but the request is not carried out a second time.
        assert ask(url, jwt_secret=new).json()["code"] == "idempotency_key_reused"
