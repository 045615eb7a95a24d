"""Lists of collections that ask for a cache: three servers on one database and one Redis."""

from __future__ import annotations

import asyncio
import os
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import asyncpg
import pytest
import redis

from app.caching.generations import MAKING_SECONDS
from fixtures import cached
from fixtures.cached import SCHEMA, admins_of, status_of, three_servers
from fixtures.redis import redis_store
from fixtures.rules import ANYONE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import httpx

    from fixtures.server import Server

ROUNDS = int(os.environ.get("ROUNDS", "300"))


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
def list_path(admins: list[httpx.Client]) -> str:
    return make(admins[0])


def make(admin: httpx.Client, **definition: Any) -> str:
    """The path of the records of a new collection, with one record."""
    path = cached.make(admin, **{"cache": {"list": "5m"}, **definition})
    assert admin.post(path, json={"n": 0}).status_code == 201
    return path


def lists(servers: list[Server]) -> list[str]:
    """The statements that listed records."""
    return [
        statement
        for server in servers
        for statement in server.statements
        if "ORDER BY" in statement and 'FROM records."' in statement
    ]


def test_a_list_is_made_once_for_all(servers: list[Server], admins: list[httpx.Client]) -> None:
    path = make(admins[0])
    first = admins[0].get(path)
    assert status_of(first) == "fwd=miss; stored"
    assert "age" not in first.headers
    for admin in admins:
        again = admin.get(path)
        assert status_of(again).startswith("hit; ttl=")
        assert 0 <= int(again.headers["age"]) < 60
        assert again.content == first.content
        assert again.headers["etag"] == first.headers["etag"]
    assert status_of(admins[0].get(f"{path}?limit=1")) == "fwd=miss; stored"


def test_every_write_is_seen_on_every_other_server(
    admins: list[httpx.Client], list_path: str
) -> None:
    for number in range(1, ROUNDS + 1):
        writer, reader = admins[number % 3], admins[(number + 1) % 3]
        query = f"{list_path}?sort=-n&limit=1"
        if number % 4 == 0:
            location = reader.get(query).json()["items"][0]["id"]
            assert writer.delete(f"{list_path}/{location}").status_code == 204
            assert reader.get(query).json()["items"][0]["id"] != location
            continue
        location = writer.post(list_path, json={"n": number}).headers["location"]
        assert reader.get(query).json()["items"][0]["n"] == number
        if number % 4 == 1:
            writer.patch(location, json={"kind": "patched"})
            assert reader.get(query).json()["items"][0]["kind"] == "patched"
        if number % 4 == 2:
            writer.put(location, json={"n": number, "kind": "replaced"})
            assert reader.get(query).json()["items"][0]["kind"] == "replaced"
        batch = {"operations": [{"op": "create", "data": {"n": number}} for _ in range(2)]}
        if number % 4 == 3:
            key = {"Idempotency-Key": uuid4().hex}
            writer.post(f"{list_path}:batch", json=batch, headers=key)
            total = reader.get(f"{list_path}?filter=n={number}&count=exact").json()["total"]
            assert total == 3


def test_concurrent_writers_and_readers_on_all_servers(
    admins: list[httpx.Client], servers: list[Server], list_path: str
) -> None:
    """Each client sees its own last write among the writes of others."""

    def work(number: int) -> None:
        clients = [servers[(number + k) % 3].client() for k in range(2)]
        for count in range(ROUNDS // 10):
            clients[0].post(list_path, json={"n": count, "kind": f"w{number}"})
            query = f'{list_path}?filter=kind="w{number}"&count=exact&limit=1'
            assert clients[1].get(query).json()["total"] == count + 1

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(work, range(6)))


def test_a_stampede_is_one_statement(servers: list[Server], list_path: str) -> None:
    clients = [server.client() for server in servers for _ in range(4)]
    clients[0].get(f"{list_path}?limit=2")
    for server in servers:
        server.statements.clear()
    with ThreadPoolExecutor(60) as pool:
        answers = list(
            pool.map(lambda number: clients[number % 12].get(f"{list_path}?limit=3"), range(500))
        )
    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.content for answer in answers}) == 1
    assert len(lists(servers)) == 1


def test_a_stampede_at_a_slow_list_is_one_statement_too(
    servers: list[Server], list_path: str, database_url: str
) -> None:
    clients = [server.client() for server in servers for _ in range(2)]
    name = list_path.split("/")[2]

    async def meanwhile(asked: Callable[[], None]) -> None:
        connection = await asyncpg.connect(database_url)
        try:
            async with connection.transaction():
                await connection.execute(f'LOCK TABLE records."{name}" IN ACCESS EXCLUSIVE MODE')
                asked()
                # The list has to take that long.
                await asyncio.sleep(1.5 * MAKING_SECONDS)
        finally:
            await connection.close()

    for server in servers:
        server.statements.clear()
    with ThreadPoolExecutor(30) as pool:
        answers: list[Future[httpx.Response]] = []
        asyncio.run(
            meanwhile(
                lambda: answers.extend(
                    pool.submit(clients[number % 6].get, f"{list_path}?limit=5")
                    for number in range(30)
                )
            )
        )
    assert {answer.result().status_code for answer in answers} == {200}
    assert len(lists(servers)) == 1


def test_cursors_and_callers_stay_apart(servers: list[Server], admins: list[httpx.Client]) -> None:
    rules = {**ANYONE, "list": "owner = @user.id", "create": ""}
    path = make(admins[0], rules=rules)
    users = [servers[0].member(f"{name}@example.com") for name in ("ada", "bob")]
    for number in range(6):
        users[number % 2].post(path, json={"n": number})
    pages = [user.get(f"{path}?sort=n&limit=2&count=exact").json() for user in users]
    for user, page, expected in zip(users, pages, ([0, 2, 4], [1, 3, 5]), strict=True):
        assert status_of(user.get(f"{path}?sort=n&limit=2&count=exact")).startswith("hit")
        rest = user.get(path, params={"sort": "n", "limit": 2, "cursor": page["next"]}).json()
        assert [item["n"] for item in page["items"] + rest["items"]] == expected
        assert page["total"] == 3
    other = users[1].get(path, params={"sort": "n", "limit": 2, "cursor": pages[0]["next"]})
    assert other.status_code == 400
    assert servers[0].client().get(path).json()["items"] == []
    assert len(admins[0].get(path).json()["items"]) == 7


def test_callers_whom_the_rule_does_not_tell_apart_share_a_list(
    servers: list[Server], admins: list[httpx.Client]
) -> None:
    path = make(admins[0], rules={**ANYONE, "list": "n >= 0"})
    ada = servers[1].member("ada@example.com")
    assert status_of(ada.get(path)) == "fwd=miss; stored"
    assert status_of(servers[2].client().get(path)).startswith("hit")
    # No rule limits an admin, so the statement is another one.
    assert status_of(admins[0].get(path)) == "fwd=miss; stored"


def test_changed_roles_and_rules_are_effective(
    servers: list[Server], admins: list[httpx.Client]
) -> None:
    rule = '@user.roles has "editor"'
    path = make(admins[0], rules={**ANYONE, "list": rule})
    user = servers[0].member("carol@example.com")
    id_ = user.get("/auth/me").json()["id"]
    try:
        for roles, count in ((["member"], 0), (["editor"], 1), (["member"], 0)):
            admins[0].patch(f"/users/{id_}", json={"roles": roles})
            for _ in range(2):
                assert len(user.get(path).json()["items"]) == count
        body = {"schema": SCHEMA, "rules": ANYONE, "cache": {"list": "5m"}}
        admins[0].put(path.removesuffix("/records"), json=body)
        assert len(user.get(path).json()["items"]) == 1
    finally:
        admins[0].patch(f"/users/{id_}", json={"roles": ["member"]})


def test_an_unchanged_list_is_304(servers: list[Server], list_path: str) -> None:
    reader = servers[0].client()
    tag = reader.get(list_path).headers["etag"]
    assert not tag.startswith("W/")
    for given in (tag, f"W/{tag}", f'{tag[:-1]}-gzip"', f'"x", {tag}', "*"):
        unchanged = reader.get(list_path, headers={"If-None-Match": given})
        assert unchanged.status_code == 304
        assert unchanged.content == b""
        assert unchanged.headers["etag"] == tag
        assert unchanged.headers["cache-control"] == "public, no-cache"
    servers[1].client().post(list_path, json={"n": 1})
    changed = reader.get(list_path, headers={"If-None-Match": tag})
    assert changed.status_code == 200
    assert changed.headers["etag"] != tag
    assert reader.get(list_path, headers={"If-None-Match": "none"}).status_code == 400


def test_only_lists_that_anybody_gets_are_public(
    servers: list[Server], admins: list[httpx.Client], list_path: str
) -> None:
    ruled = make(admins[0], rules={**ANYONE, "list": "owner = @user.id or n = 0"})
    uncached = make(admins[0], cache=None)
    stranger = servers[0].client()
    for client, path, expected in (
        (stranger, list_path, "public, no-cache"),
        (admins[0], list_path, "private, no-cache"),
        (stranger, ruled, "private, no-cache"),
        (stranger, uncached, "private, no-cache"),
    ):
        for _ in range(2):
            response = client.get(path)
            assert response.headers["cache-control"] == expected
            assert response.headers["vary"] == "Authorization, Origin"
    assert "cache-status" not in stranger.get(uncached).headers


def test_a_stale_list_is_served_while_one_server_renews_it(
    servers: list[Server], admins: list[httpx.Client], redis_url: str
) -> None:
    path = make(admins[0], cache={"list": "1m", "stale_while_revalidate": "10m"})
    store = redis.Redis.from_url(redis_url)
    before = set(store.scan_iter("listo:list:*"))
    admins[0].get(path)
    (entry,) = set(store.scan_iter("listo:list:*")) - before
    # As if some six minutes had passed: five of the ten stale minutes are left.
    store.pexpire(entry, 300_000)
    for server in servers:
        server.statements.clear()
    stale = admins[1].get(path)
    assert status_of(stale).startswith("hit; ttl=-")
    assert int(stale.headers["age"]) > 300
    while not status_of(admins[2].get(path)).removeprefix("hit; ttl=")[0].isdigit():
        pass
    assert len(lists(servers)) == 1
    store.pexpire(entry, 300_000)
    admins[0].post(path, json={"n": 7})
    # A stale list is old, but never wrong.
    assert len(admins[1].get(path).json()["items"]) == 2


def test_large_lists_are_not_kept(servers: list[Server], admins: list[httpx.Client]) -> None:
    path = make(admins[0])
    for _ in range(3):
        admins[0].post(path, json={"kind": "x" * 100_000})
    for admin in admins:
        response = admin.get(path)
        assert status_of(response) in ("fwd=miss", "fwd=bypass")
        assert len(response.content) > 300_000


def test_pages_with_large_sort_keys_are_not_kept(admins: list[httpx.Client]) -> None:
    """The next page begins after a key that is larger than the page."""
    path = make(admins[0])
    for letter in "ab":
        admins[0].post(path, json={"kind": letter * 300_000})
    for _ in range(3):
        response = admins[0].get(f"{path}?fields=id&sort=-kind&limit=1")
        assert status_of(response) in ("fwd=miss", "fwd=bypass")
        assert len(response.content) < 1000


def test_lists_are_right_while_caching_begins_and_ends(admins: list[httpx.Client]) -> None:
    path = make(admins[0], cache=None)
    collection = path.removesuffix("/records")
    for number, cache in enumerate(({"list": "1s"}, None, {"list": "60m"}), start=1):
        body = {"schema": SCHEMA, "rules": ANYONE, "cache": cache}
        assert admins[1].put(collection, json=body).json().get("cache") == cache
        admins[2].post(path, json={"n": number})
        for admin in admins:
            items = admin.get(path, params={"sort": "-n", "limit": 1}).json()["items"]
            assert items[0]["n"] == number


@pytest.mark.parametrize(
    "cache",
    [
        {}, {"list": "0s"}, {"list": "61m"}, {"list": "5"}, {"list": 5}, {"list": "-1s"}, "30s",
        {"list": "30s", "count": "1s"}, {"record": "0s"}, {"stale_while_revalidate": "1m"},
        {"record": "30s", "stale_while_revalidate": "1m"},
        {"list": "30s", "stale_while_revalidate": "2h"},
    ],
)  # fmt: skip
def test_invalid_cache_policies_are_refused(admins: list[httpx.Client], cache: Any) -> None:
    response = admins[0].put("/collections/wrong", json={"schema": SCHEMA, "cache": cache})
    assert response.status_code == 422
    assert all(error["pointer"].startswith("/cache") for error in response.json()["errors"])


def test_one_process_alone_does_the_same_without_redis(server: Server) -> None:
    path = make(server.admin())
    reader = server.client()
    assert status_of(reader.get(path)) == "fwd=miss; stored"
    assert status_of(reader.get(path)).startswith("hit")
    assert reader.post(path, json={"n": 1}).status_code == 201
    again = reader.get(path)
    assert status_of(again) == "fwd=miss; stored"
    assert len(again.json()["items"]) == 2
