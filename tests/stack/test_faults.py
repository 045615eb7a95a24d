"""What breaks while clients work: replicas, nginx' certificate, Redis, PostgreSQL."""

from __future__ import annotations

import asyncio
import os
import time
from functools import partial
from typing import TYPE_CHECKING

import httpx

from fixtures.load import Ledger, Load
from fixtures.stack import again, trust

if TYPE_CHECKING:
    from collections.abc import Callable

    from fixtures.stack import Stack

CONNECTIONS = 50
PER_SECOND = float(os.environ.get("LOAD_PER_SECOND", "80"))


def under_load(
    stack: Stack, collection: str, keys: list[str], phases: dict[str, Callable[[], object]]
) -> Ledger:
    """Do one after another while clients work; the load goes on a little between and after."""
    load = Load(
        stack.url, trust(), collection, keys, connections=CONNECTIONS, per_second=PER_SECOND
    )

    async def both() -> None:
        async def disturb() -> None:
            try:
                for name, what in phases.items():
                    load.ledger.phase = name
                    await asyncio.to_thread(what)
                    await asyncio.sleep(3)
            finally:
                load.end()

        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(load.run(300))
            tasks.create_task(disturb())

    asyncio.run(both())
    print(f"\n{load.ledger.table()}")  # noqa: T201 - what `make test-stack` is run for
    return load.ledger


def assert_nothing_acknowledged_is_lost(stack: Stack, collection: str, ledger: Ledger) -> None:
    """Every acknowledged record is there at its version, and none was made twice."""
    found: dict[str, int] = {}
    with stack.admin() as admin:
        cursor = None
        while True:
            parameters: dict[str, str | int] = {"limit": 500, "fields": "id,version"}
            if cursor:
                parameters["cursor"] = cursor
            page = again(
                partial(admin.get, f"/collections/{collection}/records", params=parameters)
            ).json()
            found |= {item["id"]: item["version"] for item in page["items"]}
            cursor = page["next"]
            if cursor is None:
                break
    lost = {
        one: version for one, version in ledger.acknowledged.items() if found.get(one, 0) < version
    }
    assert lost == {}
    if not ledger.failures:
        assert found == ledger.acknowledged


def test_nobody_notices(stack: Stack, collection: str) -> None:
    def kill() -> None:
        stack.kill_main_process(stack.containers("api")[0]["Name"])
        stack.wait_healthy("api", 3)

    def pause() -> None:
        name = stack.containers("api")[1]["Name"]
        stack.docker("pause", name)
        try:
            time.sleep(10)  # how long it is paused is what is tried
        finally:
            stack.docker("unpause", name)

    def renew() -> None:
        (nginx,) = stack.containers("nginx")
        for _ in range(5):
            stack.docker("kill", "--signal", "HUP", nginx["Name"])
            time.sleep(1)  # a reload is by nature something that others wait out

    def scale(count: int) -> Callable[[], None]:
        def to() -> None:
            stack.up(REPLICAS=str(count))
            stack.wait_healthy("api", count)

        return to

    with stack.keys(5) as keys:
        try:
            ledger = under_load(
                stack,
                collection,
                keys,
                {
                    "quiet": lambda: time.sleep(5),
                    "a replica is killed": kill,
                    "a replica is paused 10 s": pause,
                    "3 to 5 replicas": scale(5),
                    "5 to 2 replicas": scale(2),
                    "nginx reloads 5 times": renew,
                    "Redis restarts": lambda: stack.compose("restart", "redis"),
                },
            )
        finally:
            stack.up(REPLICAS="3")
    assert ledger.failures == []
    assert_nothing_acknowledged_is_lost(stack, collection, ledger)


def test_postgres_restarts(stack: Stack, collection: str) -> None:
    """Nothing but clean 503 while it is away, and nothing lost."""
    back: list[float] = []

    def restart() -> None:
        stack.compose("restart", "postgres")
        stack.wait_healthy("postgres", 1)
        with stack.client() as client:
            back.append(
                stack.wait(lambda: _ready(client), "ready after PostgreSQL is", patience=30)
            )

    with stack.keys(5) as keys:
        ledger = under_load(
            stack,
            collection,
            keys,
            {"quiet": lambda: time.sleep(3), "PostgreSQL restarts": restart},
        )
    assert [text for text in ledger.failures if ": 503 " not in text] == []
    assert back[0] <= 5
    assert_nothing_acknowledged_is_lost(stack, collection, ledger)


def _ready(client: httpx.Client) -> bool:
    return client.get("/health/ready").status_code == 200
