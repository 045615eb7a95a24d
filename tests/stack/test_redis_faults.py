"""Redis stopped, paused, slow, full, flushed and restarted empty, while clients work."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, contextmanager, suppress
from threading import Event, Thread
from typing import TYPE_CHECKING, Any

import redis
from redis.exceptions import OutOfMemoryError

from fixtures.hammer import hammer
from fixtures.load import Load
from fixtures.stack import SECRETS, trust

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fixtures.stack import Stack

CONNECTIONS = 50
PER_SECOND = 60.0
LIMIT = 60
# A script that keeps Redis busy for 200 ms, as any slow command does.
_BUSY = "local t=redis.call('TIME'); local e=t[1]*1000+t[2]/1000+200; repeat t=redis.call('TIME') \
until t[1]*1000+t[2]/1000>=e"

Fault = Callable[["Stack"], AbstractContextManager[None]]


def client(stack: Stack) -> redis.Redis:
    """A client as the API's user, from this host, which reaches the container's own address."""
    (container,) = stack.containers("redis")
    networks = json.loads(
        stack.docker("inspect", "--format", "{{json .NetworkSettings.Networks}}", container["Name"])
    )
    (address,) = (one["IPAddress"] for one in networks.values())
    password = (SECRETS / "redis_listo_password").read_text()
    return redis.Redis(host=address, username="listo", password=password, socket_timeout=30)


@contextmanager
def nothing(_: Stack) -> Iterator[None]:
    yield


@contextmanager
def stopped(stack: Stack) -> Iterator[None]:
    stack.compose("stop", "redis")
    try:
        yield
    finally:
        stack.compose("start", "redis")
        stack.wait_healthy("redis", 1)


@contextmanager
def paused(stack: Stack) -> Iterator[None]:
    name = stack.containers("redis")[0]["Name"]
    stack.docker("pause", name)
    try:
        yield
    finally:
        stack.docker("unpause", name)


@contextmanager
def slow(stack: Stack) -> Iterator[None]:
    ended = Event()

    def occupy() -> None:
        with client(stack) as connection:
            while not ended.is_set():
                connection.eval(_BUSY, 0)

    thread = Thread(target=occupy)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


@contextmanager
def full(stack: Stack) -> Iterator[None]:
    with client(stack) as connection:
        filled = 0
        try:
            for size in (1 << 20, 1 << 10):
                with suppress(OutOfMemoryError):
                    while True:
                        connection.set(f"ballast:{filled}", b"x" * size)
                        filled += 1
            yield
        finally:
            for number in range(filled):
                connection.unlink(f"ballast:{number}")


@contextmanager
def flushed(stack: Stack) -> Iterator[None]:
    with client(stack) as connection:
        for key in connection.scan_iter(count=1000):
            connection.unlink(key)
    yield


@contextmanager
def restarted_empty(stack: Stack) -> Iterator[None]:
    with stopped(stack):
        stack.compose(
            "run", "--rm", "--no-deps", "-T", "--entrypoint", "sh", "redis", "-c", "rm -r /data/*"
        )
    yield


FAULTS: dict[str, tuple[Fault, int]] = {
    # The number of requests that may pass beyond the limit: while Redis is away, and until each
    # process has seen that Redis is back, the processes share the limit once more.
    "nothing happens": (nothing, 0),
    "flushed": (flushed, 0),
    "stopped": (stopped, LIMIT),
    "paused": (paused, LIMIT),
    "slow, 200 ms a command": (slow, LIMIT),
    "full": (full, LIMIT),
    "restarted empty": (restarted_empty, LIMIT),
}


def test_no_fault_of_redis_fails_a_request(stack: Stack, collection: str) -> None:
    admitted: dict[str, int] = {}
    with stack.keys(5) as keys:
        load = Load(
            stack.url, trust(), collection, keys, connections=CONNECTIONS, per_second=PER_SECOND
        )

        def disturb() -> None:
            for name, (fault, _) in FAULTS.items():
                with stack.keys(1, rate_limit=f"{LIMIT}/day") as (key,):
                    load.ledger.phase = name
                    with fault(stack):
                        passed = asyncio.run(hammer(stack, key, requests=LIMIT + 200))
                        time.sleep(3)  # the length of the fault under test
                    admitted[name] = len(passed)

        async def both() -> None:
            async def meanwhile() -> None:
                try:
                    await asyncio.to_thread(disturb)
                finally:
                    load.end()

            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(load.run(300))
                tasks.create_task(meanwhile())

        asyncio.run(both())
    print(f"\n{load.ledger.table()}")  # noqa: T201 - the figures
    print(f"admitted of {LIMIT}: {admitted}")  # noqa: T201
    assert load.ledger.failures == []
    beyond: dict[str, Any] = {
        name: passed for name, passed in admitted.items()
        if not 1 <= passed <= LIMIT + FAULTS[name][1]
    }  # fmt: skip
    assert beyond == {}
