"""Two servers on one database, while messages of one do not reach the other: every change is
effective on the other server nevertheless."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import asyncpg
import pytest

from app.db.database import Database
from app.db.notifications import CHANNEL, LISTENER
from app.ops import readiness
from fixtures.cluster import execute, fetch
from fixtures.relay import postgres_relay
from fixtures.server import serving, settings
from fixtures.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import httpx

    from fixtures.relay import Relay
    from fixtures.server import Server

# After a longer time, servers forget credentials and definitions anyway.
PATIENCE = 20
OBJECT = {"type": "object"}


@pytest.fixture(autouse=True)
def report_of_now(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have each request for readiness checked anew, since tests ask right after a change."""
    monkeypatch.setattr(readiness, "KEPT_SECONDS", 0.0)


@pytest.fixture(scope="module")
def relay(database_url: str) -> Iterator[tuple[str, Relay]]:
    with postgres_relay(database_url) as made:
        yield made


@pytest.fixture(scope="module")
def pair(database_url: str, relay: tuple[str, Relay]) -> Iterator[tuple[Server, Server]]:
    nowhere = "redis://127.0.0.1:1"
    with (
        serving(settings(database_url, redis_url=nowhere)) as one,
        serving(settings(relay[0], redis_url=nowhere)) as other,
    ):
        yield one, other


def until(condition: Callable[[], object]) -> None:
    wait_until(condition, PATIENCE)


@pytest.fixture(params=["silent", "unlistened", "terminated"])
def deafen(
    request: pytest.FixtureRequest,
    pair: tuple[Server, Server],
    relay: tuple[str, Relay],
    database_url: str,
) -> Iterator[Callable[[], None]]:
    """A function that keeps all later messages from the other server."""

    def silent() -> None:
        relay[1].silence(LISTENER.encode())

    def unlistened() -> None:
        notifications: Any = pair[1].services.database.notifications

        async def unlisten() -> None:
            # The listener may be running a statement of its own.
            while True:
                with suppress(asyncpg.InterfaceError):
                    await notifications._connection.execute(f"UNLISTEN {CHANNEL}")
                    return
                await asyncio.sleep(0)

        asyncio.run_coroutine_threadsafe(unlisten(), notifications._task.get_loop()).result()

    def terminated() -> None:
        execute(
            database_url,
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            f" WHERE application_name = '{LISTENER}' AND datname = current_database()",
        )

    yield {"silent": silent, "unlistened": unlistened, "terminated": terminated}[request.param]
    relay[1].mend()
    terminated()
    until(lambda: pair[1].client().get("/health/ready").json()["checks"]["notifications"]["ok"])


def on(server: Server, client: httpx.Client) -> httpx.Client:
    """The same caller on another server, once authenticated there."""
    there = server.client(str(client.headers["authorization"]).removeprefix("Bearer "))
    assert there.get("/auth/me").status_code == 200
    return there


def status(client: httpx.Client, path: str) -> int:
    return client.get(path).status_code


def test_sessions_end_although_messages_are_lost(
    pair: tuple[Server, Server], deafen: Callable[[], None]
) -> None:
    one, other = pair
    ada, bob = one.member("ada@example.com"), one.member("bob@example.com")
    there = [on(other, each) for each in (ada, bob)]
    id_ = bob.get("/auth/me").json()["id"]
    deafen()
    try:
        assert ada.post("/auth/logout").status_code == 204
        assert one.admin().patch(f"/users/{id_}", json={"disabled": True}).status_code == 200
        for each in there:
            until(lambda each=each: status(each, "/auth/me") == 401)  # type: ignore[misc]
    finally:
        one.admin().patch(f"/users/{id_}", json={"disabled": False})


def test_roles_change_although_messages_are_lost(
    pair: tuple[Server, Server], deafen: Callable[[], None]
) -> None:
    one, other = pair
    eve = one.member("eve@example.com", roles=("admin",))
    there = on(other, eve)
    id_ = eve.get("/auth/me").json()["id"]
    try:
        assert status(there, "/users") == 200
        deafen()
        one.admin().patch(f"/users/{id_}", json={"roles": ["member"]})
        until(lambda: status(there, "/users") == 403)
    finally:
        one.admin().patch(f"/users/{id_}", json={"roles": ["admin"]})


def test_keys_end_although_messages_are_lost(
    pair: tuple[Server, Server], deafen: Callable[[], None]
) -> None:
    one, other = pair
    admin = one.admin()
    made = admin.post("/auth/api-keys", json={"name": "k", "scopes": ["records:read"]}).json()
    there = other.client(made["key"])
    assert status(there, "/auth/me") == 200
    deafen()
    assert admin.delete(f"/auth/api-keys/{made['id']}").status_code == 204
    until(lambda: status(there, "/auth/me") == 401)


def test_rules_change_and_collections_come_although_messages_are_lost(
    pair: tuple[Server, Server], deafen: Callable[[], None]
) -> None:
    one, other = pair
    admin, stranger = one.admin(), other.client()
    name = f"doors-{uuid4().hex[:12]}"
    path = f"/collections/{name}/records"
    assert status(stranger, path) == 404
    deafen()
    for rule, expected in (("", 200), (None, 404)):
        admin.put(f"/collections/{name}", json={"schema": OBJECT, "rules": {"list": rule}})
        until(lambda expected=expected: status(stranger, path) == expected)  # type: ignore[misc]


def test_messages_of_a_savepoint_that_is_undone_are_not_sent(
    pair: tuple[Server, Server], database_url: str
) -> None:
    """The rollback of a savepoint undoes its messages and their numbers."""
    before = fetch(database_url, "SELECT number FROM listo.changes")[0][0]
    heard: list[str] = []

    async def work() -> None:
        database = Database(database_url)
        database.notifications.subscribe("t", heard.append, lambda: None)
        await database.open()
        try:
            async with database.transaction() as session:
                await session.notify("t", "kept")
                with suppress(ValueError):
                    async with session.nested() as inner:
                        await inner.notify("t", "undone")
                        raise ValueError
            await database.notify("t", "alone")
        finally:
            await database.close()

    asyncio.run(work())
    assert heard == ["kept", "alone"]
    assert fetch(database_url, "SELECT number FROM listo.changes")[0][0] == before + 2


def test_listening_goes_on_whatever_ended_it(
    pair: tuple[Server, Server], database_url: str
) -> None:
    """The test removes the row that counts changes: an error that no code expects."""

    def listening() -> list[bool]:
        reports = [each.client().get("/health/ready").json()["checks"] for each in pair]
        return [report["notifications"]["ok"] for report in reports]

    execute(database_url, "CREATE TABLE put_aside AS TABLE listo.changes")
    execute(database_url, "DELETE FROM listo.changes")
    try:
        until(lambda: not any(listening()))
    finally:
        execute(database_url, "INSERT INTO listo.changes SELECT * FROM put_aside")
        execute(database_url, "DROP TABLE put_aside")
    until(lambda: all(listening()))
    ada = pair[0].member("ada@example.com")
    there = on(pair[1], ada)
    assert ada.post("/auth/logout").status_code == 204
    until(lambda: status(there, "/auth/me") == 401)


def test_unknown_names_cost_one_statement(pair: tuple[Server, Server]) -> None:
    stranger = pair[0].client()
    name = f"none-{uuid4().hex[:12]}"
    assert status(stranger, f"/collections/{name}/records") == 404
    pair[0].statements.clear()
    assert status(stranger, f"/collections/{name}/records") == 404
    assert pair[0].statements == []
    pair[0].admin().put(f"/collections/{name}", json={"schema": OBJECT, "rules": {"list": ""}})
    assert status(stranger, f"/collections/{name}/records") == 200
