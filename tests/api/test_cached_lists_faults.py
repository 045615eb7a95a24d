"""Cached lists and records while something fails: all acknowledged writes show on every server."""

from __future__ import annotations

import asyncio
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import asyncpg
import pytest
import redis

from app.db.notifications import CHANNEL
from fixtures.cache_stage import DEFINITION, PATIENCE, RECORDS_ONLY, Stage, stored, warm
from fixtures.needs import missing
from fixtures.redis import PROGRAM
from fixtures.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fixtures.server import Server


@pytest.fixture(scope="module")
def stage(database_url: str) -> Iterator[Stage]:
    if PROGRAM is None:
        missing("there is no redis-server")
    with ExitStack() as stack:
        yield Stage(database_url, stack)


@pytest.mark.parametrize("fault", ["cut", "silence"])
def test_lists_are_right_while_the_writer_alone_is_cut_off_from_redis(
    stage: Stage, fault: str
) -> None:
    stage.warm()
    getattr(stage.relays[0], fault)()
    try:
        stage.write_and_check(0, 0, 0, 1, 0)
    finally:
        stage.relays[0].mend()
    stage.write_and_check(0, 1, 2)


def test_a_replay_waits_until_all_lists_have_its_write(stage: Stage) -> None:
    """The writer waits until all servers know of the write; a replay on another server does too."""
    stage.warm()
    stage.relays[0].cut()
    before = stage.kept_answers()
    request: dict[str, Any] = {
        "json": {"n": stage.written + 1},
        "headers": {"Idempotency-Key": f'"{uuid4()}"'},
    }
    try:
        with ThreadPoolExecutor() as pool:
            first = pool.submit(stage.clients[0].post, stage.path, **request)
            deadline = time.monotonic() + PATIENCE
            while stage.kept_answers() == before:
                assert time.monotonic() < deadline
            again = stage.clients[1].post(stage.path, **request)
            assert "idempotency-replayed" in again.headers, again.text
            stage.written += 1
            stage.check(2, 1)
            assert first.result().content == again.content
    finally:
        stage.relays[0].mend()


@pytest.mark.parametrize(
    ("method", "headers"),
    [("PUT", {}), ("PATCH", {}), ("DELETE", {}), ("PATCH", {"If-Match": '"1"'}),
     ("PATCH", {"If-Match": '"1", "7"'}), ("DELETE", {"Idempotency-Key": "again"})],
)  # fmt: skip
def test_a_write_sent_again_waits_until_the_first_is_seen(
    stage: Stage, method: str, headers: dict[str, str]
) -> None:
    """The client gave up waiting for a writer that is cut off from Redis, and asks another."""
    record = stage.clients[0].post(stage.records, json={"n": 1}).headers["location"]
    stage.warm()
    warm(stage, record)
    rest: dict[str, Any] = {} if method == "DELETE" else {"json": {"n": 2}}
    rest["headers"] = headers
    if "Idempotency-Key" in headers:
        rest["headers"] = {"Idempotency-Key": str(uuid4())}
    stage.relays[0].cut()
    try:
        with ThreadPoolExecutor() as pool:
            first = pool.submit(stage.clients[0].request, method, record, **rest)
            wait_until(lambda: stored(stage, record) != [1])
            if "Idempotency-Key" in headers:
                rest["headers"] = {"Idempotency-Key": str(uuid4())}
            again = stage.clients[1].request(method, record, **rest)
            seen = stage.clients[2].get(record)
            assert first.result().is_success
    finally:
        stage.relays[0].mend()
    if method == "DELETE":
        assert (again.status_code, seen.status_code) == (404, 404)
        return
    assert seen.json()["n"] == 2
    if "If-Match" in headers:
        assert again.status_code == 412
    else:
        assert again.json() == seen.json()


def test_a_replay_whose_answer_was_not_kept_waits_as_well(stage: Stage) -> None:
    record = stage.clients[0].post(stage.records, json={"n": 1}).headers["location"]
    stage.warm()
    warm(stage, record)
    headers = {"Idempotency-Key": str(uuid4())}
    rest: dict[str, Any] = {"json": {"n": 2, "text": "x" * 300_000}, "headers": headers}
    stage.relays[0].cut()
    try:
        with ThreadPoolExecutor() as pool:
            first = pool.submit(stage.clients[0].put, record, **rest)
            wait_until(lambda: stored(stage, record) == [2])
            again = stage.clients[1].put(record, **rest)
            seen = stage.clients[2].get(record)
            assert first.result().status_code == 200
    finally:
        stage.relays[0].mend()
    assert again.json()["code"] == "idempotency_answer_not_kept"
    assert seen.json()["n"] == 2


def test_a_create_sent_again_waits_until_the_first_is_listed(stage: Stage) -> None:
    stage.warm()
    before = stage.clients[2].get(stage.list).json()["total"]
    record, only_new = f"{stage.path}/{uuid4()}", {"If-None-Match": "*"}
    stage.relays[0].cut()
    try:
        with ThreadPoolExecutor() as pool:
            first = pool.submit(stage.clients[0].put, record, json={"n": 2}, headers=only_new)
            wait_until(lambda: stored(stage, record) == [2])
            again = stage.clients[1].put(record, json={"n": 2}, headers=only_new)
            assert again.status_code == 412
            assert stage.clients[2].get(stage.list).json()["total"] == before + 1
            assert first.result().status_code == 201
    finally:
        stage.relays[0].mend()
    stage.written += 1


def test_many_writes_of_a_batch_that_change_nothing_wait_once(stage: Stage) -> None:
    records = [stage.clients[0].post(stage.records, json={"n": 1}) for _ in range(5)]
    ids = [record.json()["id"] for record in records]
    operations = [{"op": "update", "id": id_, "data": {"n": 1}} for id_ in ids]
    statements = stage.servers[1].statements
    statements.clear()
    body = {"operations": operations}
    answer = stage.clients[1].post(f"{stage.records}:batch", json=body)
    assert [result["version"] for result in answer.json()["results"]] == [1] * 5
    waits = [number for number, each in enumerate(statements) if "epoch_began" in each]
    ends = [number for number, each in enumerate(statements) if each.startswith("COMMIT")]
    assert len(waits) == 1
    assert waits[0] > ends[-1]


@pytest.mark.parametrize("batch", [False, True])
def test_a_record_made_again_is_seen_though_its_deletion_is_not_known(
    stage: Stage, *, batch: bool
) -> None:
    record = stage.clients[0].post(stage.records, json={"n": 1}).headers["location"]
    stage.warm()
    warm(stage, record)
    stage.relays[0].cut()
    try:
        with ThreadPoolExecutor() as pool:
            deleted = pool.submit(stage.clients[0].delete, record)
            wait_until(lambda: stored(stage, record) == [])
            if batch:
                made = [{"op": "create", "id": record[-36:], "data": {"n": 2}}]
                made.append({"op": "create", "data": {"n": 3}})
                operations = {"operations": made}
                answer = stage.clients[1].post(f"{stage.records}:batch", json=operations)
            else:
                only_new = {"If-None-Match": "*"}
                answer = stage.clients[1].put(record, json={"n": 2}, headers=only_new)
            assert answer.is_success, answer.text
            assert stage.clients[2].get(record).json()["n"] == 2
            assert deleted.result().status_code == 204
    finally:
        stage.relays[0].mend()


@pytest.mark.parametrize("fault", ["cut", "silence"])
def test_lists_are_right_while_a_reader_alone_is_cut_off_from_redis(
    stage: Stage, fault: str
) -> None:
    stage.warm()
    getattr(stage.relays[2], fault)()
    try:
        stage.write_and_check(0, 1, 0)
    finally:
        stage.relays[2].mend()
    stage.write_and_check(0, 2, 1)


def test_lists_are_right_after_redis_comes_back_with_old_entries(stage: Stage) -> None:
    stage.warm()
    stage.redis.client.save()
    # These writes are marked and unmarked well, but Redis will have lost that.
    stage.write_and_check(0, 1, 2)
    stage.redis.kill()
    stage.redis.start()
    stage.check_until_read()
    stage.write_and_check(0, 1, 2)


def test_lists_are_right_while_redis_is_away_and_after_it_comes_back(stage: Stage) -> None:
    stage.warm()
    stage.redis.client.save()
    stage.redis.kill()
    try:
        stage.write_and_check(0, 1, 2, 0)
    finally:
        stage.redis.start()
    stage.check()
    stage.write_and_check(0, 1, 2)


def test_lists_are_right_while_redis_is_paused_and_after_it_catches_up(stage: Stage) -> None:
    stage.warm()
    stage.redis.process.send_signal(signal.SIGSTOP)
    try:
        stage.write_and_check(0, 1, 0)
    finally:
        stage.redis.process.send_signal(signal.SIGCONT)
    stage.check()
    stage.write_and_check(0, 1, 2)


def test_lists_are_right_while_redis_is_full(stage: Stage) -> None:
    stage.warm()
    stage.redis.client.config_set("maxmemory", "1")
    try:
        stage.write_and_check(0, 1, 0)
    finally:
        stage.redis.client.config_set("maxmemory", "0")
    stage.write_and_check(0, 1, 2)


def test_lists_are_right_while_redis_is_slow(stage: Stage) -> None:
    stage.warm()
    for relay in stage.relays:
        relay.delay = 0.2
    try:
        stage.write_and_check(0, 1)
    finally:
        for relay in stage.relays:
            relay.delay = 0.0
    stage.write_and_check(0, 1, 2)


def test_lists_are_right_while_redis_is_flushed_again_and_again(stage: Stage) -> None:
    stage.warm()
    over = threading.Event()

    def flush() -> None:
        with redis.Redis.from_url(stage.redis.url) as client:
            while not over.wait(0.003):
                client.flushall()

    thread = threading.Thread(target=flush)
    thread.start()
    try:
        stage.write_and_check(*range(3), *range(3), *range(3))
    finally:
        over.set()
        thread.join()


@pytest.mark.parametrize("deleted", [False, True])
def test_lists_are_right_on_a_reader_that_has_not_heard_of_the_end_of_a_cache(
    stage: Stage, *, deleted: bool
) -> None:
    """A writer that knows of the end marks nothing; a reader that does not know sees the writes."""
    stage.warm()
    admin = stage.servers[0].admin()
    collection = f"/collections/c{uuid4().hex[:12]}"
    records = f"{collection}/records"
    admin.put(collection, json=DEFINITION)
    record = admin.post(records, json={"n": 0}).headers["location"]
    for path in (records, record):
        statuses = [stage.clients[2].get(path).headers["cache-status"] for _ in range(2)]
        assert "hit" in statuses[1], statuses
    with deaf(stage.servers[2]):
        if deleted:
            assert admin.delete(collection, params={"confirm": collection[13:]}).status_code == 204
        admin.put(collection, json={**DEFINITION, "cache": None})
        kept = 0 if deleted else 1
        for number in range(1, 4):
            assert admin.post(records, json={"n": number}).status_code == 201
            assert len(stage.clients[2].get(records).json()["items"]) == kept + number
            changed = admin.patch(record, json={"n": number})
            answer = stage.clients[2].get(record)
            assert answer.status_code == changed.status_code == (404 if deleted else 200)
            assert deleted or answer.json() == changed.json()


def test_the_end_of_a_cache_that_is_not_marked_is_waited_for_by_other_writers(
    stage: Stage,
) -> None:
    collection = f"/collections/c{uuid4().hex[:12]}"
    admin = stage.servers[0].admin()
    admin.put(collection, json=RECORDS_ONLY)
    record = admin.post(f"{collection}/records", json={"n": 1}).headers["location"]
    stage.warm()
    warm(stage, record)
    stage.relays[0].cut()
    try:
        with deaf(stage.servers[2]), ThreadPoolExecutor() as pool:
            ended = pool.submit(admin.put, collection, json={**RECORDS_ONLY, "cache": None})
            wait_until(lambda: "cache-status" not in stage.clients[1].get(record).headers)
            stage.clients[1].patch(record, json={"n": 2})
            assert stage.clients[2].get(record).json()["n"] == 2
            assert ended.result().status_code == 200
    finally:
        stage.relays[0].mend()


@contextmanager
def deaf(server: Server) -> Iterator[None]:
    """The server hears no notification."""
    notifications: Any = server.services.database.notifications

    async def tell(command: str) -> None:
        while True:
            # The listener may check its connection, which takes one statement at a time.
            with suppress(asyncpg.InterfaceError):
                await notifications._connection.execute(f"{command} {CHANNEL}")
                return
            await asyncio.sleep(0.01)

    def listen(command: str) -> None:
        loop = notifications._task.get_loop()
        asyncio.run_coroutine_threadsafe(tell(command), loop).result()

    listen("UNLISTEN")
    try:
        yield
    finally:
        listen("LISTEN")


def test_lists_are_right_after_a_writer_dies_after_its_commit(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The record exists, and is in every list, although no process was notified of the write."""
    stage.warm()
    died, buried = threading.Event(), threading.Event()

    generations = stage.servers[0].services.lists._generations
    mark, unmark, marked = generations.mark, generations.unmark, set[str]()

    async def mark_and_note(groups: Any, writer: str) -> bool:
        marked.add(writer)
        return bool(await mark(groups, writer))

    async def die(groups: Any, writer: str) -> bool:
        if writer not in marked:
            # An earlier outage left this mark.
            return bool(await unmark(groups, writer))
        died.set()
        return await asyncio.to_thread(buried.wait, 2 * PATIENCE)

    monkeypatch.setattr(generations, "mark", mark_and_note)
    monkeypatch.setattr(generations, "unmark", die)
    client = stage.servers[0].client()
    thread = threading.Thread(target=client.post, args=(stage.path,), kwargs={"json": {"n": "x"}})
    thread.start()
    try:
        assert died.wait(PATIENCE)
        stage.written += 1
        stage.check(1, 2)
        monkeypatch.undo()
        stage.write_and_check(1, 2)
        # The writer's mark ends by itself, two minutes later.
        for marks in stage.redis.client.scan_iter("listo:marks:*"):
            stage.redis.client.zadd(marks, dict.fromkeys(_members(stage, marks), 0))
        stage.check()
        stage.warm()
        stage.write_and_check(0, 1, 2)
    finally:
        buried.set()
        thread.join()


def _members(stage: Stage, key: Any) -> list[Any]:
    return list(stage.redis.client.zrange(key, 0, -1))
