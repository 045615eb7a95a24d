"""The results as JSON: `bench/results/latest.json`."""

from __future__ import annotations

import json
import platform
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil

from bench import foreign
from bench.peers.items import lacks
from bench.peers.server import ITEMS
from bench.stage import ROOT
from fixtures.cluster import fetch

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from bench.peers.rounds import Cell, Plan
    from bench.peers.server import Server
    from bench.stage import Stage

FOLDER = ROOT / "bench" / "results"
OWN = ("listo", "floor")


def machine(stage: Stage) -> dict[str, Any]:
    version = fetch(stage.database_url, "SHOW server_version")[0][0]
    return {
        "cores": psutil.cpu_count(),
        "processor": _processor(),
        "memory_gb": round(psutil.virtual_memory().total / 1e9, 1),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "postgresql": str(version).split()[0],
    }


def collect(
    machine: Mapping[str, Any], plan: Plan, records: int, servers: Sequence[Server],
    cells: Sequence[Cell], left_out: Mapping[str, str],
) -> dict[str, Any]:  # fmt: skip
    """Everything that the page tells; the servers in `left_out` have a reason and no figures."""
    return {
        "machine": dict(machine),
        "measured_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "records": records,
        "rounds": plan.rounds,
        "seconds": plan.seconds,
        "limit_of_others": foreign.MOST,
        "servers": [_described(server) for server in servers],
        "left_out": dict(left_out),
        "items": [_item(cell, servers) for cell in cells],
    }


def write(results: Mapping[str, Any], folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "latest.json"
    path.write_text(json.dumps(results, indent=2) + "\n")
    return path


def _described(server: Server) -> dict[str, Any]:
    return {
        "name": server.name,
        "title": server.title,
        "version": server.version(),
        "settings": server.settings,
        "differs": list(server.differs),
        "lacks": {item: reason for item in ITEMS if (reason := lacks(server, item))},
    }


def _item(cell: Cell, servers: Sequence[Server]) -> dict[str, Any]:
    names = [server.name for server in servers if cell.measured.get(server.name)]
    found = {name: cell.figures(name) for name in names}
    return {
        "item": cell.item,
        "conns": cell.connections,
        "repeated_rounds": cell.repeated,
        "missing": cell.missing,
        **{name: found[name] for name in OWN if name in found},
        "peers": {name: found[name] for name in names if name not in OWN},
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()
