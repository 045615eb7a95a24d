"""Calls of Docker and Docker Compose from the project's root, and the settings in `.env`."""

from __future__ import annotations

import fcntl
import json
import os
import re
import subprocess
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

ROOT = Path(__file__).parents[2]
STATE = ROOT / ".listo" / "stack"
REGISTRY = "compose.yaml"
# STOP_GRACE is an hour at most.
END_SECONDS = 3700
DEBIAN = "compose.yaml:compose.debian.yaml"
_LINE = re.compile(r"\s*(?:export\s+)?([A-Za-z_][\w.-]*)\s*=(.*)")
_SINGLE = re.compile(r"\s*'([^']*)'")
_DOUBLE = re.compile(r'\s*"((?:[^"\\]|\\.)*)"')
_ESCAPED = re.compile(r'\\(["\\$])')
_COMMENT = re.compile(r"\s#")


class CannotRun(Exception):
    """The command cannot continue; the message says why in one line."""


def dotenv(path: Path = ROOT / ".env") -> dict[str, str]:
    """The settings in `.env`, as Compose reads them: without quotes and ` # comments`.

    `$NAME` within a value is not replaced. Ends the program if the file cannot be read.
    """
    try:
        # Bytes that are not UTF-8 stay, as they do where Python reads the environment.
        text = path.read_text(encoding="utf-8", errors="surrogateescape")
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise SystemExit(f"{path} cannot be read: {error.strerror}.") from None
    lines = text.splitlines()
    found = (_LINE.fullmatch(line) for line in lines)
    return {line[1]: _value(line[2]) for line in found if line}


def _value(text: str) -> str:
    if single := _SINGLE.match(text):
        return single[1]
    if double := _DOUBLE.match(text):
        return _ESCAPED.sub(r"\1", double[1])
    return _COMMENT.split(text.strip(), maxsplit=1)[0].rstrip()


def setting(name: str, default: str = "") -> str:
    """The value in the environment, otherwise in `.env`, otherwise `default`."""
    return os.environ.get(name) or dotenv().get(name) or default


def production(files: str | None = None) -> bool:
    """Whether compose.prod.yaml is among the files, by default those of COMPOSE_FILE."""
    return "compose.prod.yaml" in (setting("COMPOSE_FILE") if files is None else files)


def published(name: str, default: str) -> str:
    """The port of the host: in production the default, otherwise a setting."""
    return default if production() else setting(name, default)


def docker(
    *arguments: str, timeout: float = 60, stdin: str = "", env: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run `docker …`, with `env` in its environment, and return its outcome. Raises CannotRun
    if there is no such program."""
    try:
        return subprocess.run(  # noqa: S603 - our own arguments
            ["docker", *arguments],  # noqa: S607
            cwd=ROOT, capture_output=True, text=True, timeout=timeout, check=False, input=stdin,
            env={**os.environ, **(env or {})}, errors="surrogateescape",
        )  # fmt: skip
    except FileNotFoundError:
        raise CannotRun(
            "There is no `docker` here. `make engine` installs an engine; `make dev` needs none."
        ) from None
    except subprocess.TimeoutExpired:
        return subprocess.CompletedProcess(arguments, 124, "", f"no answer within {timeout:g} s")


PROJECT = setting("COMPOSE_PROJECT_NAME", "listo")
# Labels of Compose on containers and volumes begin with this.
LABEL = "com.docker.compose"
OURS = f"label={LABEL}.project={PROJECT}"


def compose(
    *arguments: str, timeout: float = 600, stdin: str = ""
) -> subprocess.CompletedProcess[str]:
    return docker("compose", *arguments, timeout=timeout, stdin=stdin)


def docker_output(
    *arguments: str, timeout: float = 60, env: Mapping[str, str] | None = None
) -> str:
    """The output of `docker …`. Raises CannotRun if it failed."""
    result = docker(*arguments, timeout=timeout, env=env)
    if result.returncode:
        raise CannotRun(f"`docker {' '.join(arguments[:2])}` failed: {error_output(result)}")
    return result.stdout


def foreground(*arguments: str) -> int:
    """Run `docker compose …` on the caller's terminal."""
    return subprocess.call(["docker", "compose", *arguments], cwd=ROOT)  # noqa: S603, S607


def containers() -> list[dict[str, Any]]:
    """Every container of the stack's services, also stopped containers. Raises CannotRun."""
    listed = docker_output("compose", "ps", "--all", "--format", "json", timeout=30)
    # Some versions print an object on each line, others a list.
    found: list[dict[str, Any]] = []
    for line in listed.splitlines():
        if line.strip():
            value = json.loads(line)
            found.extend(value if isinstance(value, list) else [value])
    # Containers of `docker compose run` do not count.
    found = [one for one in found if f"{LABEL}.oneoff=True" not in one.get("Labels", "")]
    return sorted(found, key=lambda one: (one["Service"], one["Name"]))


def config() -> dict[str, Any]:
    """The Compose files, as Compose reads them. Raises CannotRun."""
    found: dict[str, Any] = json.loads(
        docker_output("compose", "config", "--format", "json", timeout=30)
    )
    return found


def elsewhere() -> str | None:
    """The folder of another checkout that the stack's containers belong to. Raises CannotRun."""
    label = f'{{{{.Label "{LABEL}.project.working_dir"}}}}'
    listed = docker_output("ps", "--all", "--filter", OURS, "--format", label, timeout=15)
    return next((line for line in listed.splitlines() if line and Path(line) != ROOT), None)


def others() -> list[str]:
    """Other projects that may need this checkout's secrets: those with containers of this checkout,
    and those with a database but without a container that names a checkout. Raises CannotRun."""
    project, folder = (
        f'{{{{.Label "{LABEL}.{name}"}}}}' for name in ("project", "project.working_dir")
    )
    listed = docker_output(
        "ps", "--all", "--filter", f"label={LABEL}.project", "--format", f"{project} {folder}"
    )
    lines = [line.partition(" ") for line in listed.splitlines()]
    ours = {name for name, _, path in lines if Path(path) == ROOT}
    theirs = {name for name, _, _ in lines} - ours
    databases = docker_output(
        "volume", "ls", "--filter", f"label={LABEL}.volume=postgres", "--format", project
    )
    return sorted((ours | set(databases.split()) - theirs) - {PROJECT})


@contextmanager
def lock() -> Iterator[None]:
    """One command at a time works on this checkout's stack. Raises CannotRun."""
    STATE.parent.mkdir(mode=0o755, exist_ok=True)
    STATE.mkdir(mode=0o700, exist_ok=True)
    with (STATE / "lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise CannotRun(
                "another `make up`, `down`, `rotate` or `destroy` is at work here; "
                "try again after it"
            ) from None
        yield


def error_output(result: subprocess.CompletedProcess[str]) -> str:
    """The last line of an error message."""
    lines = [line.strip() for line in (result.stderr or result.stdout).splitlines() if line.strip()]
    return lines[-1] if lines else f"exit status {result.returncode}"
