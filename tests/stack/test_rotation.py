"""`make rotate SECRET=…` for each secret, while clients work: `make test-rotation`."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import httpx
import pytest

from fixtures.disturbed import assert_nobody_noticed, under_load
from fixtures.stack import SECRETS
from infra.stack import compose, rotate

if TYPE_CHECKING:
    from collections.abc import Callable

    from fixtures.stack import Stack

pytestmark = pytest.mark.skipif(
    not os.environ.get("ROTATE"), reason="takes minutes: `make test-rotation`"
)
# Grafana has its own users.
OF_GRAFANA = {"grafana_admin_password", "grafana_secret_key"}
PER_SECOND = float(os.environ.get("LOAD_PER_SECOND", "50"))


def rotation(stack: Stack, name: str) -> Callable[[], object]:
    def do() -> None:
        former = value(name)
        done = stack.make("rotate", SECRET=name)
        assert done.returncode == 0, done.stdout + done.stderr
        assert value(name) != former or name == "jwt_secret_previous"
        assert not former or not lets_in(stack, name, former)
        assert value(name) not in done.stdout or not value(name)

    return do


def value(name: str) -> str:
    return (SECRETS / name).read_text()


def lets_in(stack: Stack, name: str, secret: str) -> bool:
    """Whether the secret lets its owner in; False for other secrets than passwords of servers."""
    kind, _, role = name.removesuffix("_password").partition("_")
    if kind == "postgres":
        (postgres,) = stack.containers("postgres")
        done = compose.docker(
            "exec", "--env", "PGPASSWORD", postgres["Name"], "psql", "-w", "-h", "127.0.0.1",
            "-U", f"listo_{role}", "-d", "listo", "-c", "", env={"PGPASSWORD": secret},
        )  # fmt: skip
        return done.returncode == 0
    if kind == "redis":
        (redis,) = stack.containers("redis")
        done = compose.docker(
            "exec", "--env", "REDISCLI_AUTH", redis["Name"], "redis-cli", "--user", role, "ping",
            env={"REDISCLI_AUTH": secret},
        )  # fmt: skip
        return "PONG" in done.stdout
    return False


def test_rotations_fail_no_request(stack: Stack, collection: str) -> None:
    names = [name for name in rotate.ROTATIONS if name not in OF_GRAFANA | {"admin_password"}]
    token = ""
    with stack.admin() as admin:
        token = admin.headers["Authorization"]
    with stack.keys(5) as keys:
        stack.up(REPLICAS="2")
        try:
            ledger = under_load(
                stack, collection, keys, {name: rotation(stack, name) for name in names},
                per_second=PER_SECOND,
            )  # fmt: skip
        finally:
            stack.up(REPLICAS="3")
            stack.token = ""
    assert_nobody_noticed(stack, collection, ledger)
    # The last rotation forgot the secret that signed the token.
    with stack.client(headers={"Authorization": token}) as client:
        assert client.get("/auth/me").status_code == 401


def test_a_session_outlives_another_secret(stack: Stack) -> None:
    with stack.admin() as admin:
        rotation(stack, "jwt_secret")()
        assert admin.get("/auth/me").status_code == 200


def test_the_admin_gets_another_password(stack: Stack) -> None:
    former = value("admin_password")
    rotation(stack, "admin_password")()
    stack.token = ""
    with stack.admin() as admin:
        assert admin.get("/auth/me").status_code == 200
    with stack.client() as client:
        email = compose.setting("ADMIN_EMAIL", "admin@example.com")
        answer = client.post("/auth/login", json={"email": email, "password": former})
    assert answer.status_code == httpx.codes.UNAUTHORIZED


def test_a_secret_whose_file_was_removed_is_made_anew(stack: Stack) -> None:
    former = value("postgres_app_password")
    (SECRETS / "postgres_app_password").unlink()
    stack.up()
    assert not lets_in(stack, "postgres_app_password", former)
    with stack.admin() as admin:
        assert admin.get("/health/ready").json()["status"] == "ready"
