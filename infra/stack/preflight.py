"""The conditions for a start of the stack, all checked and shown together."""

from __future__ import annotations

import os
import re
import shutil
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from infra.stack import bounds, credentials
from infra.stack.compose import (
    OURS,
    PROJECT,
    ROOT,
    CannotRun,
    containers,
    docker,
    docker_output,
    elsewhere,
    production,
    published,
    setting,
)

GIB = 1 << 30
DISK_NEEDED = 4 * GIB
MEMORY_NEEDED = 2 * GIB
OLDEST_COMPOSE = (2, 24)
# Engine 25, the first with `start_interval` for health checks.
OLDEST_API = (1, 44)
# Ports that production does not publish.
_INSIDE = (
    ("GRAFANA_PORT", "3000", "127.0.0.1"),
    ("PROMETHEUS_PORT", "9090", "127.0.0.1"),
    ("ALERTMANAGER_PORT", "9093", "127.0.0.1"),
)


@dataclass(frozen=True)
class Check:
    """A line of the output: the checked thing, whether it suffices, and what was found."""

    name: str
    ok: bool
    found: str


def run() -> list[Check]:
    """All checks; without an engine, the checks that need it are left out."""
    checks = [_engine()]
    if checks[0].ok:
        checks += [_compose(), _builder(), *_others()]
    wrong = _settings(engine=checks[0].ok)
    checks += [_disk(), _memory(), _folder(), *wrong]
    if checks[0].ok and not wrong:
        checks += [*_network(), *_ports()]
    return checks


def show(checks: list[Check]) -> None:
    for check in checks:
        mark = "\N{CHECK MARK}" if check.ok else "\N{BALLOT X}"
        print(f"  {mark} {check.name:<10} {check.found}")


def _engine() -> Check:
    try:
        result = docker(
            "version", "--format", "{{.Server.Version}} {{.Server.APIVersion}}", timeout=15
        )
    except CannotRun as error:
        return Check("engine", ok=False, found=str(error))
    if result.returncode == 0:
        version, _, api = result.stdout.strip().partition(" ")
        match = re.match(r"(\d+)\.(\d+)", api)
        if match and (int(match[1]), int(match[2])) >= OLDEST_API:
            return Check("engine", ok=True, found=f"Docker {version}")
        found = f"Docker {version}; 25.0 or newer is needed, see `make engine`"
        return Check("engine", ok=False, found=found)
    if "permission denied" in result.stderr:
        found = "this user may not speak to the Docker engine: join the group `docker`, or use sudo"
    else:
        found = "no Docker engine answers. `make engine` starts one; `make dev` needs none"
    return Check("engine", ok=False, found=found)


def _compose() -> Check:
    result = docker("compose", "version", "--short", timeout=15)
    match = re.match(r"v?(\d+)\.(\d+)", result.stdout)
    if result.returncode or match is None:
        return Check("compose", ok=False, found="`docker compose` is missing; see `make engine`")
    version = (int(match[1]), int(match[2]))
    needed = ".".join(map(str, OLDEST_COMPOSE))
    found = result.stdout.strip()
    return Check(
        "compose",
        version >= OLDEST_COMPOSE,
        found if version >= OLDEST_COMPOSE else f"{found}; {needed} or newer is needed",
    )


def _builder() -> Check:
    result = docker("buildx", "version", timeout=15)
    if result.returncode:
        return Check("builder", ok=False, found="`docker buildx` is missing; see `make engine`")
    return Check("builder", ok=True, found="buildx")


def _others() -> list[Check]:
    """A failed check for another checkout's stack or data without its passwords; usually empty."""
    try:
        folder = elsewhere()
        data = docker_output("volume", "ls", "--quiet", "--filter", OURS, timeout=15).split()
        containers()
    except CannotRun as error:
        return [Check("stack", ok=False, found=str(error))]
    if folder is not None:
        return [Check("stack", ok=False, found=f"{folder} has one here; `make down` there first")]
    if data and not credentials.exist() and not setting("NEW_SECRETS"):
        found = (
            f"there is data ({data[0]}, …), but its passwords are not in {credentials.SECRETS}: "
            "bring them there; if they are lost, `make up NEW_SECRETS=1` makes others for this data"
        )
        return [Check("stack", ok=False, found=found)]
    return []


def _disk() -> Check:
    try:
        root = docker("info", "--format", "{{.DockerRootDir}}", timeout=15).stdout.strip()
    except CannotRun:
        root = ""
    where = Path(root) if root and Path(root).exists() else ROOT
    free = shutil.disk_usage(where).free
    return _enough("disk", free, DISK_NEEDED, f"free at {where}")


def _memory() -> Check:
    available = 0
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("MemAvailable:"):
            available = int(line.split()[1]) * 1024
    # A running stack has its memory already.
    if any(one["State"] == "running" for one in _containers()):
        return Check("memory", ok=True, found="the stack is running")
    return _enough("memory", available, MEMORY_NEEDED, "available")


def _enough(name: str, present: int, needed: int, kind: str) -> Check:
    found = f"{present / GIB:.1f} GiB {kind}"
    if present < needed:
        found += f"; {needed / GIB:.0f} GiB are needed"
    return Check(name, present >= needed, found)


def _folder() -> Check:
    if os.access(ROOT, os.W_OK):
        return Check("folder", ok=True, found=str(ROOT))
    return Check("folder", ok=False, found=f"{ROOT} cannot be written")


def _settings(*, engine: bool) -> list[Check]:
    """A failed check for each setting that cannot be used."""
    cores = docker("info", "--format", "{{.NCPU}}", timeout=15).stdout.strip() if engine else ""
    ports = [] if production() else ["HTTP_PORT", "HTTPS_PORT", *(name for name, *_ in _INSIDE)]
    faults = bounds.faults(ports=ports, cores=int(cores) if cores.isdecimal() else None)
    return [Check("setting", ok=False, found=fault) for fault in faults]


def _network() -> list[Check]:
    """A failed check if the network has other addresses: Compose would empty it to change them."""
    shape = "{{range .IPAM.Config}}{{.Subnet}} {{.IPRange}}{{end}}"
    found = docker("network", "inspect", "--format", shape, f"{PROJECT}_edge", timeout=15)
    there = found.stdout.split()
    subnet, pool, _ = bounds.edge()
    if found.returncode or not there or there == [subnet, pool]:
        return []
    text = (
        f"EDGE_SUBNET={subnet} and EDGE_RANGE={pool} are others than those of what is there "
        f"({', '.join(there)}): `make down` first"
    )
    return [Check("network", ok=False, found=text)]


def _ports() -> list[Check]:
    ours = {port["PublishedPort"] for one in _containers() for port in one.get("Publishers") or ()}
    return [
        _port(published(name, default), name, address, ours)
        for name, default, address in (
            ("HTTP_PORT", "80", ""),
            ("HTTPS_PORT", "443", ""),
            *(() if production() else _INSIDE),
        )
    ]


def _port(text: str, name: str, address: str, ours: set[int]) -> Check:
    number = int(text)
    if number in ours:
        return Check("port", ok=True, found=f"{number} is ours already")
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address, number))
        except PermissionError:
            # The engine can bind a port that this user cannot; a connection shows if it is taken.
            taken = probe.connect_ex(("127.0.0.1", number)) == 0
        except OSError:
            taken = True
        else:
            taken = False
    if taken:
        way = "stop it" if production() else f"set {name} to another"
        return Check("port", ok=False, found=f"{number} is taken by another program; {way}")
    return Check("port", ok=True, found=f"{number} is free")


def _containers() -> list[dict[str, Any]]:
    try:
        return containers()
    except (CannotRun, ValueError):
        return []
