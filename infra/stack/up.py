"""`make up`: look, make secrets and images, start, wait until all is well, and say where it is."""

from __future__ import annotations

import subprocess
import sys
import time
from datetime import datetime
from typing import TYPE_CHECKING

from infra.stack import credentials, images, preflight
from infra.stack.compose import (
    ROOT,
    STATE,
    CannotRun,
    compose,
    containers,
    docker,
    production,
    said,
    setting,
)
from infra.stack.table import Table, settled, state

if TYPE_CHECKING:
    from pathlib import Path

AUTHORITY = ROOT / ".listo" / "ca.crt"
START_SECONDS = 180
# They read their folder of `infra`, or Alertmanager its secret, when they start, and never again.
# Except for dashboards, which are JSON that is made by the code beside it.
RESTARTED = {"alertmanager", "fluent-bit", "grafana", "loki", "postgres", "redis"}
READ_AGAIN = {".json", ".py", ".pyc"}
LEFT_OUT = "Grafana, Loki and Fluent Bit"


def main() -> int:
    print("Listo: what this machine has")
    checks = preflight.run()
    preflight.show(checks)
    if not all(check.ok for check in checks):
        raise CannotRun("the stack was not started; the lines above say why")
    running = any(one["State"] == "running" for one in containers())
    new_password = credentials.ensure()
    print("\nImages")
    images.choose()
    images.provide()
    print("\nServices")
    try:
        _start()
        if running:
            if _restart_outdated():
                _start()
            _reload()
    except BaseException:
        if not running:
            # Half a stack is of no use to anybody; data stays.
            print("\nStopping what was started …", file=sys.stderr)
            compose("down", "--timeout", "20")
        raise
    _copy_authority()
    _greet(show_password=new_password)
    return 0


def _start() -> None:
    log = STATE / "up.log"
    table = Table()
    with log.open("w") as output, subprocess.Popen(
        ["docker", "compose", "up", "--detach", "--no-build", "--remove-orphans"],  # noqa: S607
        cwd=ROOT, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT,
    ) as process:  # fmt: skip
        try:
            _wait(process, table)
        except BaseException:
            process.terminate()
            process.wait()
            raise
    if process.returncode:
        _show_unwell()
        lines = [line for line in log.read_text().splitlines() if line.strip()]
        raise CannotRun(lines[-1] if lines else "docker compose up failed")


def _restart_outdated() -> bool:
    """Compose does not see that files changed which a service has mounted."""
    restarted = False
    for one in containers():
        service = one["Service"]
        if service not in RESTARTED or one["State"] != "running":
            continue
        asked = docker("inspect", "--format", "{{.State.StartedAt}}", one["Name"])
        if asked.returncode:
            raise CannotRun(f"{service} cannot be looked at: {said(asked)}")
        # When it got here, whatever time it brought along.
        newest = max(file.stat().st_ctime for file in _read_once(service))
        if newest > datetime.fromisoformat(asked.stdout.strip()).timestamp():
            print(f"  {service} is restarted: its configuration changed")
            result = compose("restart", service)
            if result.returncode:
                raise CannotRun(f"{service} could not be restarted: {said(result)}")
            restarted = True
    return restarted


def _read_once(service: str) -> list[Path]:
    """What it reads when it starts, and never again."""
    if service == "alertmanager":
        return [credentials.SECRETS / "alertmanager"]
    files = (ROOT / "infra" / service).rglob("*.*")
    return [file for file in files if file.suffix not in READ_AGAIN]


def _reload() -> None:
    """Have what ran before read its files again: Compose does not see that they changed."""
    compose("kill", "--signal", "HUP", "nginx", "prometheus", "blackbox-exporter")


def _show_unwell() -> None:
    """The last words of whatever is not well."""
    unwell = {one["Service"]: one for one in containers() if not settled(one)}
    for service, one in unwell.items():
        if one["State"] != "created":
            result = docker("logs", "--tail", "8", one["Name"])
            print(f"\n{service} is {state(one)}; {one['Name']} said:", file=sys.stderr)
            print((result.stdout + result.stderr).rstrip(), file=sys.stderr)


def _wait(process: subprocess.Popen[bytes], table: Table) -> None:
    """Until all is well, or Compose has given up."""
    deadline = time.monotonic() + START_SECONDS
    while True:
        present = containers()
        table.draw(present)
        ended = process.poll()
        if ended is not None and (ended or (present and all(map(settled, present)))):
            return
        if time.monotonic() > deadline:
            slow = ", ".join(
                f"{one['Service']} ({state(one)})" for one in present if not settled(one)
            )
            raise CannotRun(f"not all is well after {START_SECONDS} s: {slow}; see `make logs`")
        time.sleep(0.5)


def _copy_authority() -> None:
    """So that clients on this machine can trust it: the certificate alone, never its key."""
    name = next(one["Name"] for one in containers() if one["Service"] == "authority")
    result = docker("cp", f"{name}:/authority/ca.crt", str(AUTHORITY))
    if result.returncode:
        raise CannotRun(f"the authority's certificate could not be copied: {said(result)}")
    AUTHORITY.chmod(0o644)


def address() -> str:
    port = setting("HTTPS_PORT", "443")
    return "https://localhost" + ("" if port == "443" else f":{port}")


def _greet(*, show_password: bool) -> None:
    domain = setting("DOMAIN")
    url = f"https://{domain}" if domain else address()
    print(f"\nListo is ready.  {url}\n")
    for place, what in [(f"{url}/docs", "the API, to try in the browser"), *_inside()]:
        print(f"  {place:<40}{what}")
    if production():
        print("  Prometheus, Alertmanager and Grafana are not published: docs/stack.md, Production")
    email = setting("ADMIN_EMAIL", "admin@example.com")
    password = credentials.SECRETS / "admin_password"
    if show_password:
        print(f"\n  Admin {email}, password (shown this once):  {password.read_text()}")
    else:
        print(f"\n  Admin {email}, first password in {password}")
    if not domain:
        print("\n  Trust its certificate:  curl --cacert .listo/ca.crt …  (docs/tls.md: browsers)")
    if images.of_debian():
        print(f"  Left out: {LEFT_OUT}, since no image registry answered; see docs/stack.md")
    print("  make ps | logs | down | destroy")


def _inside() -> list[tuple[str, str]]:
    """What is published on 127.0.0.1 alone."""
    if production():
        return []
    # Debian's package has only the former pages.
    alerts = "/classic/alerts" if images.of_debian() else "/alerts"
    places = [
        (f"http://127.0.0.1:{setting('PROMETHEUS_PORT', '9090')}{alerts}", "Prometheus"),
        (f"http://127.0.0.1:{setting('ALERTMANAGER_PORT', '9093')}", "Alertmanager"),
    ]
    if not images.of_debian():
        places.insert(0, (f"http://127.0.0.1:{setting('GRAFANA_PORT', '3000')}", "Grafana"))
    return places
