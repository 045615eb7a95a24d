"""`make bench-api`: Listo with everything on beside the floor, in turn in one run."""

from __future__ import annotations

import argparse
import statistics

from bench.stage import scripts, stage, worker_memory, wrk

OPERATIONS = ("get", "list", "create", "update")
# Below 64 connections, and from 64 on.
GOALS = {"get": (1.05, 1.25), "list": (0.8, 0.85), "create": (1.1, 1.25), "update": (0.9, 1.0)}
LISTO, FLOOR = 8401, 8402


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--records", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=3)
    parser.add_argument("--connections", type=int, nargs="+", default=[16, 64])
    parser.add_argument("--operations", nargs="+", default=OPERATIONS, choices=OPERATIONS)
    given = parser.parse_args()
    with stage() as bench, bench.server("app.main:app", LISTO) as listo:
        token = bench.seed(LISTO, given.records)
        lua = scripts(bench.folder, bench.ids())
        with bench.server("bench.floor:app", FLOOR):
            print(f"{given.records} records, {given.rounds} rounds of {given.seconds} s in turn")
            print(
                "| operation | connections | Listo, req/s | floor, req/s "
                "| ratio, median (min-max) |"
            )
            print("|---|---|---|---|---|")
            for operation in given.operations:
                for connections in given.connections:
                    rates: dict[int, list[float]] = {LISTO: [], FLOOR: []}
                    for port in (LISTO, FLOOR):
                        wrk(port, lua[operation], connections, 1, token)
                    for _ in range(given.rounds):
                        for port in (LISTO, FLOOR):
                            measured = wrk(port, lua[operation], connections, given.seconds, token)
                            rates[port].append(measured["rate"])
                    _row(operation, connections, rates)
        print(f"memory of a worker: {worker_memory(listo):.0f} MB")


def _row(operation: str, connections: int, rates: dict[int, list[float]]) -> None:
    ratios = sorted(a / b for a, b in zip(rates[LISTO], rates[FLOOR], strict=True))
    print(
        f"| {operation} | {connections} | {statistics.median(rates[LISTO]):.0f} "
        f"| {statistics.median(rates[FLOOR]):.0f} "
        f"| {statistics.median(ratios):.2f} ({ratios[0]:.2f}-{ratios[-1]:.2f}), "
        f"goal {GOALS[operation][connections >= 64]} |",
        flush=True,
    )


if __name__ == "__main__":
    main()
