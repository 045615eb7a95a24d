"""Collections are changed and deleted while others are at work in them."""

from __future__ import annotations

import asyncio
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import httpx
import pytest

from app.collections import service
from app.db import locks
from fixtures.cluster import fetch
from fixtures.listo import Listo, Outcome
from fixtures.open_transactions import open_transaction
from fixtures.waiting import PATIENCE, wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager
    from pathlib import Path

    from app.collections.models import Collection
    from app.core.errors import FieldError

OTHER = {"schema": {"type": "object", "title": "other"}, "rules": {"list": ""}}

# Keeps the last step of building an index waiting for as long as the transaction is open.
OLD_SNAPSHOT = "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ; SELECT 1"


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lengthen the patience for a slow machine."""
    monkeypatch.setattr(locks, "PATIENCE_SECONDS", 25.0)


@pytest.fixture
def name(admin: httpx.Client) -> str:
    """The name of a collection with a record."""
    made = f"c{uuid4().hex}"
    put(admin, made, {"schema": {}, "rules": {"list": ""}})
    write(admin, made)
    return made


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(4) as pool:
        yield pool


def put(admin: httpx.Client, name: str, body: dict[str, Any]) -> None:
    response = admin.put(f"/collections/{name}", json=body)
    assert response.is_success, response.text


def write(client: httpx.Client, name: str) -> None:
    response = client.post(f"/collections/{name}/records", json={"a": 1})
    assert response.status_code == 201, response.text


def states(admin: httpx.Client, name: str) -> set[str]:
    return {index["state"] for index in admin.get(f"/collections/{name}").json()["indexes"]}


def begin_index(admin: httpx.Client, url: str, name: str, **body: object) -> None:
    """Have an index built until the build waits for the old snapshot."""
    put(admin, name, {"schema": {}, "rules": {"list": ""}, "indexes": ["a"], **body})
    waiting = (
        "SELECT FROM pg_stat_progress_create_index WHERE relid = to_regclass($1)"
        " AND phase = 'waiting for old snapshots'"
    )
    wait_until(lambda: bool(fetch(url, waiting, f'records."{name}"')))
    assert states(admin, name) == {"building"}


def in_the_way(url: str, name: str) -> AbstractContextManager[None]:
    """A lock that is not cancelled, like that of a manual VACUUM; readers and writers continue."""
    return open_transaction(url, f'LOCK TABLE records."{name}" IN SHARE UPDATE EXCLUSIVE MODE')


def asked_for(url: str, name: str, mode: str) -> Callable[[], bool]:
    """Whether a session waits for a lock of `mode` on the table."""
    query = "SELECT FROM pg_locks WHERE relation = to_regclass($1) AND mode = $2 AND NOT granted"
    return lambda: bool(fetch(url, query, f'records."{name}"', mode))


def test_a_schema_changes_while_an_index_is_built(
    admin: httpx.Client, database_url: str, name: str
) -> None:
    with open_transaction(database_url, OLD_SNAPSHOT):
        begin_index(admin, database_url, name)
        put(admin, name, {**OTHER, "indexes": ["a", "b"]})
        write(admin, name)
        assert "ready" not in states(admin, name)
    wait_until(lambda: states(admin, name) == {"ready"})
    assert admin.get(f"/collections/{name}").json()["version"] == 3


def test_a_collection_is_deleted_while_an_index_is_built(
    admin: httpx.Client, database_url: str, name: str
) -> None:
    with open_transaction(database_url, OLD_SNAPSHOT):
        begin_index(admin, database_url, name)
        gone = admin.delete(f"/collections/{name}?confirm={name}")
        assert gone.status_code == 204, gone.text
        put(admin, name, {**OTHER, "indexes": ["a"]})
        assert states(admin, name) == {"ready"}


def test_a_refused_change_lets_the_index_go_on(
    admin: httpx.Client, database_url: str, name: str
) -> None:
    with open_transaction(database_url, OLD_SNAPSHOT):
        begin_index(admin, database_url, name)
        refused = admin.put(f"/collections/{name}", json={"schema": {"required": ["b"]}})
        assert refused.json()["code"] == "records_do_not_fit"
    wait_until(lambda: states(admin, name) == {"ready"})


def test_writers_go_on_while_a_change_waits(
    admin: httpx.Client, database_url: str, name: str, threads: ThreadPoolExecutor
) -> None:
    with in_the_way(database_url, name):
        change: Future[Any] = threads.submit(admin.put, f"/collections/{name}", json=OTHER)
        wait_until(asked_for(database_url, name, "ShareRowExclusiveLock"))
        for _ in range(20):
            write(admin, name)
        assert not change.done()
    assert change.result().status_code == 200


def test_readers_go_on_while_a_deletion_waits(
    admin: httpx.Client, database_url: str, name: str, threads: ThreadPoolExecutor
) -> None:
    with open_transaction(database_url, f'SELECT FROM records."{name}"'):
        target = f"/collections/{name}?confirm={name}"
        deletion: Future[Any] = threads.submit(admin.delete, target)
        wait_until(asked_for(database_url, name, "AccessExclusiveLock"))
        for _ in range(20):
            assert admin.get(f"/collections/{name}/records").is_success
        assert not deletion.done()
    assert deletion.result().status_code == 204


def test_a_change_whose_turn_does_not_come_is_refused(
    admin: httpx.Client, database_url: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(locks, "PATIENCE_SECONDS", 0.5)
    with in_the_way(database_url, name):
        for refused in (
            admin.put(f"/collections/{name}", json=OTHER),
            admin.delete(f"/collections/{name}?confirm={name}"),
            admin.put(f"/collections/{name}", json=OTHER, headers={"Idempotency-Key": uuid4().hex}),
        ):
            assert refused.status_code == 503
            assert refused.json()["code"] == "collection_busy"
            assert int(refused.headers["retry-after"]) >= 1
        write(admin, name)
    assert admin.get(f"/collections/{name}").json()["version"] == 1


def test_a_change_that_waits_for_another_holds_up_no_index(
    admin: httpx.Client, database_url: str, name: str, threads: ThreadPoolExecutor
) -> None:
    other = f"{name}x"
    put(admin, other, {"schema": {}})
    changing = f"SELECT pg_advisory_xact_lock(hashtextextended('collection:{name}', 0))"
    with open_transaction(database_url, changing):
        change: Future[Any] = threads.submit(admin.put, f"/collections/{name}", json=OTHER)
        put(admin, other, {"schema": {}, "indexes": ["a"]})
        wait_until(lambda: states(admin, other) == {"ready"})
        assert not change.done()
    assert change.result().status_code == 200


def test_applying_files_holds_up_nobody(
    admin: httpx.Client, database_url: str, name: str, threads: ThreadPoolExecutor, tmp_path: Path
) -> None:
    first = f"{name}a"
    put(admin, first, {"schema": {}})
    file = tmp_path / "all.yaml"
    file.write_text(
        f"name: {first}\nschema: {{title: b}}\n---\nname: {name}\nschema: {{title: b}}\n"
    )
    with in_the_way(database_url, name):
        applied: Future[Outcome] = threads.submit(
            Listo(database_url), "collections", "apply", file, "--yes"
        )
        wait_until(asked_for(database_url, name, "ShareRowExclusiveLock"))
        for _ in range(5):
            write(admin, first)
            write(admin, name)
        assert not applied.done()
    assert applied.result().status == 0, applied.result()


def test_applying_files_while_an_index_is_built(
    admin: httpx.Client, database_url: str, name: str, tmp_path: Path
) -> None:
    file = tmp_path / "all.yaml"
    file.write_text(f"name: {name}\nschema: {{title: b}}\n")
    with open_transaction(database_url, OLD_SNAPSHOT):
        begin_index(admin, database_url, name)
        Listo(database_url).succeed("collections", "apply", file, "--yes")
        write(admin, name)
    assert admin.get(f"/collections/{name}").json()["schema"] == {"title": "b"}


def test_records_are_written_while_others_are_checked_by_a_new_schema(
    admin: httpx.Client, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The written records are checked as well."""
    answers: list[httpx.Response] = []
    check = service._faults

    async def checked(collection: Collection, text: str) -> list[FieldError]:
        if not answers:
            answers.append(httpx.Response(0))
            answers[0] = await asyncio.to_thread(
                admin.post, f"/collections/{name}/records", json={"a": "b"}, timeout=PATIENCE
            )
        return await check(collection, text)

    monkeypatch.setattr(service, "_faults", checked)
    body = {"schema": {"properties": {"a": {"type": "integer"}}}}
    refused = admin.put(f"/collections/{name}", json=body)
    assert answers[0].status_code == 201, answers[0].text
    assert (refused.status_code, refused.json()["code"]) == (409, "records_do_not_fit")
    assert refused.json()["records"] == [answers[0].json()["id"]]
    admin.delete(answers[0].headers["Location"])
    put(admin, name, body)
