"""Replace replicas one after another, while the others serve.

A new replica has to be ready, and known to nginx, before a former one goes. The former one then
gets no more requests, and has time to finish those in work.
"""

from __future__ import annotations

import subprocess
import time
from typing import TYPE_CHECKING

from infra.stack import outdated
from infra.stack.compose import (
    END_SECONDS,
    PROJECT,
    CannotRun,
    containers,
    docker,
    docker_output,
    error_output,
    setting,
)

if TYPE_CHECKING:
    from collections.abc import Callable

_START_SECONDS = 180
_EDGE_SECONDS = 30
# The time for requests that nginx' former processes accepted before nginx read the new upstream.
_LAST_SECONDS = 1.0
# nginx' entry point leaves out the replicas in this file.
LEAVING = "/run/nginx/leaving"
# The upstream that nginx was last told to read; upstream.conf may be newer.
_UPSTREAM = "/run/nginx/upstream.read"
_READY = (
    "import http.client as h; c = h.HTTPConnection('127.0.0.1', 8000, timeout=3); "
    "c.request('GET', '/health/ready'); exit(c.getresponse().status != 200)"
)


def roll(service: str, count: int) -> bool:
    """Bring the service to `count` up-to-date containers; returns whether anything was done.

    Raises CannotRun, and leaves the serving containers alone.
    """
    present = outdated.service_containers(service, outdated.look())
    for one in present:
        if not one.running:
            docker_output("rm", "--force", one.name)
    # A replica that is not healthy may be busy, and a replacement would be busy as well.
    former = [one for one in present if one.running and one.outdated]
    good = [one.name for one in present if one.running and one not in former]
    if len(good) == count and not former:
        return False
    # Unhealthy replicas go first, since they may not answer anyway.
    former.sort(key=lambda one: (one.healthy, one.number))
    edge = _edge() if service == "api" else None
    while len(good) < count:
        # All start at the same time if no former container has to go.
        more = 1 if former else count - len(good)
        fresh = _start(service, len(former) + len(good) + more, edge)
        good += fresh
        while former and len(former) + len(good) > count:
            gone = former.pop(0).name
            _end(gone, edge)
            print(f"  \N{CHECK MARK} {fresh[0]} in the place of {gone}", flush=True)
    surplus = [one.name for one in former] + good[::-1]
    for name in surplus[: max(0, len(surplus) - count)]:
        _end(name, edge)
        print(f"  \N{CHECK MARK} {name} is gone", flush=True)
    return True


def _start(service: str, total: int, edge: str | None) -> list[str]:
    """Start containers up to `total`. Raises CannotRun, and removes those that it started."""
    before = _names(service)
    scale = f"{service}={total}"
    try:
        docker_output(
            "compose", "up", "--detach", "--no-deps", "--no-build", "--no-recreate", "--scale",
            scale, service, timeout=_START_SECONDS,
        )  # fmt: skip
        fresh = sorted(_names(service) - before)
        for name in fresh:
            _wait_ready(service, name)
        if edge:
            for name in fresh:
                _wait_known(name, edge)
    except BaseException:
        for name in _names(service) - before:
            docker("rm", "--force", name)
        raise
    return fresh


def _names(service: str) -> set[str]:
    return {one["Name"] for one in containers() if one["Service"] == service}


def _wait_ready(service: str, name: str) -> None:
    """Wait until the container is ready. Raises CannotRun with its last line."""

    def ready() -> bool:
        state = next((one for one in containers() if one["Name"] == name), None)
        if state is None or state["State"] != "running":
            raise CannotRun(f"{name} ended while it started: {_last_words(name)}")
        # On a busy machine a container is unhealthy for a while before it is healthy.
        return state["Health"] == "healthy" and (
            service != "api" or not docker("exec", name, "python3", "-c", _READY).returncode
        )

    if not _within(_START_SECONDS, ready):
        raise CannotRun(f"{name} was not ready within {_START_SECONDS} s: {_last_words(name)}")


def _last_words(name: str) -> str:
    result = docker("logs", "--tail", "1", name)
    return error_output(subprocess.CompletedProcess((), 0, result.stdout + result.stderr, ""))


def _edge() -> str | None:
    """nginx' container, if it runs and passes requests on to this stack's replicas."""
    if setting("API_UPSTREAM", "api").partition(":")[0] != "api":
        return None
    found = (one for one in containers() if one["Service"] == "nginx")
    return next((one["Name"] for one in found if one["State"] == "running"), None)


def _address(name: str) -> str:
    """The container's address in nginx' network; empty if it has none."""
    network = f'{{{{with index .NetworkSettings.Networks "{PROJECT}_edge"}}}}'
    return docker_output(
        "inspect", "--format", f"{network}{{{{.IPAddress}}}}{{{{end}}}}", name
    ).strip()


def _wait_known(name: str, edge: str) -> None:
    """Wait until nginx passes requests to the replica. Raises CannotRun."""
    script = f"rm -f {LEAVING}; grep -q 'server {_address(name)}:' {_UPSTREAM}"
    if not _within(_EDGE_SECONDS, lambda: not docker("exec", edge, "sh", "-c", script).returncode):
        raise CannotRun(f"nginx did not take up {name} within {_EDGE_SECONDS} s")


def _end(name: str, edge: str | None) -> None:
    """Stop and remove a container, once nginx sends it no more requests."""
    address = _address(name) if edge else ""
    try:
        if edge and address:
            script = f"echo {address} >{LEAVING}; ! grep -q 'server {address}:' {_UPSTREAM}"
            # A timeout does no harm: a stopping replica refuses new requests itself.
            _within(_EDGE_SECONDS, lambda: not docker("exec", edge, "sh", "-c", script).returncode)
            time.sleep(_LAST_SECONDS)
        docker_output("stop", name, timeout=END_SECONDS)
        docker_output("rm", "--force", name)
    finally:
        if edge and address:
            # The next replica may get this address.
            docker("exec", edge, "rm", "-f", LEAVING)


def _within(seconds: float, condition: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.2)
    return True
