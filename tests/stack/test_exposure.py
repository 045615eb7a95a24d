"""A neighbour reaches HTTP and HTTPS of the stack, and nothing else."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import pytest

from fixtures import needs, netns
from infra.stack import compose

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fixtures.stack import Stack

PORTS = (
    *(80, 443, 3000, 5432, 6379, 8000, 8080, 8081, 8443),
    *(9000, 9090, 9093, 9100, 9113, 9115, 9121, 9187),
)
HOST4, HOST6, NEIGHBOUR4, NEIGHBOUR6 = "10.255.213.1", "fd13:213::1", "10.255.213.2", "fd13:213::2"
CONNECT = """
import json, socket, sys
opened = []
for address, port in json.loads(sys.argv[1]):
    try:
        socket.create_connection((address, port), timeout=0.7).close()
        opened.append([address, port])
    except OSError:
        pass
print(json.dumps(opened))
"""

pytestmark = needs.unless(netns.why_not())
Address = tuple[str, int]


class Neighbour:
    """A network namespace whose only way out is a cable to this host."""

    def __init__(self) -> None:
        self.name = f"lx{os.getpid()}"
        self.cable = f"{self.name}h"

    def must(self, *command: str) -> str:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, (command, done.stderr)
        return done.stdout

    def inside(self, *command: str) -> str:
        return self.must("ip", "netns", "exec", self.name, *command)

    def lay_cable(self) -> None:
        self.must("ip", "netns", "add", self.name)
        self.must(
            "ip", "link", "add", self.cable, "type", "veth",
            "peer", "name", "eth0", "netns", self.name,
        )  # fmt: skip
        self.must("ip", "link", "set", self.cable, "up")
        for link in ("lo", "eth0"):
            self.inside("ip", "link", "set", link, "up")
        self.must("ip", "address", "add", f"{HOST4}/30", "dev", self.cable)
        self.inside("ip", "address", "add", f"{NEIGHBOUR4}/30", "dev", "eth0")
        # With this route, packets to the containers' own addresses reach the host as well.
        self.inside("ip", "route", "add", "default", "via", HOST4)
        if speaks_ipv6():
            self.must("ip", "address", "add", f"{HOST6}/64", "dev", self.cable, "nodad")
            self.inside("ip", "address", "add", f"{NEIGHBOUR6}/64", "dev", "eth0", "nodad")

    def remove(self) -> None:
        for command in (["link", "del", self.cable], ["netns", "del", self.name]):
            subprocess.run(["ip", *command], capture_output=True, check=False)

    def reaches(self, *asked: Address) -> set[Address]:
        opened = json.loads(self.inside(sys.executable, "-c", CONNECT, json.dumps(asked)))
        return {(address, port) for address, port in opened}


def speaks_ipv6() -> bool:
    switch = Path("/proc/sys/net/ipv6/conf/all/disable_ipv6")
    return switch.exists() and switch.read_text().strip() == "0"


@pytest.fixture(scope="module")
def neighbour(stack: Stack) -> Iterator[Neighbour]:
    made = Neighbour()
    try:
        made.lay_cable()
        yield made
    finally:
        made.remove()


def published() -> set[int]:
    return {int(compose.setting("HTTP_PORT", "80")), int(compose.setting("HTTPS_PORT", "443"))}


def test_only_http_and_https_answer(neighbour: Neighbour) -> None:
    asked = [(HOST4, port) for port in {*PORTS, *published()}]
    assert {port for _, port in neighbour.reaches(*asked)} == published()


@pytest.mark.skipif(not speaks_ipv6(), reason="no IPv6 here")
def test_nothing_answers_by_ipv6(neighbour: Neighbour) -> None:
    """By IPv6 nginx could not tell the addresses of clients apart."""
    asked = [(HOST6, port) for port in {*PORTS, *published()}]
    assert neighbour.reaches(*asked) == set()


def test_the_ways_to_the_containers_are_closed(neighbour: Neighbour, stack: Stack) -> None:
    inner = {"api": 8000, "postgres": 5432, "redis": 6379, "worker": 9000, "nginx": 8081,
             "node-exporter": 9100}  # fmt: skip
    asked = [
        (network["IPAddress"], port)
        for service, port in inner.items()
        for one in stack.containers(service)
        for network in json.loads(
            stack.docker("inspect", "--format", "{{json .NetworkSettings.Networks}}", one["Name"])
        ).values()
    ]
    assert len(asked) >= len(inner)
    assert neighbour.reaches(*asked) == set()


def test_on_the_host_itself_operators_reach_prometheus_and_alertmanager(stack: Stack) -> None:
    alertmanager = f"http://127.0.0.1:{compose.setting('ALERTMANAGER_PORT', '9093')}"
    for url in (stack.prometheus, alertmanager):
        assert httpx.get(f"{url}/-/ready", trust_env=False).status_code == 200
    if stack.containers("grafana"):
        port = int(compose.setting("GRAFANA_PORT", "3000"))
        with socket.create_connection(("127.0.0.1", port), timeout=5):
            pass
