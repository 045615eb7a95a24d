"""`make bench-protections`: what each protection costs, by leaving it out, in turn in one run."""

from __future__ import annotations

import argparse
import statistics
from contextlib import ExitStack

from bench.stage import scripts, stage, wrk

OPERATIONS = ("get", "list", "create")
GOAL = 0.8
VARIANTS = {
    "all on": "app.main:app",
    "without rate limits": "bench.unprotected:limits",
    "without limits on overload, time and size": "bench.unprotected:overload",
    "without idempotency": "bench.unprotected:idempotency",
    "all off": "bench.unprotected:everything",
}
FIRST_PORT = 8401


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--records", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--seconds", type=int, default=3)
    parser.add_argument("--connections", type=int, default=64)
    parser.add_argument("--operations", nargs="+", default=OPERATIONS, choices=OPERATIONS)
    given = parser.parse_args()
    ports = {name: FIRST_PORT + number for number, name in enumerate(VARIANTS)}
    with stage() as bench, ExitStack() as servers:
        # All servers at once, of two processes each, have to fit into what PostgreSQL admits.
        bench.environment["DATABASE_POOL_SIZE"] = "7"
        for name, application in VARIANTS.items():
            servers.enter_context(bench.server(application, ports[name]))
        token = bench.seed(FIRST_PORT, given.records)
        lua = scripts(bench.folder, bench.ids())
        print(
            f"{given.records} records, {given.connections} connections, "
            f"{given.rounds} rounds of {given.seconds} s in turn"
        )
        print("| operation | | req/s, median | of all off, median (min-max) |")
        print("|---|---|---|---|")
        for operation in given.operations:
            rates: dict[str, list[float]] = {name: [] for name in VARIANTS}
            for port in ports.values():
                wrk(port, lua[operation], given.connections, 1, token)
            for _ in range(given.rounds):
                for name, port in ports.items():
                    measured = wrk(port, lua[operation], given.connections, given.seconds, token)
                    rates[name].append(measured["rate"])
            _rows(operation, rates)


def _rows(operation: str, rates: dict[str, list[float]]) -> None:
    for name, found in rates.items():
        ratios = sorted(a / b for a, b in zip(found, rates["all off"], strict=True))
        goal = f", goal {GOAL}" if (operation, name) == ("get", "all on") else ""
        print(
            f"| {operation} | {name} | {statistics.median(found):.0f} "
            f"| {statistics.median(ratios):.2f} ({ratios[0]:.2f}-{ratios[-1]:.2f}){goal} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
