"""`make up`: check, make secrets and images, start, wait until all is well, print addresses."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from contextlib import suppress
from typing import Any

from infra.stack import credentials, images, preflight, readable, renew, roles, trial
from infra.stack.compose import (
    ROOT,
    STATE,
    CannotRun,
    compose,
    containers,
    docker,
    docker_output,
    error_output,
    lock,
    production,
    published,
    setting,
)
from infra.stack.silence import silenced
from infra.stack.table import Table, settled, state

AUTHORITY = ROOT / ".listo" / "ca.crt"
START_SECONDS = 180
_UNFINISHED = re.compile(r"[0-9a-f]{12}_")
LEFT_OUT = "Grafana, Loki and Fluent Bit"


def main() -> int:
    look()
    with lock():
        bring_up()
        _greet()
    return 0


def look() -> None:
    """Check the machine before anything is changed. Raises CannotRun if something is in the way."""
    print("Listo: what this machine has")
    checks = preflight.run()
    preflight.show(checks)
    if not all(check.ok for check in checks):
        raise CannotRun("nothing was changed; the lines above say why")


def bring_up() -> None:
    """Start the services that do not run, and bring the others up to date. Raises CannotRun."""
    present = _without_unfinished(containers())
    serving = serves(present)
    readable.ensure()
    credentials.ensure_passwords()
    pending = _let_in_new_passwords(serving=serving)
    credentials.ensure(roles.NEXT if roles.APP in pending else roles.APP)
    print("\nImages")
    images.choose()
    images.keep_replicas()
    images.provide()
    print("\nServices")
    with silenced("make up"):
        if serving:
            renew.all_services(pending)
            _wait_settled()
        else:
            _start_all(present)
    _copy_authority()


def _without_unfinished(present: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Remove replacements that an interrupted Compose left: Compose would give the next ones the
    same names, and fail."""
    unfinished = [
        one for one in present if one["State"] == "created" and _UNFINISHED.match(one["Name"])
    ]
    for one in unfinished:
        docker_output("rm", "--force", one["Name"])
    return [one for one in present if one not in unfinished]


def serves(present: list[dict[str, Any]]) -> bool:
    """Whether clients may be using the stack."""
    running = {one["Service"] for one in present if one["State"] == "running"}
    return running >= {"nginx", "api"}


def _let_in_new_passwords(*, serving: bool) -> set[str]:
    """Have PostgreSQL take changed passwords, and return the roles that are left: see roles.py."""
    pending = roles.pending()
    at_once = pending - {roles.APP, roles.NEXT}
    if roles.APP in pending:
        if serving and not credentials.elsewhere():
            roles.admit_next()
        else:
            at_once.add(roles.APP)
    for role in sorted(at_once):
        roles.set_password(role)
    return pending - at_once


def _start_all(present: list[dict[str, Any]]) -> None:
    """Start all services together, since no client is being served."""
    credentials.forget_former()
    running = any(one["State"] == "running" for one in present)
    try:
        trial.api(database=False)
        if running:
            renew.restart_outdated(renew.STORES)
        _start()
        if running and renew.restart_outdated():
            _start()
    except BaseException:
        if not present:
            # Half a stack is of no use to anybody; data stays.
            print("\nStopping what was started …", file=sys.stderr)
            compose("down", "--timeout", "20")
        raise


def _start() -> None:
    log = STATE / "up.log"
    with log.open("w") as output, subprocess.Popen(
        ["docker", "compose", "up", "--detach", "--no-build", "--remove-orphans"],  # noqa: S607
        cwd=ROOT, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT,
    ) as process:  # fmt: skip
        try:
            _wait(process, Table())
        except BaseException:
            process.terminate()
            process.wait()
            raise
    if process.returncode:
        _show_unwell()
        lines = [line for line in log.read_text().splitlines() if line.strip()]
        raise CannotRun(lines[-1] if lines else "docker compose up failed")


def _show_unwell() -> None:
    """Print the last lines of each service that is not well."""
    unwell = {one["Service"]: one for one in containers() if not settled(one)}
    for service, one in unwell.items():
        if one["State"] != "created":
            result = docker("logs", "--tail", "8", one["Name"])
            print(f"\n{service} is {state(one)}; {one['Name']} said:", file=sys.stderr)
            print((result.stdout + result.stderr).rstrip(), file=sys.stderr)


def _wait(process: subprocess.Popen[bytes], table: Table) -> None:
    """Wait until all is well, or Compose has failed."""
    deadline = time.monotonic() + START_SECONDS
    present: list[dict[str, Any]] = []
    while True:
        # An engine that is too busy to answer is asked again.
        with suppress(CannotRun):
            present = containers()
        table.draw(present)
        ended = process.poll()
        if ended is not None and (ended or (present and all(map(settled, present)))):
            return
        _give_up_after(deadline, present)
        time.sleep(0.5)


def _wait_settled() -> None:
    """Wait until all is well again."""
    deadline = time.monotonic() + START_SECONDS
    table = Table()
    while True:
        present = containers()
        table.draw(present)
        if all(map(settled, present)):
            return
        _give_up_after(deadline, present)
        time.sleep(0.5)


def _give_up_after(deadline: float, present: list[dict[str, Any]]) -> None:
    # A service that is still starting gets the time of its health check to recover after a crash.
    if time.monotonic() > deadline and not any(state(one) == "starting" for one in present):
        slow = ", ".join(f"{one['Service']} ({state(one)})" for one in present if not settled(one))
        raise CannotRun(f"not all is well after {START_SECONDS} s: {slow}; see `make logs`")


def _copy_authority() -> None:
    """Copy the authority's certificate, never its key, so that clients here can trust it."""
    name = next(one["Name"] for one in containers() if one["Service"] == "authority")
    result = docker("cp", f"{name}:/authority/ca.crt", str(AUTHORITY))
    if result.returncode:
        raise CannotRun(f"the authority's certificate could not be copied: {error_output(result)}")
    AUTHORITY.chmod(0o644)


def address() -> str:
    port = published("HTTPS_PORT", "443")
    return "https://localhost" + ("" if port == "443" else f":{port}")


def _greet() -> None:
    domain = setting("DOMAIN")
    url = f"https://{domain}" if domain else address()
    print(f"\nListo is ready.  {url}\n")
    for place, text in [(f"{url}/docs", "the API, to try in the browser"), *_inside()]:
        print(f"  {place:<40}{text}")
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
    """The addresses that are published only on 127.0.0.1."""
    if production():
        return []
    prometheus, alertmanager, grafana = (
        f"http://127.0.0.1:{setting(f'{name.upper()}_PORT', port)}"
        for name, port in (("prometheus", "9090"), ("alertmanager", "9093"), ("grafana", "3000"))
    )
    if images.of_debian():
        # Debian's packages have only the former pages of Prometheus, and no pages of Alertmanager.
        return [
            (f"{prometheus}/classic/alerts", "Prometheus"),
            (f"{alertmanager}/api/v2/alerts", "Alertmanager, which has no pages here: make alerts"),
        ]
    return [
        (grafana, "Grafana"),
        (f"{prometheus}/alerts", "Prometheus"),
        (alertmanager, "Alertmanager"),
    ]
