"""Replicas, nginx' certificate, Redis and PostgreSQL break or change while clients work."""

from __future__ import annotations

import re
import socket
import time
from functools import partial
from typing import TYPE_CHECKING

import httpx

from fixtures.disturbed import (
    CONNECTIONS,
    assert_nothing_acknowledged_is_lost,
    under_load,
)
from fixtures.stack import trust
from infra.stack import compose

if TYPE_CHECKING:
    from collections.abc import Callable

    from fixtures.stack import Stack


def test_faults_fail_no_request(stack: Stack, collection: str) -> None:
    def kill() -> None:
        stack.kill_main_process(stack.containers("api")[0]["Name"])
        stack.wait_healthy("api", 3)

    def pause(seconds: float) -> None:
        name = stack.containers("api")[1]["Name"]
        stack.docker("pause", name)
        try:
            time.sleep(seconds)  # the length of the pause under test
        finally:
            stack.docker("unpause", name)

    def renew() -> None:
        for names in ("one.test", "other.test", compose.setting("CERTIFICATE_NAMES", "")):
            before = served(stack)
            stack.compose("run", "--rm", "--no-deps", "--env", f"NAMES={names}", "authority")
            stack.wait(lambda before=before: served(stack) != before, "the new certificate")  # type: ignore[misc]

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
                    "a replica is paused 10 s": partial(pause, 10),
                    # nginx stops using a replica sooner than that.
                    "a replica is paused 45 s": partial(pause, 45),
                    "3 to 5 replicas": scale(5),
                    "5 to 2 replicas": scale(2),
                    "3 new certificates": renew,
                    "Redis restarts": lambda: stack.compose("restart", "redis"),
                },
            )
        finally:
            stack.up(REPLICAS="3")
    # A write without a key may have succeeded although its replica died or its connection ended.
    unsure = re.compile(r"plain: (502 |POST \w+Error)")
    # nginx does not pass a hanging request to another replica.
    hung = [
        text for text in ledger.failures if re.match(r"a replica is paused 45 s: \w+: 504 ", text)
    ]
    assert len(hung) <= CONNECTIONS
    failed = [text for text in ledger.failures if text not in hung and not unsure.search(text)]
    assert failed == []
    assert_nothing_acknowledged_is_lost(stack, collection, ledger)


def served(stack: Stack) -> bytes:
    """The certificate that new connections get."""
    url = httpx.URL(stack.url)
    with (
        socket.create_connection((url.host, url.port or 443), timeout=10) as raw,
        trust().wrap_socket(raw, server_hostname="localhost") as tls,
    ):
        return tls.getpeercert(binary_form=True) or b""


def test_a_restart_of_postgres_loses_no_acknowledged_write(stack: Stack, collection: str) -> None:
    """While PostgreSQL is away, failures are clean 503, and no acknowledged write is lost."""
    back: list[float] = []

    def restart() -> None:
        (postgres,) = stack.containers("postgres")
        replicas = stack.addresses("api")
        stack.docker("restart", postgres["Name"])
        stack.wait(lambda: _accepts(postgres["Name"]), "connections to PostgreSQL")
        back.append(
            stack.wait(lambda: all(map(_ready, replicas)), "every replica ready", patience=30)
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


def _accepts(postgres: str) -> bool:
    return compose.docker("exec", postgres, "pg_isready", "-q").returncode == 0


def _ready(address: str) -> bool:
    return httpx.get(f"http://{address}:8000/health/ready", timeout=3).status_code == 200
