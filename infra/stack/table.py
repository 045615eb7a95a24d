"""The services while they start: a redrawn table on a terminal, only the changes in a file."""

from __future__ import annotations

import sys
import time
from typing import Any

_GREEN, _YELLOW, _RED, _DIM, _OFF = "\x1b[32m", "\x1b[33m", "\x1b[31m", "\x1b[2m", "\x1b[0m"


def state(container: dict[str, Any]) -> str:
    """healthy, starting, unhealthy, running (without a health check), done, or failed."""
    if container["State"] == "exited":
        return "done" if container["ExitCode"] == 0 else f"failed ({container['ExitCode']})"
    if container["State"] != "running":
        return str(container["State"])
    return container.get("Health") or "running"


def settled(container: dict[str, Any]) -> bool:
    # The stack is up even if acme has no certificate yet, which depends on an authority far away.
    return state(container) in ("healthy", "running", "done") or (
        container["Service"] == "acme" and container["State"] == "running"
    )


class Table:
    """Draws the services, or what changed since the last call."""

    def __init__(self) -> None:
        self._started = time.monotonic()
        self._drawn = 0
        self._told: dict[str, str] = {}
        self._live = sys.stdout.isatty()

    def draw(self, containers: list[dict[str, Any]]) -> None:
        rows = [(str(one["Name"]).removeprefix("listo-"), state(one)) for one in containers]
        if self._live:
            self._redraw(rows)
        else:
            self._tell(rows)

    def _redraw(self, rows: list[tuple[str, str]]) -> None:
        seconds = time.monotonic() - self._started
        lines = [f"  {name:<22}{_colour(word)}{word}{_OFF}" for name, word in rows]
        lines.append(f"  {_DIM}{seconds:.0f} s{_OFF}")
        if self._drawn:
            sys.stdout.write(f"\x1b[{self._drawn}A")
        sys.stdout.write("".join(f"\x1b[K{line}\n" for line in lines) + "\x1b[J")
        sys.stdout.flush()
        self._drawn = len(lines)

    def _tell(self, rows: list[tuple[str, str]]) -> None:
        for name, word in rows:
            if self._told.get(name) != word:
                self._told[name] = word
                print(f"  {time.monotonic() - self._started:5.1f} s  {name}: {word}", flush=True)


def _colour(word: str) -> str:
    if word in ("healthy", "running", "done"):
        return _GREEN
    return _RED if word.startswith(("failed", "unhealthy", "dead")) else _YELLOW
