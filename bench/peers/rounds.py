"""The rounds: each of them measures all servers in turn, and is repeated where others disturbed."""

from __future__ import annotations

import json
import statistics
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench import foreign
from bench.peers.items import calls, prepare
from bench.peers.running import Failed, alive, last_line, memory

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from bench.foreign import Meter
    from bench.peers.server import Server

CONNECTIONS = (16, 64)
# Few requests of these end in a second: their rounds are longer, and each begins at rest.
_SLOW = ("login", "batch")
_SLOW_SECONDS = 5
# How often one round is repeated at most.
_AGAIN = 2
_SCRIPT = Path(__file__).with_name("prepared.lua")


@dataclass
class Plan:
    """How long is measured: rounds of `seconds` each, `repeats` more of them in the whole run."""

    rounds: int
    seconds: int
    repeats: int


@dataclass
class Measured:
    """One run of wrk; times in ms, memory in MB."""

    rps: float
    p50: float
    p99: float
    requests: int
    errors: int
    rss: float
    foreign: float


class Unanswered(Exception):
    """A round had no good answer."""


class Cell:
    """One item at one number of connections, for the servers that have the item."""

    def __init__(self, item: str, connections: int, servers: Sequence[Server]) -> None:
        self.item = item
        self.connections = connections
        self.servers = list(servers)
        self.measured: dict[str, list[Measured]] = {server.name: [] for server in servers}
        self.repeated = 0
        self.missing: dict[str, str] = {}

    def drop(self, server: Server, why: str) -> None:
        self.servers.remove(server)
        self.measured.pop(server.name, None)
        self.missing[server.title] = why

    def figures(self, name: str) -> dict[str, Any]:
        """Medians over the rounds, the spread of the rate, and errors of all rounds together."""
        rounds = self.measured[name]
        rates = sorted(one.rps for one in rounds)
        return {
            "rps": round(statistics.median(rates), 1),
            "rps_min": round(rates[0], 1),
            "rps_max": round(rates[-1], 1),
            "p50_ms": round(statistics.median(one.p50 for one in rounds), 2),
            "p99_ms": round(statistics.median(one.p99 for one in rounds), 2),
            "requests": sum(one.requests for one in rounds),
            "errors": sum(one.errors for one in rounds),
            "rss_mb": round(max(one.rss for one in rounds), 1),
            "foreign": round(max(one.foreign for one in rounds), 3),
        }


class Rounds:
    """Measures cells; a server that fails is handed to `leave_out` and measured no more."""

    def __init__(
        self, plan: Plan, folder: Path, meter: Meter, leave_out: Callable[[Server, Exception], None]
    ) -> None:
        self._plan = plan
        self._folder = folder
        self._meter = meter
        self._leave_out = leave_out

    def measure(self, cell: Cell, step: Callable[[], None]) -> None:
        for server in cell.servers:
            prepare(server, cell.item, self._requests(server, cell.item))
        if cell.connections == CONNECTIONS[0]:
            # This fills caches and pools, and is not counted.
            self._each(cell, cell.servers, lambda server: self._run_wrk(server, cell, 1))
        seconds = max(self._plan.seconds, _SLOW_SECONDS if cell.item in _SLOW else 0)
        for number in range(self._plan.rounds):
            found = self._round(cell, seconds, backwards=number % 2 == 1)
            for _ in range(_AGAIN):
                if _most_foreign(found) <= foreign.MOST or not self._plan.repeats:
                    break
                self._plan.repeats -= 1
                cell.repeated += 1
                found = min(found, self._round(cell, seconds), key=_most_foreign)
            for name, measured in found.items():
                if name in cell.measured:
                    cell.measured[name].append(measured)
            step()

    def _round(self, cell: Cell, seconds: int, *, backwards: bool = False) -> dict[str, Measured]:
        found: dict[str, Measured] = {}

        def measure(server: Server) -> None:
            found[server.name] = self._one(server, cell, seconds)

        self._each(cell, cell.servers[::-1] if backwards else cell.servers, measure)
        return found

    def _each(
        self, cell: Cell, servers: Sequence[Server], work: Callable[[Server], object]
    ) -> None:
        """Do it with the servers in turn; a server that fails goes, from here or altogether."""
        for server in list(servers):
            try:
                work(server)
            except Unanswered as error:
                cell.drop(server, str(error))
            except Failed as error:
                cell.drop(server, str(error))
                self._leave_out(server, error)

    def _one(self, server: Server, cell: Cell, seconds: int) -> Measured:
        if cell.item in _SLOW:
            self._meter.settle()
        self._meter.read()
        said = self._run_wrk(server, cell, seconds)
        others = self._meter.read()
        good = said["requests"] - said["errors"]
        if good <= 0:
            failed = f"all {said['errors']:,} requests of a round failed"
            raise Unanswered(failed if said["errors"] else "no request ended within a round")
        rss = memory(server.processes_of(cell.item))
        rate = good / said["seconds"]
        return Measured(
            rate, said["p50_ms"], said["p99_ms"], said["requests"], said["errors"], rss, others
        )

    def _run_wrk(self, server: Server, cell: Cell, seconds: int) -> dict[str, Any]:
        requests = self._requests(server, cell.item)
        port = next(calls(server, cell.item)).port
        done = subprocess.run(
            ["wrk", "-t1", f"-c{cell.connections}", f"-d{seconds}s", "--timeout", "30s",
             "-s", str(_SCRIPT), f"http://127.0.0.1:{port}", "--", str(requests)],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        if not all(map(alive, server.processes_of(cell.item))):
            raise Failed(f"it ended during {cell.item}")
        if done.returncode:
            raise Failed(f"wrk failed: {last_line(done.stderr or done.stdout)}")
        said: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
        return said

    def _requests(self, server: Server, item: str) -> Path:
        return self._folder / f"{server.name}-{item}.requests"


def _most_foreign(found: dict[str, Measured]) -> float:
    return max((one.foreign for one in found.values()), default=0.0)
