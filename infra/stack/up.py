"""`make up`: look, make secrets and images, start, wait until all is well, and say where it is."""

from __future__ import annotations

import subprocess
import sys
import time
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any

from infra.stack import credentials, images, preflight, readable
from infra.stack.compose import (
    ROOT,
    STATE,
    CannotRun,
    compose,
    config,
    containers,
    docker,
    lock,
    production,
    published,
    said,
    setting,
    told,
)
from infra.stack.table import Table, settled, state

AUTHORITY = ROOT / ".listo" / "ca.crt"
START_SECONDS = 180
# What is read from a service's folder of `infra` when it starts, and never again. Not Grafana's
# dashboards, which are JSON that is made by the code beside it.
READ_ONCE = {
    "fluent-bit": "*.*", "grafana": "*.*", "loki": "*.*", "postgres": "*.*", "redis": "*.*",
    "nginx": "entrypoint.sh",
}  # fmt: skip
READ_AGAIN = {".json", ".py", ".pyc"}
# Others log in there, so these know a changed password first.
STORES = {"postgres", "redis"}
# How each is asked whether it would take its files, before it is told to read them again.
TESTS = {
    "nginx": ("nginx", "-t", "-q", "-c", "/etc/listo/nginx/nginx.conf"),
    "prometheus": ("promtool", "check", "config", "/etc/prometheus/prometheus.yml"),
    "blackbox-exporter": (
        "blackbox_exporter", "--config.check", "--config.file=/etc/prometheus/blackbox.yml",
    ),
}  # fmt: skip
LEFT_OUT = "Grafana, Loki and Fluent Bit"


def main() -> int:
    print("Listo: what this machine has")
    checks = preflight.run()
    preflight.show(checks)
    if not all(check.ok for check in checks):
        raise CannotRun("the stack was not started; the lines above say why")
    with lock():
        present = containers()
        readable.ensure()
        credentials.ensure()
        print("\nImages")
        images.choose()
        images.provide()
        print("\nServices")
        try:
            _bring_up(serving=any(one["State"] == "running" for one in present))
        except BaseException:
            if not present:
                # Half a stack is of no use to anybody; data stays.
                print("\nStopping what was started …", file=sys.stderr)
                compose("down", "--timeout", "20")
            raise
        _copy_authority()
        _greet()
    return 0


def _bring_up(*, serving: bool) -> None:
    if serving:
        _restart_outdated(STORES)
    _start()
    if serving:
        if _restart_outdated():
            _start()
        _reload()


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


def _restart_outdated(among: set[str] | None = None) -> bool:
    """Compose does not see that files changed which a service has mounted."""
    stack = config()
    outdated = {
        one["Service"]
        for one in containers()
        if one["State"] == "running"
        and (among is None or one["Service"] in among)
        and _changed_since(one["Name"], _read_once(one["Service"], stack))
    }
    for service in sorted(outdated):
        print(f"  {service} is restarted: its configuration changed")
    if outdated:
        told("compose", "restart", *sorted(outdated), timeout=300)
    return bool(outdated)


def _read_once(service: str, stack: dict[str, Any]) -> list[Path]:
    """What it reads when it starts, and never again: files of its folder, and its secrets."""
    files = (ROOT / "infra" / service).rglob(READ_ONCE[service]) if service in READ_ONCE else ()
    secrets = stack["services"].get(service, {}).get("secrets") or ()
    return [
        *(file for file in files if file.suffix not in READ_AGAIN),
        *(Path(stack["secrets"][one["source"]]["file"]) for one in secrets),
    ]


def _changed_since(container: str, files: list[Path]) -> bool:
    if not files:
        return False
    started = told("inspect", "--format", "{{.State.StartedAt}}", container).strip()
    # When they got here, whatever time they brought along.
    newest = max(file.stat().st_ctime for file in files)
    return newest > datetime.fromisoformat(started).timestamp()


def _reload() -> None:
    """Have what ran before read its files again: Compose does not see that they changed."""
    for service, test in TESTS.items():
        result = compose("exec", "--no-TTY", service, *test)
        if result.returncode:
            raise CannotRun(
                f"{service} refuses its configuration, and goes on with the former one: "
                f"{said(result)}"
            )
    told("compose", "kill", "--signal", "HUP", *TESTS)


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
    present: list[dict[str, Any]] = []
    while True:
        # An engine that is busy with what it starts is asked again.
        with suppress(CannotRun):
            present = containers()
        table.draw(present)
        ended = process.poll()
        if ended is not None and (ended or (present and all(map(settled, present)))):
            return
        # What still starts has the time that its health check gives it, to recover after a crash.
        if time.monotonic() > deadline and not any(state(one) == "starting" for one in present):
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
    port = published("HTTPS_PORT", "443")
    return "https://localhost" + ("" if port == "443" else f":{port}")


def _greet() -> None:
    domain = setting("DOMAIN")
    url = f"https://{domain}" if domain else address()
    print(f"\nListo is ready.  {url}\n")
    for place, what in [(f"{url}/docs", "the API, to try in the browser"), *_inside()]:
        print(f"  {place:<40}{what}")
    if production():
        print("  Prometheus, Alertmanager and Grafana are not published: docs/stack.md, Production")
    email = setting("ADMIN_EMAIL", "admin@example.com")
    password = credentials.SECRETS / "admin_password"
    if credentials.UNTOLD.exists():
        print(f"\n  Admin {email}, password (shown this once):  {password.read_text()}")
        credentials.UNTOLD.unlink()
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
