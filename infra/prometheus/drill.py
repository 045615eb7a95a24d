"""Cause faults in the running stack and measure until their alerts fire.

    python3 -m infra.prometheus.drill             the list
    python3 -m infra.prometheus.drill redis oom   these, one after another; "all" for all
    python3 -m infra.prometheus.drill all --markdown

A drill stops and pauses services of the stack in this folder, and undoes that. Drills are refused
in production, since users would notice most of them.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import ssl
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from typing import TYPE_CHECKING

from infra.stack.compose import ROOT, production, setting

if TYPE_CHECKING:
    from collections.abc import Iterator

# How long a drill waits for its alerts, in seconds.
PATIENCE = 1200
_REPLICA = "$(docker compose ps -q api | head -1)"
_REPLICAS = "$(docker compose ps -q api)"


@dataclass(frozen=True)
class Drill:
    """A fault, the command that undoes it, the alerts to expect, and the clients' request."""

    cause: str
    undo: str
    alerts: tuple[str, ...]
    request: tuple[str, str] | None = None


READ = ("GET", "/auth/me")
LOGIN = ("POST", "/auth/login")
_SQL = "docker compose exec -T postgres psql -q -U postgres listo"
_LOCK = (
    "BEGIN; SET LOCAL statement_timeout = 0; SET LOCAL lock_timeout = 0;"
    " LOCK TABLE listo.events; SELECT pg_sleep(600)"
)
_UNLOCK = (
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
    " WHERE query LIKE '%pg_sleep(600)' AND pid <> pg_backend_pid()"
)

DRILLS = {
    "replica-paused": Drill(
        f"docker pause {_REPLICA}", f"docker unpause {_REPLICA}", ("ReplicaDown", "ReplicaNotReady")
    ),
    "replica-stopped": Drill(
        f"docker stop -t 1 {_REPLICA}",
        "docker start $(docker compose ps -aq api)",
        ("ReplicasMissing",),
    ),
    "replicas-paused": Drill(
        f"docker pause {_REPLICAS}", f"docker unpause {_REPLICAS}", ("NoReplicaReady", "EdgeDown")
    ),
    "replica-restarts": Drill(
        f"one={_REPLICA}; for i in 1 2 3; do docker restart -t 1 $one; sleep 35; done",
        "true",
        ("RestartLoop",),
    ),
    "database": Drill(
        "docker compose stop -t 20 postgres",
        "docker compose start postgres",
        ("DatabaseDown", "NoReplicaReady", "DatabaseUnreachable", "NotificationsLost"),
    ),
    "errors": Drill(
        "docker compose pause postgres",
        "docker compose unpause postgres",
        ("ErrorBudgetBurn",),
        LOGIN,
    ),
    "redis": Drill(
        "docker compose stop redis",
        "docker compose start redis",
        ("RedisDown", "RedisFallbacks"),
        READ,
    ),
    "log-ins": Drill("true", "true", ("RateLimitSurge",), LOGIN),
    "worker": Drill(
        "docker compose stop worker", "docker compose start worker", ("TargetMissing",)
    ),
    "exporter": Drill(
        "docker compose pause nginx-exporter",
        "docker compose unpause nginx-exporter",
        ("TargetDown",),
    ),
    "alertmanager": Drill(
        "docker compose pause alertmanager",
        "docker compose unpause alertmanager",
        ("AlertsNotDelivered",),
    ),
    "locked-table": Drill(
        f'({_SQL} -c "{_LOCK}") >/dev/null 2>&1 &', f'{_SQL} -c "{_UNLOCK}"', ("WorkerLoopStalled",)
    ),
    "oom": Drill(
        "docker run --rm --network none --memory 16m --memory-swap 16m --entrypoint tail"
        " $(docker inspect -f '{{.Config.Image}}' $(docker compose ps -q redis)) /dev/zero || true",
        "true",
        ("OutOfMemoryKill",),
    ),
}


def shell(command: str) -> None:
    """Run the command from the project's root. Raises CalledProcessError."""
    subprocess.run(  # noqa: S602 - only the lines above
        command, shell=True, check=True, cwd=ROOT, stdout=subprocess.DEVNULL
    )


def alerts(*states: str) -> set[str]:
    """The names of the alerts that are now in one of `states`: pending, firing."""
    port = setting("PROMETHEUS_PORT", "9090")
    url = f"http://127.0.0.1:{port}/api/v1/alerts"
    with urllib.request.urlopen(url, timeout=10) as answer:
        found = json.load(answer)["data"]["alerts"]
    return {one["labels"]["alertname"] for one in found if one["state"] in states}


def calm(names: set[str]) -> bool:
    """Wait until no alert of an earlier fault is active; returns whether PATIENCE was enough."""
    began = time.monotonic()
    while active := alerts("pending", "firing") & names:
        if time.monotonic() - began > PATIENCE:
            sys.stderr.write(f"still active, so not measured: {', '.join(sorted(active))}\n")
            return False
        time.sleep(1)
    return True


def requests(method: str, path: str, ended: threading.Event) -> None:
    """Send ten requests a second to the public endpoint, whatever the answers."""
    context = ssl.create_default_context(cafile=str(ROOT / ".listo/ca.crt"))
    body = b'{"email": "drill@example.com", "password": "not the password"}'
    port = setting("HTTPS_PORT", "443")
    while not ended.wait(0.1):
        request = urllib.request.Request(
            f"https://localhost:{port}{path}",
            method=method,
            data=body if method == "POST" else None,
            headers={"Content-Type": "application/json"},
        )
        with contextlib.suppress(urllib.error.URLError, OSError):
            urllib.request.urlopen(request, timeout=10, context=context).close()  # noqa: S310


@contextlib.contextmanager
def traffic(request: tuple[str, str] | None) -> Iterator[None]:
    """Have four clients send requests in the background."""
    ended = threading.Event()
    threads = [
        threading.Thread(target=requests, args=(*request, ended)) for _ in range(4) if request
    ]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        ended.set()
        for thread in threads:
            thread.join()


def run(drill: Drill) -> dict[str, float | None]:
    """Seconds from the cause to each alert, or None; empty if earlier alerts stayed active."""
    if not calm(set(drill.alerts)):
        return {}
    seconds: dict[str, float | None] = dict.fromkeys(drill.alerts)
    with traffic(drill.request):
        began = time.monotonic()
        try:
            shell(drill.cause)
            while time.monotonic() - began < PATIENCE:
                for name in alerts("firing") & set(drill.alerts):
                    if seconds[name] is None:
                        seconds[name] = round(time.monotonic() - began, 1)
                if None not in seconds.values():
                    break
                time.sleep(1)
        finally:
            shell(drill.undo)
    return seconds


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("drills", nargs="*", choices=[*DRILLS, "all", []], metavar="DRILL")
    parser.add_argument("--markdown", action="store_true", help="rows for docs/alerts.md")
    given = parser.parse_args()
    if not given.drills:
        for name, drill in DRILLS.items():
            sys.stdout.write(f"{name:17} {', '.join(drill.alerts)}\n")
        return 0
    if production():
        sys.stderr.write("drill: not in production, users would notice.\n")
        return 1
    missed = 0
    for name in DRILLS if "all" in given.drills else given.drills:
        sys.stderr.write(f"{name}: waiting for {', '.join(DRILLS[name].alerts)}\n")
        measured = run(DRILLS[name])
        missed += not measured
        for alert, seconds in measured.items():
            missed += seconds is None
            words = "did not fire" if seconds is None else f"{seconds:.0f} s"
            row = (
                f"| {name} | {alert} | {words} |"
                if given.markdown
                else f"{name:17} {alert:22} {words}"
            )
            sys.stdout.write(f"{row}\n")
            sys.stdout.flush()
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
