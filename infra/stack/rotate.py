"""`make rotate SECRET=…`: another value for one secret, and the stack made to go by it."""

from __future__ import annotations

import secrets
from contextlib import contextmanager
from typing import TYPE_CHECKING

from infra.stack import credentials, images, renew, roles, up
from infra.stack.compose import CannotRun, compose, containers, docker, error_output, lock, setting

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_GRAFANA = (
    "grafana", "cli", "--homepath", "/usr/share/grafana",
    "--config", "/etc/listo/grafana/grafana.ini",
    "admin", "reset-admin-password", "--password-from-stdin",
)  # fmt: skip


def main() -> int:
    name = setting("SECRET")
    if name not in ROTATIONS:
        raise CannotRun(_unknown(name))
    up.look()
    with lock():
        images.choose()
        if not up.serves(containers()):
            raise CannotRun("the stack does not run: `make up` first")
        ROTATIONS[name](name)
    print(f"\n{name} is another one now: {credentials.SECRETS / name}")
    return 0


def _unknown(name: str) -> str:
    known = ", ".join(ROTATIONS)
    if name in FOLLOWING:
        return f"{name} follows from {FOLLOWING[name]}"
    return f"SECRET={name!r} is none of {known}" if name else f"say SECRET=…, one of {known}"


def _another(name: str) -> None:
    """Services get it from `make up`, which lets the former one in meanwhile."""
    if name == "postgres_app_password" and {roles.APP, roles.NEXT} & roles.behind():
        # Replicas may know the value that an interrupted run made.
        print("An interrupted rotation is finished; say it again for one more.")
    else:
        credentials.write(name, credentials.new_password())
    up.bring_up()


def _jwt(name: str) -> None:
    """All have to accept what the new one signs before anybody signs with it."""
    former, fresh = credentials.read(name), credentials.new_password()
    credentials.write("jwt_secret_previous", fresh)
    up.bring_up()
    # First, so that the former one is in a file whatever comes in between.
    credentials.write("jwt_secret_previous", former)
    credentials.write(name, fresh)
    renew.replicas(set())


def _forget(name: str) -> None:
    credentials.write(name, "")
    up.bring_up()


def _admin(name: str) -> None:
    """In the product, which ends the admin's sessions."""
    fresh = secrets.token_urlsafe(18)
    running = (one for one in containers() if one["State"] == "running")
    api = next(one["Name"] for one in running if one["Service"] == "api")
    with _kept(name, fresh):
        result = docker(
            "exec", "--env", "LISTO_PASSWORD", api, "listo", "admin", "reset-password",
            setting("ADMIN_EMAIL", "admin@example.com"), more={"LISTO_PASSWORD": fresh},
        )  # fmt: skip
        if result.returncode:
            raise CannotRun(f"the admin's password was not changed: {error_output(result)}")


def _grafana(name: str) -> None:
    fresh = credentials.new_password()
    if not any(one["Service"] == "grafana" for one in containers()):
        raise CannotRun(f"Grafana does not run here; {name} counts at its first start")
    with _kept(name, fresh):
        result = compose("exec", "--no-TTY", "grafana", *_GRAFANA, stdin=f"{fresh}\n")
        if result.returncode:
            raise CannotRun(f"Grafana's password was not changed: {error_output(result)}")


@contextmanager
def _kept(name: str, fresh: str) -> Iterator[None]:
    """Put it into its file before the product has it, since nobody could tell it otherwise; the
    former one is there again where the product refuses."""
    former = credentials.read(name)
    credentials.write(name, fresh)
    try:
        yield
    except CannotRun:
        credentials.write(name, former)
        raise


ROTATIONS: dict[str, Callable[[str], None]] = {
    **{f"{name}_password": _another for name in credentials.PASSWORDS},
    "redis_listo_password": _another,
    "redis_monitor_password": _another,
    "jwt_secret": _jwt,
    "jwt_secret_previous": _forget,
    "admin_password": _admin,
    "grafana_admin_password": _grafana,
    "grafana_secret_key": _another,
}
FOLLOWING = {
    "database_url": "postgres_app_password, unless it is that of a server elsewhere",
    "database_owner_url": "postgres_owner_password, unless it is that of a server elsewhere",
    "redis_url": "redis_listo_password",
    "redis_users": "redis_listo_password and redis_monitor_password",
    "redis_exporter": "redis_monitor_password",
    "alertmanager": "the settings of docs/alerts.md",
}
