"""Cached lists over all replicas: never older than the last acknowledged write, built once."""

from __future__ import annotations

import asyncio
import json
import os
import random
from collections import Counter
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import httpx

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from fixtures.stack import Stack

TRIES = int(os.environ.get("TRIES", "200"))
STAMPEDE = 500
CACHED = {
    "schema": {"type": "object", "properties": {"n": {"type": "integer"}}},
    "rules": {"list": "@user.id is not null", "update": "", "read": ""},
    "cache": {"list": "30s"},
}


def replicas(stack: Stack) -> list[str]:
    """The address of each replica, which this host reaches."""
    form, urls = "{{json .NetworkSettings.Networks}}", []
    for one in stack.containers("api"):
        networks = json.loads(stack.docker("inspect", "--format", form, one["Name"]))
        urls += [f"http://{net['IPAddress']}:8000" for name, net in networks.items()
                 if name.endswith("_edge")]  # fmt: skip
    assert len(urls) == len(stack.containers("api"))
    return urls


@asynccontextmanager
async def clients(stack: Stack, key: str) -> AsyncIterator[Sequence[httpx.AsyncClient]]:
    made = [
        httpx.AsyncClient(
            base_url=url, timeout=60, trust_env=False, headers={"Authorization": f"Bearer {key}"}
        )
        for url in replicas(stack)
    ]
    try:
        yield made
    finally:
        for one in made:
            await one.aclose()


def make_cached_list(stack: Stack, collection: str) -> None:
    with stack.admin() as admin:
        assert admin.put(f"/collections/{collection}", json=CACHED).status_code == 200
        for number in range(5):
            created = admin.post(f"/collections/{collection}/records", json={"n": number})
            assert created.status_code == 201, created.text


def wait_until_cached(stack: Stack, key: str, collection: str) -> None:
    """Wait until lists are cached again, after another test has disturbed Redis or PostgreSQL."""

    outcomes: Counter[str] = Counter()

    async def all_hit() -> bool:
        async with clients(stack, key) as every:
            path = f"/collections/{collection}/records"
            await every[0].get(path)
            # On many connections, since a replica may have several processes.
            answers = await asyncio.gather(*(one.get(path) for one in every for _ in range(20)))
            outcomes.clear()
            outcomes.update(f"{one.url.host} {one.headers['Cache-Status']}" for one in answers)
            return all("hit" in status for status in outcomes)

    # Processes use the cache again one after the other, within a second or two.
    for _ in range(4):
        try:
            stack.wait(lambda: asyncio.run(all_hit()), "lists from the cache")
        except AssertionError as late:
            raise AssertionError(f"{late}: {dict(outcomes)}") from None


def statements(stack: Stack, collection: str) -> int:
    """The number of lists of the collection that PostgreSQL has answered."""
    query = (
        "SELECT coalesce(sum(calls), 0) FROM pg_stat_statements"
        f" WHERE query LIKE '%FROM records.\"{collection}\"%ORDER BY%LIMIT%'"
    )
    return int(stack.compose(
        "exec", "-T", "postgres", "psql", "-U", "postgres", "-d", "listo", "-qAtc", query
    ))  # fmt: skip


def test_every_replica_lists_what_was_just_written(stack: Stack, collection: str) -> None:
    make_cached_list(stack, collection)
    records = f"/collections/{collection}/records"
    seen: Counter[str] = Counter()

    async def write_and_read(key: str, tries: int) -> None:
        chance = random.Random(tries)
        async with clients(stack, key) as every:
            id_ = (await every[0].get(records)).json()["items"][0]["id"]
            for number in range(tries):
                writer, reader = chance.sample(every, 2)
                response = await writer.patch(f"{records}/{id_}", json={"n": number})
                assert response.status_code == 200, response.text
                listed = await reader.get(records)
                found = {item["id"]: item for item in listed.json()["items"]}
                assert found[id_]["version"] == response.json()["version"]
                assert found[id_]["n"] == number
                again = await chance.choice(every).get(records)
                assert again.json()["items"] == listed.json()["items"]
                seen[again.headers["Cache-Status"].split(";")[1].strip().split(" ")[0]] += 1

    with stack.keys(1, rate_limit="off") as (key,):
        wait_until_cached(stack, key, collection)
        asyncio.run(write_and_read(key, TRIES))
    print(f"\n{TRIES} tries, second reads: {dict(seen)}")  # noqa: T201 - the figures
    # The lists came from the cache.
    assert seen["hit"] > 0.9 * TRIES


def test_a_stampede_makes_one_statement(stack: Stack, collection: str) -> None:
    make_cached_list(stack, collection)
    path = f"/collections/{collection}/records?sort=-n&filter=n%20%3E%201"

    async def all_at_once(key: str) -> list[httpx.Response]:
        async with clients(stack, key) as every:
            # All connect and log in beforehand, so that they ask for the list at the same time.
            await asyncio.gather(*(one.get("/auth/me") for one in every for _ in range(50)))
            return await asyncio.gather(
                *(every[number % len(every)].get(path) for number in range(STAMPEDE))
            )

    with stack.keys(1, rate_limit="off") as (key,):
        wait_until_cached(stack, key, collection)
        before = statements(stack, collection)
        answers = asyncio.run(all_at_once(key))
    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.json()["items"][0]["id"] for answer in answers}) == 1
    assert statements(stack, collection) - before == 1


def test_who_hears_nothing_finds_out(stack: Stack) -> None:
    """Although the change cuts listening connections, every replica knows of it soon."""
    cut = (
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE application_name = 'listo-api-listener'"
    )

    async def statuses(key: str) -> set[int]:
        async with clients(stack, key) as every:
            return {(await one.get("/collections")).status_code for one in every}

    with stack.admin() as admin:
        made = admin.post("/auth/api-keys", json={"name": "cut", "scopes": ["records:read"]}).json()
        assert asyncio.run(statuses(made["key"])) == {200}
        stack.compose("exec", "-T", "postgres", "psql", "-U", "postgres", "-d", "listo", "-qc", cut)
        assert admin.delete(f"/auth/api-keys/{made['id']}").status_code == 204
        took = stack.wait(
            lambda: asyncio.run(statuses(made["key"])) == {401}, "the end of the key", 10
        )
    print(f"\nknown everywhere after {took:.2f} s")  # noqa: T201 - the figure
