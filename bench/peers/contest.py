"""One run: the servers come, and those that cannot take part are left out by name."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from bench.foreign import Meter
from bench.peers import records, results
from bench.peers.directus import Directus
from bench.peers.items import lacks
from bench.peers.kinto import Kinto
from bench.peers.listo import Floor, Listo
from bench.peers.parse import Parse
from bench.peers.pocketbase import PocketBase
from bench.peers.rounds import CONNECTIONS, Cell, Rounds
from bench.peers.running import last_line
from bench.peers.sameness import check
from bench.stage import stage

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from rich.console import Console

    from bench.peers.rounds import Plan
    from bench.peers.server import Server

PEERS: dict[str, type[Server]] = {peer.name: peer for peer in (PocketBase, Parse, Directus, Kinto)}
NAMES = tuple(PEERS)
# All servers keep theirs, Parse Server and Kinto up to 50 for each process.
_POSTGRES_CONNECTIONS = 400


class Contest:
    """Everything that a run starts ends with `stack`."""

    def __init__(self, plan: Plan, count: int, console: Console, stack: ExitStack) -> None:
        self._plan = plan
        self._count = count
        self._console = console
        self._stack = stack
        self._running: dict[str, tuple[Server, ExitStack]] = {}
        self._left_out: dict[str, str] = {}

    def run(self, items: Sequence[str], peers: Sequence[str]) -> dict[str, Any]:
        """The results of the items; SystemExit with one line where Listo itself cannot run."""
        place = self._stack.enter_context(stage(_POSTGRES_CONNECTIONS))
        about = results.machine(place)
        data = records.make(self._count)
        listo = Listo(place)
        for server in (listo, Floor(listo), *(PEERS[name](place) for name in peers)):
            self._admit(server, data)
        meter = Meter(place)
        rounds = Rounds(self._plan, place.folder, meter, self._leave_out)
        cells = self._measure(rounds, items)
        servers = [server for server, _ in self._running.values()]
        return results.collect(about, self._plan, self._count, servers, cells, self._left_out)

    def _admit(self, server: Server, data: list[records.Record]) -> None:
        own = self._stack.enter_context(ExitStack())
        steps: dict[str, Callable[[], None]] = {
            "installing": server.install,
            "starting": lambda: server.start(own),
            f"loading {self._count:,} records": lambda: server.load(data),
            "comparing its answers": lambda: check(server, data),
        }
        self._running[server.name] = (server, own)
        for said, step in steps.items():
            try:
                with self._console.status(f"{server.title}: {said} …"):
                    step()
            except (Exception, SystemExit) as error:  # noqa: BLE001 - told in one line
                self._leave_out(server, error)
                return
        self._console.print(f"{server.title} {server.version()} has the records, answers the same.")

    def _leave_out(self, server: Server, error: BaseException) -> None:
        """Tell why, and end what the server runs."""
        why = last_line(str(error)) if str(error) else type(error).__name__
        if not isinstance(server, Floor) and server.name not in PEERS:
            raise SystemExit(f"Listo cannot be measured: {why}")
        self._console.print(f"{server.title} is left out: {why}")
        self._left_out[server.title] = why.rstrip(".")
        _, own = self._running.pop(server.name)
        own.close()

    def _measure(self, rounds: Rounds, items: Sequence[str]) -> list[Cell]:
        cells: list[Cell] = []
        columns = (
            TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(),
            TimeRemainingColumn(),
        )  # fmt: skip
        total = len(items) * len(CONNECTIONS) * self._plan.rounds
        with Progress(*columns, console=self._console, transient=True) as progress:
            task = progress.add_task("rounds", total=total)
            for item in items:
                able = [one for one, _ in self._running.values() if not lacks(one, item)]
                for connections in CONNECTIONS:
                    progress.update(task, description=f"{item}, {connections} connections")
                    able = [one for one in able if one.name in self._running]
                    cell = Cell(item, connections, able)
                    rounds.measure(cell, lambda: progress.advance(task))
                    cells.append(cell)
                    self._console.print(_line(cell))
        return cells


def _line(cell: Cell) -> str:
    found = [
        f"{server.title} {cell.figures(server.name)['rps']:,.0f}"
        for server in cell.servers
        if cell.measured[server.name]
    ]
    again = f" ({cell.repeated} rounds again)" if cell.repeated else ""
    return f"{cell.item}, {cell.connections} connections, req/s: {', '.join(found)}{again}"
