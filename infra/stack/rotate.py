"""`make rotate SECRET=…`: give a secret another value, and have the stack use it."""

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


def _replace(name: str) -> None:
    """Write a new value and bring the stack up with it; the former is valid until all have it."""
    if name == "postgres_app_password" and {roles.APP, roles.NEXT} & roles.pending():
        # Replicas may know the value that an interrupted run made.
        print("An interrupted rotation is finished; say it again for one more.")
    else:
        credentials.write(name, credentials.new_password())
    up.bring_up()


def _jwt(name: str) -> None:
    """Have all replicas accept tokens of the new secret before any replica signs with it."""
    former, fresh = credentials.read(name), credentials.new_password()
    credentials.write("jwt_secret_previous", fresh)
    up.bring_up()
    # The former secret is written first, so that a file has it even after an interruption.
    credentials.write("jwt_secret_previous", former)
    credentials.write(name, fresh)
    renew.replicas(set())


def _forget(name: str) -> None:
    credentials.write(name, "")
    up.bring_up()


def _admin(name: str) -> None:
    """Change the password in the service as well, which ends the admin's sessions."""
    fresh = secrets.token_urlsafe(18)
    running = (one for one in containers() if one["State"] == "running")
    api = next(one["Name"] for one in running if one["Service"] == "api")
    with _file_first(name, fresh):
        result = docker(
            "exec", "--env", "LISTO_PASSWORD", api, "listo", "admin", "reset-password",
            setting("ADMIN_EMAIL", "admin@example.com"), env={"LISTO_PASSWORD": fresh},
        )  # fmt: skip
        if result.returncode:
            raise CannotRun(f"the admin's password was not changed: {error_output(result)}")


def _grafana(name: str) -> None:
    fresh = credentials.new_password()
    if not any(one["Service"] == "grafana" for one in containers()):
        raise CannotRun(f"Grafana does not run here; {name} counts at its first start")
    with _file_first(name, fresh):
        result = compose("exec", "--no-TTY", "grafana", *_GRAFANA, stdin=f"{fresh}\n")
        if result.returncode:
            raise CannotRun(f"Grafana's password was not changed: {error_output(result)}")


@contextmanager
def _file_first(name: str, fresh: str) -> Iterator[None]:
    """Write the file before the service gets the new password, which could be lost otherwise. The
    file has the former password again if the service refuses."""
    former = credentials.read(name)
    credentials.write(name, fresh)
    try:
        yield
    except CannotRun:
        credentials.write(name, former)
        raise


ROTATIONS: dict[str, Callable[[str], None]] = {
    **{f"{name}_password": _replace for name in credentials.PASSWORDS},
    "redis_listo_password": _replace,
    "redis_monitor_password": _replace,
    "jwt_secret": _jwt,
    "jwt_secret_previous": _forget,
    "admin_password": _admin,
    "grafana_admin_password": _grafana,
    "grafana_secret_key": _replace,
}
FOLLOWING = {
    "database_url": "postgres_app_password, unless it is that of a server elsewhere",
    "database_owner_url": "postgres_owner_password, unless it is that of a server elsewhere",
    "redis_url": "redis_listo_password",
    "redis_users": "redis_listo_password and redis_monitor_password",
    "redis_exporter": "redis_monitor_password",
    "alertmanager": "the settings of docs/alerts.md",
}
