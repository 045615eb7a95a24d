"""Single records of collections that ask for a cache: three servers, one database, one Redis."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

import pytest

from fixtures.cached import SCHEMA, admins_of, make, status_of, three_servers
from fixtures.redis import redis_store
from fixtures.rules import ANYONE

if TYPE_CHECKING:
    from collections.abc import Iterator

    import httpx

    from fixtures.server import Server

ROUNDS = int(os.environ.get("ROUNDS", "300"))
CACHE = {"record": "5m"}


@pytest.fixture(scope="module")
def redis_url() -> Iterator[str]:
    with redis_store() as url:
        yield url


@pytest.fixture(scope="module")
def servers(database_url: str, redis_url: str) -> Iterator[list[Server]]:
    with three_servers(database_url, redis_url) as running:
        yield running


@pytest.fixture(scope="module")
def admins(servers: list[Server]) -> list[httpx.Client]:
    return admins_of(servers)


@pytest.fixture
def path(admins: list[httpx.Client]) -> str:
    return make(admins[0], cache=CACHE)


def create(client: httpx.Client, path: str, **data: Any) -> str:
    response = client.post(path, json=data)
    assert response.status_code == 201, response.text
    return str(response.headers["location"])


def warm(clients: list[httpx.Client], record: str) -> None:
    for client in clients:
        assert "hit" in [status_of(client.get(record))[:3] for _ in range(2)][1]


def test_each_process_asks_postgres_once(
    servers: list[Server], admins: list[httpx.Client], path: str
) -> None:
    record = create(admins[0], path, n=1, kind="é")
    for server, admin in zip(servers, admins, strict=True):
        first = admin.get(record)
        assert status_of(first) == "fwd=miss; stored"
        assert "age" not in first.headers
        server.statements.clear()
        again = admin.get(record)
        assert status_of(again).startswith("hit; ttl=")
        assert 0 <= int(again.headers["age"]) < 60
        assert again.content == first.content
        assert again.json()["kind"] == "é"
        assert again.headers["etag"] == first.headers["etag"]
        assert again.headers["cache-control"] == "private, no-cache"
        unchanged = admin.get(record, headers={"If-None-Match": first.headers["etag"]})
        assert unchanged.status_code == 304
        assert status_of(unchanged).startswith("hit")
        assert not [each for each in server.statements if 'records."' in each]


def test_every_write_is_seen_on_every_other_server(admins: list[httpx.Client], path: str) -> None:
    record = create(admins[0], path, n=0)
    id_ = record.rpartition("/")[2]
    warm(admins, record)
    for number in range(1, ROUNDS + 1):
        writer, reader = admins[number % 3], admins[(number + 1) % 3]
        match number % 4:
            case 0:
                writer.patch(record, json={"n": number})
            case 1:
                writer.put(record, json={"n": number})
            case 2:
                operation = {"op": "update", "id": id_, "data": {"n": number}}
                writer.post(f"{path}:batch", json={"operations": [operation]})
            case 3:
                key = {"Idempotency-Key": uuid4().hex}
                writer.patch(record, json={"n": number}, headers=key)
        for _ in range(2):
            assert reader.get(record).json()["n"] == number
    assert admins[1].delete(record).status_code == 204
    for admin in admins:
        assert admin.get(record).status_code == 404
    assert admins[2].put(record, json={"n": 7}, headers={"If-None-Match": "*"}).status_code == 201
    for admin in admins:
        assert admin.get(record).json()["n"] == 7


def test_concurrent_writers_and_readers(servers: list[Server], path: str) -> None:
    """Each client sees its own last write, or a later one, among the writes of others."""
    record = create(servers[0].client(), path, n=0)

    def work(number: int) -> None:
        writer, reader = (servers[(number + k) % 3].client() for k in range(2))
        for count in range(ROUNDS // 10):
            changed = writer.put(record, json={"n": 1000 * number + count})
            seen = reader.get(record).json()["version"]
            assert seen >= changed.json()["version"]
            assert writer.get(record).json()["version"] >= seen

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(work, range(6)))


def test_a_write_leaves_most_other_records_cached(admins: list[httpx.Client], path: str) -> None:
    records = [f"{path}/{UUID(int=number)}" for number in range(1, 7)]
    for record in records:
        admins[0].put(record, json={"n": 1}, headers={"If-None-Match": "*"})
        warm(admins, record)
    admins[0].patch(records[0], json={"n": 2})
    assert status_of(admins[1].get(records[0])) == "fwd=miss; stored"
    create(admins[0], path, n=3)
    for record in records[1:]:
        assert status_of(admins[1].get(record)).startswith("hit")


def test_callers_stay_apart(servers: list[Server], admins: list[httpx.Client]) -> None:
    path = make(admins[0], rules={**ANYONE, "read": "owner = @user.id"}, cache=CACHE)
    ada, bob = (servers[0].member(f"{name}@example.com") for name in ("ada", "bob"))
    record = create(ada, path, n=1)
    warm([ada, admins[0]], record)
    for _ in range(2):
        assert bob.get(record).status_code == 404
        assert servers[0].client().get(record).status_code == 404
    assert status_of(ada.get(record)).startswith("hit")


def test_callers_whom_the_rule_does_not_tell_apart_share_a_record(
    servers: list[Server], admins: list[httpx.Client]
) -> None:
    path = make(admins[0], rules={**ANYONE, "read": "n >= 0"}, cache=CACHE)
    record = create(admins[0], path, n=1)
    ada = servers[0].member("ada@example.com")
    assert status_of(ada.get(record)) == "fwd=miss; stored"
    assert status_of(servers[0].client().get(record)).startswith("hit")
    # No rule limits an admin.
    assert status_of(admins[0].get(record)) == "fwd=miss; stored"
    admins[1].patch(record, json={"n": -1})
    assert ada.get(record).status_code == 404
    assert admins[0].get(record).json()["n"] == -1


def test_changed_roles_rules_and_fields_are_effective(
    servers: list[Server], admins: list[httpx.Client]
) -> None:
    path = make(admins[0], rules={**ANYONE, "read": '@user.roles has "editor"'}, cache=CACHE)
    record = create(admins[0], path, n=1, kind="x")
    user = servers[0].member("carol@example.com")
    id_ = user.get("/auth/me").json()["id"]
    try:
        for roles, status in ((["member"], 404), (["editor"], 200), (["member"], 404)):
            admins[0].patch(f"/users/{id_}", json={"roles": roles})
            for _ in range(2):
                assert user.get(record).status_code == status
    finally:
        admins[0].patch(f"/users/{id_}", json={"roles": ["member"]})
    warm([admins[0]], record)
    schema = {**SCHEMA, "properties": {**SCHEMA["properties"], "kind": {"writeOnly": True}}}  # type: ignore[dict-item]
    body = {"schema": schema, "rules": ANYONE, "cache": CACHE}
    assert admins[0].put(path.removesuffix("/records"), json=body).status_code == 200
    assert "kind" not in admins[0].get(record).json()
    assert user.get(record).json()["n"] == 1


def test_large_records_are_not_kept(admins: list[httpx.Client], path: str) -> None:
    record = create(admins[0], path, kind="x" * 300_000)
    for _ in range(2):
        response = admins[0].get(record)
        assert status_of(response) == "fwd=miss"
        assert len(response.content) > 300_000


def test_records_are_right_while_caching_begins_and_ends(admins: list[httpx.Client]) -> None:
    path = make(admins[0])
    collection, record = path.removesuffix("/records"), create(admins[0], path, n=0)
    assert "cache-status" not in admins[0].get(record).headers
    caches = (CACHE, {"list": "1m"}, {"list": "1m", **CACHE}, None, CACHE)
    for number, cache in enumerate(caches, start=1):
        body = {"schema": SCHEMA, "rules": ANYONE, "cache": cache}
        assert admins[1].put(collection, json=body).json().get("cache") == cache
        admins[2].patch(record, json={"n": number})
        for admin in admins:
            assert admin.get(record).json()["n"] == number
            assert admin.get(path).json()["items"][0]["n"] == number


def test_one_process_alone_does_the_same_without_redis(server: Server) -> None:
    path = make(server.admin(), cache=CACHE)
    reader = server.client()
    record = create(reader, path, n=1)
    assert status_of(reader.get(record)) == "fwd=miss; stored"
    assert status_of(reader.get(record)).startswith("hit")
    assert reader.patch(record, json={"n": 2}).status_code == 200
    again = reader.get(record)
    assert status_of(again) == "fwd=miss; stored"
    assert again.json()["n"] == 2
