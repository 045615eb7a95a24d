"""Containers that no longer match the Compose files, the images or the files that they read."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any

from infra.stack.compose import LABEL, ROOT, STATE, config, containers, docker_output, setting

# Patterns of the files in a service's folder in `infra` that the service reads only when it starts.
# READ_AGAIN excludes Grafana's dashboards, which are JSON, and the code that makes them.
READ_ONCE = {
    "fluent-bit": "*.*", "grafana": "*.*", "loki": "*.*", "postgres": "*.*", "redis": "*.*",
    "nginx": "entrypoint.sh",
}  # fmt: skip
READ_AGAIN = {".json", ".py", ".pyc"}
# These passwords have an effect only until their user exists.
FIRST_PASSWORDS = {"admin_password", "grafana_admin_password"}
# PostgreSQL gets the changed passwords of its roles while it runs (roles.py).
TOLD_WHILE_IT_RUNS = {"postgres"}
_ALONE = STATE / "alone.yaml"


@dataclass(frozen=True)
class Container:
    """A container of the stack, and whether it has to be made anew or restarted."""

    name: str
    service: str
    number: int
    running: bool
    healthy: bool
    made_anew: bool
    restarted: bool

    @property
    def outdated(self) -> bool:
        return self.made_anew or self.restarted


@dataclass(frozen=True)
class Wanted:
    """The Compose files' content, the hashes of each service's definition, and the images' ids."""

    stack: dict[str, Any]
    marks: dict[str, set[str]]
    images: dict[str, str]


@cache
def wanted() -> Wanted:
    """The state that the files ask for, as of the first call. Raises CannotRun."""
    stack = config()
    return Wanted(stack, _marks(stack), _images(stack))


def look() -> list[Container]:
    """All of the stack's containers, sorted by service and number. Raises CannotRun."""
    names = [one["Name"] for one in containers()]
    if not names:
        return []
    found: list[dict[str, Any]] = json.loads(docker_output("inspect", *names))
    made = [_container(one, wanted()) for one in found]
    return sorted(made, key=lambda one: (one.service, one.number))


def service_containers(service: str, among: list[Container]) -> list[Container]:
    return [one for one in among if one.service == service]


def _container(found: dict[str, Any], now: Wanted) -> Container:
    labels = found["Config"]["Labels"]
    service = labels[f"{LABEL}.service"]
    state = found["State"]
    image = now.stack["services"].get(service, {}).get("image", "")
    return Container(
        name=found["Name"].removeprefix("/"),
        service=service,
        number=int(labels.get(f"{LABEL}.container-number", 0)),
        running=state["Status"] == "running",
        healthy=state.get("Health", {}).get("Status", "healthy") == "healthy",
        made_anew=labels[f"{LABEL}.config-hash"] not in now.marks.get(service, ())
        or found["Image"] != now.images.get(image),
        restarted=_changed_since(state["StartedAt"], _read_once(service, now.stack)),
    )


def _marks(stack: dict[str, Any]) -> dict[str, set[str]]:
    """Two hashes of each service's definition: Compose computes a different hash if it starts the
    service without its dependencies."""
    found: dict[str, set[str]] = {}
    lines = [f"  {name}: {{depends_on: !reset {{}}}}" for name in stack["services"]]
    _ALONE.write_text("\n".join(["services:", *lines, ""]))
    files = setting("COMPOSE_FILE")
    for each in (files, f"{files}:{_ALONE}"):
        listed = docker_output("compose", "config", "--hash", "*", env={"COMPOSE_FILE": each})
        for line in listed.splitlines():
            service, mark = line.split()
            found.setdefault(service, set()).add(mark)
    return found


def _images(stack: dict[str, Any]) -> dict[str, str]:
    names = sorted({one["image"] for one in stack["services"].values()})
    ids = docker_output("image", "inspect", "--format", "{{.Id}}", *names).split()
    return dict(zip(names, ids, strict=True))


def _read_once(service: str, stack: dict[str, Any]) -> list[Path]:
    """The files that a service reads only when it starts: those of its folder, and its secrets."""
    files = (ROOT / "infra" / service).rglob(READ_ONCE[service]) if service in READ_ONCE else ()
    secrets = stack["services"].get(service, {}).get("secrets") or ()
    return [
        *(file for file in files if file.suffix not in READ_AGAIN),
        *(
            Path(stack["secrets"][one["source"]]["file"])
            for one in secrets
            if service not in TOLD_WHILE_IT_RUNS and one["source"] not in FIRST_PASSWORDS
        ),
    ]


def _changed_since(started: str, files: list[Path]) -> bool:
    if not files:
        return False
    # st_ctime is when a file arrived on this machine; st_mtime may come from another machine.
    newest = max(file.stat().st_ctime for file in files)
    return newest > datetime.fromisoformat(started).timestamp()
