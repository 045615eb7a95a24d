"""Deleting users: immediate effects, the fate of their records, and permission to delete."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from app.collections import repository as collections_repository
from app.db import leases
from app.db.database import Database
from app.records import removal
from fixtures.cluster import database, execute, fetch
from fixtures.rules import ANYONE
from fixtures.server import ADMIN, serving, settings

if TYPE_CHECKING:
    import httpx

    from fixtures.server import Server

CACHE = {"list": "1m", "record": "1m"}


@pytest.fixture(scope="module", autouse=True)
def collections(admin: httpx.Client) -> None:
    for name, more in (("first", {}), ("second", {"cache": CACHE}), ("third", {})):
        body = {"schema": {"type": "object"}, "rules": ANYONE, **more}
        assert admin.put(f"/collections/{name}", json=body).is_success


def id_of(client: httpx.Client) -> str:
    id_: str = client.get("/auth/me").json()["id"]
    return id_


def fill(client: httpx.Client, number: int, *names: str) -> None:
    for name in names or ("first", "second", "third"):
        operations = [{"op": "create", "data": {"n": n}} for n in range(number)]
        path = f"/collections/{name}/records:batch"
        assert client.post(path, json={"operations": operations}).status_code == 200


def owned(database_url: str, owner: str) -> int:
    return sum(
        fetch(database_url, f"SELECT count(*) FROM records.{name} WHERE owner = '{owner}'")[0][0]
        for name in ("first", "second", "third")
    )


def work(url: str, *, size: int = removal.SLICE, parts: int = removal.PARTS) -> None:
    """Do the worker's removals, as if all had been requested an hour earlier; at most `parts`
    parts of them."""
    execute(url, "UPDATE listo.removals SET requested_at = requested_at - interval '1 hour'")
    remove(url, 30.0, size=size, parts=parts)


def remove(
    url: str, request_timeout: float, *, size: int = removal.SLICE, parts: int = removal.PARTS
) -> None:
    """Do the worker's removals, with a limit of `request_timeout` seconds for requests."""

    async def run() -> None:
        known = Database(url, name="listo-worker")
        await known.open()
        try:
            async with leases.take(known, "test", 0.0) as lease:
                assert lease is not None
                await removal.run(lease, request_timeout, size=size, parts=parts)
        finally:
            await known.close()

    asyncio.run(run())


def test_records_are_kept_and_name_their_owner(
    server: Server, admin: httpx.Client, database_url: str
) -> None:
    client = server.member("kept@example.com")
    user = id_of(client)
    fill(client, 2)
    gone = admin.delete(f"/users/{user}?records=keep")
    assert gone.status_code == 204
    assert gone.content == b""
    assert owned(database_url, user) == 6
    work(database_url)
    assert owned(database_url, user) == 6
    assert admin.get(f"/users/{user}/removal").json()["code"] == "removal_not_found"
    assert admin.get(f"/users/{user}").json()["code"] == "user_not_found"
    assert admin.delete(f"/users/{user}?records=keep").json()["code"] == "user_not_found"
    # The email address is free, and its next user is a different user.
    again = server.member("kept@example.com")
    assert id_of(again) != user


def test_records_are_deleted_by_the_worker_in_parts(
    server: Server, admin: httpx.Client, ada: httpx.Client, database_url: str
) -> None:
    # Removals that other tests asked for come first.
    work(database_url)
    client = server.member("leaver@example.com")
    user = id_of(client)
    fill(client, 7)
    fill(ada, 5)
    fill(client, 4, "second")
    lists = "/collections/second/records?limit=500"
    assert len(ada.get(lists).json()["items"]) >= 16
    record = client.post("/collections/second/records", json={"n": 9}).headers["location"]
    assert ada.get(record).json() == ada.get(record).json()
    events = "SELECT count(*) FROM listo.events WHERE type = 'record.deleted' AND actor = $1"
    before = fetch(database_url, events, id_of(admin))[0][0]

    asked = admin.delete(f"/users/{user}?records=delete")
    assert asked.status_code == 202
    location = asked.headers["location"]
    assert asked.json() == admin.get(location).json()
    assert asked.json() == {
        "user": user, "deleted": 0, "finished_at": None,
        "requested_at": asked.json()["requested_at"],
    }  # fmt: skip
    assert client.get("/auth/me").status_code == 401

    # The removal is interrupted, and another worker continues.
    while not (first := admin.get(location).json())["deleted"]:
        work(database_url, size=3, parts=1)
    assert first["deleted"] <= 3
    assert first["finished_at"] is None
    assert owned(database_url, user) == 26 - first["deleted"]
    work(database_url, size=3)
    done = admin.get(location).json()
    assert done["deleted"] == 26
    assert done["finished_at"] is not None
    assert owned(database_url, user) == 0
    assert owned(database_url, id_of(ada)) == 15
    assert fetch(database_url, events, id_of(admin))[0][0] == before + 26
    owners = {item["owner"] for item in ada.get(lists).json()["items"]}
    assert user not in owners
    assert ada.get(record).status_code == 404
    # Another run does nothing.
    work(database_url)
    assert admin.get(location).json()["deleted"] == 26


def test_nothing_is_deleted_while_a_request_of_the_user_may_be_in_work(
    server: Server, admin: httpx.Client, database_url: str
) -> None:
    client = server.member("in-work@example.com")
    user = id_of(client)
    fill(client, 1)
    location = admin.delete(f"/users/{user}?records=delete").headers["location"]
    remove(database_url, server.settings.request_timeout)
    assert admin.get(location).json()["deleted"] == 0
    work(database_url)
    assert admin.get(location).json()["deleted"] == 3


def test_the_removal_goes_on_although_collections_go_or_change(
    server: Server, admin: httpx.Client, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    body = {"schema": {"type": "object"}, "rules": ANYONE}
    for name in ("aaa", "aab"):
        assert admin.put(f"/collections/{name}", json=body).status_code == 201
    client = server.member("meanwhile@example.com")
    user = id_of(client)
    fill(client, 5, "aaa", "aab", "first")
    location = admin.delete(f"/users/{user}?records=delete").headers["location"]
    while not admin.get(location).json()["deleted"]:
        work(database_url, size=2, parts=1)
    assert admin.delete("/collections/aaa?confirm=aaa").status_code == 204
    # Caching begins between the reading of the definition and the deletion.
    first = collections_repository.first_collection_after
    changes: list[Any] = [{**body, "cache": {"list": "1m"}}]

    async def then_cached(*given: Any, **more: Any) -> Any:
        found = await first(*given, **more)
        if changes and found and found.name == "aab":
            change = changes.pop()
            await asyncio.to_thread(admin.put, "/collections/aab", json=change)
        return found

    monkeypatch.setattr(collections_repository, "first_collection_after", then_cached)
    work(database_url, size=2)
    assert admin.get(location).json()["deleted"] == 2 + 5 + 5
    assert admin.get("/collections/aab/records").json()["items"] == []
    assert owned(database_url, user) == 0


@pytest.mark.parametrize("query", ["", "?records=", "?records=all", "?records=keep&records=x"])
def test_a_deletion_has_to_say_what_becomes_of_the_records(
    server: Server, admin: httpx.Client, query: str
) -> None:
    user = id_of(server.member("chosen@example.com"))
    refused = admin.delete(f"/users/{user}{query}")
    assert refused.status_code == 400
    assert refused.json()["errors"][0]["parameter"] == "records"
    assert admin.get(f"/users/{user}").status_code == 200


def test_only_admins_delete_users(
    server: Server, admin: httpx.Client, ada: httpx.Client, anonymous: httpx.Client
) -> None:
    path = f"/users/{id_of(server.member('safe@example.com'))}"
    for client, status in ((anonymous, 401), (ada, 403)):
        assert client.delete(f"{path}?records=keep").status_code == status
        assert client.get(f"{path}/removal").status_code == status
    key = admin.post("/auth/api-keys", json={"name": "k", "scopes": ["users:admin"]}).json()
    program = server.client(key["key"])
    assert program.delete(f"{path}?records=delete").json()["code"] == "session_required"
    assert program.delete(f"{path}?records=keep").status_code == 204


def test_the_first_and_the_last_admin_are_not_deleted(cluster_url: str) -> None:
    with database(cluster_url) as url, serving(settings(url)) as server:
        admin = server.admin()
        named = admin.delete(f"/users/{id_of(admin)}?records=keep")
        assert named.json()["code"] == "first_admin"
        other = server.member("other@example.com", ("admin",))
    with database(cluster_url) as url:
        with serving(settings(url)) as server:
            other = server.member("other@example.com", ("admin",))
            id_ = id_of(other)
        with serving(settings(url, admin_email=None, admin_password=None)) as server:
            other = server.login("other@example.com")
            first = next(
                user["id"]
                for user in other.get("/users").json()["items"]
                if user["email"] == ADMIN["email"]
            )
            assert other.delete(f"/users/{first}?records=delete").status_code == 202
            last = other.delete(f"/users/{id_}?records=keep")
            assert last.json()["code"] == "last_admin"
            assert other.get("/auth/me").status_code == 200


def test_a_deletion_is_replayed(server: Server, admin: httpx.Client) -> None:
    user = id_of(server.member("replayed@example.com"))
    headers = {"Idempotency-Key": "delete-once"}
    once, again = (admin.delete(f"/users/{user}?records=delete", headers=headers) for _ in range(2))
    assert (once.status_code, once.content) == (again.status_code, again.content)
    assert again.headers["idempotency-replayed"] == "true"


def test_a_deletion_is_an_event(server: Server, admin: httpx.Client, database_url: str) -> None:
    user = id_of(server.member("told@example.com"))
    admin.delete(f"/users/{user}?records=keep")
    told = fetch(
        database_url, "SELECT type, actor::text, data::text FROM listo.events WHERE subject = $1",
        user,
    )  # fmt: skip
    assert [tuple(row) for row in told] == [("user.deleted", id_of(admin), '{"records": "keep"}')]
