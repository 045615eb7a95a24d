"""`make up` with changes, while clients send fifty requests a second."""

from __future__ import annotations

import os
import signal
import subprocess
from functools import partial
from typing import TYPE_CHECKING

from fixtures.disturbed import assert_nobody_noticed, under_load
from infra.stack import compose

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from fixtures.stack import Stack

PER_SECOND = float(os.environ.get("LOAD_PER_SECOND", "50"))
OF_THE_API = ("api", "worker", "migrate")


def serving_containers(stack: Stack) -> set[str]:
    return {one["ID"] for name in ("api", "worker", "nginx") for one in stack.containers(name)}


def assert_refused(stack: Stack, why: str, **settings: str) -> None:
    """`make up` says why it fails, in one line, and leaves the serving containers alone."""
    before = serving_containers(stack)
    done = stack.make("up", **settings)
    assert done.returncode != 0
    lines = [line for line in done.stderr.splitlines() if line.startswith("make up: ")]
    assert len(lines) == 1, done.stdout + done.stderr
    assert why in lines[0]
    assert serving_containers(stack) == before
    assert all(one["State"] == "running" for one in stack.containers("api"))


def refuse_newer_database(stack: Stack) -> None:
    set_to = "UPDATE listo.migrations SET version_num = {}"
    now = psql(stack, "SELECT version_num FROM listo.migrations")
    psql(stack, set_to.format("'9999'"))
    try:
        assert_refused(stack, "The database is at migration 9999")
    finally:
        psql(stack, set_to.format(f"'{now}'"))


def psql(stack: Stack, statement: str) -> str:
    return stack.compose(
        "exec", "-T", "postgres", "psql", "-qtA", "-U", "postgres", "-d", "listo", "-c", statement
    ).strip()


def with_override(folder: Path, name: str, definition: str) -> dict[str, str]:
    """COMPOSE_FILE with one more file, which changes the services of the API."""
    path = folder / f"{name}.yaml"
    lines = [f"  {service}: {definition}" for service in OF_THE_API]
    path.write_text("\n".join(["services:", *lines, ""]))
    return {"COMPOSE_FILE": f"{compose.setting('COMPOSE_FILE')}:{path}"}


def with_another_image(stack: Stack, folder: Path) -> dict[str, str]:
    """COMPOSE_FILE with an image that `make up` does not build."""
    image = compose.config()["services"]["api"]["image"]
    (folder / "Dockerfile").write_text(f"FROM {image}\nLABEL of=a-test\n")
    stack.docker("build", "--quiet", "--tag", "listo/api:of-a-test", str(folder))
    definition = "{image: 'listo/api:of-a-test', build: !reset null}"
    return with_override(folder, "image", definition)


def interrupt(stack: Stack) -> None:
    """Interrupt `make up` by Ctrl-C once the first replica was replaced."""
    before = {one["ID"] for one in stack.containers("api")}
    # A shell that runs the tests beside other work has SIGINT ignored.
    interruptible = ("env", "--default-signal=INT")
    with subprocess.Popen(
        [*interruptible, "make", "up", "LOG_LEVEL=WARNING"], cwd=compose.ROOT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        said: Iterator[str] = iter(process.stdout)
        assert any("in the place of" in line for line in said)
        os.killpg(process.pid, signal.SIGINT)
        assert "Interrupted." in "".join(said)
    assert process.returncode != 0
    assert before & {one["ID"] for one in stack.containers("api")}


def test_renewals_fail_no_request(stack: Stack, collection: str, tmp_path: Path) -> None:
    phases: dict[str, Callable[[], object]] = {
        "a setting, 2 replicas": partial(stack.up, LOG_LEVEL="ERROR", REPLICAS="2"),
        "another image": lambda: stack.up(**with_another_image(stack, tmp_path)),
        "a wrong setting": partial(assert_refused, stack, "RATE_LIMIT_USER", RATE_LIMIT_USER="foo"),
        "a wrong extension": partial(
            assert_refused, stack, "No module named 'nowhere'", LISTO_EXTENSIONS="nowhere:router"
        ),
        "a newer database": lambda: refuse_newer_database(stack),
        "an image that does not build": lambda: assert_refused(
            stack, "image", **with_override(
                tmp_path, "build", "{build: {args: {BASE: 'listo/nowhere:1'}}}"
            ),
        ),
        "interrupted": lambda: interrupt(stack),
        "a good one": partial(stack.up, REPLICAS="3"),
    }  # fmt: skip
    with stack.keys(5) as keys:
        try:
            ledger = under_load(stack, collection, keys, phases, per_second=PER_SECOND)
        finally:
            stack.up(REPLICAS="3")
    assert_nobody_noticed(stack, collection, ledger)
