"""`make bench-api`: Listo with everything on beside the floor, in turn in one run."""

from __future__ import annotations

import argparse
import statistics

from bench.stage import CACHED, scripts, stage, worker_memory, wrk

# `get_hot` and `list_hot` ask for one record or list over and over, of Listo from its cache.
OPERATIONS = ("get", "get_hot", "list", "list_hot", "create", "update")
# Below 64 connections, and from 64 on.
GOALS = {
    "get": (1.05, 1.25), "get_hot": (1.5, 1.5), "list": (0.8, 0.85), "list_hot": (2, 2),
    "create": (1.1, 1.25), "update": (0.9, 1.0),
}  # fmt: skip
# The p99, at most, in multiples of the floor's.
TAIL = 2
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
        bench.seed_cached(LISTO)
        ids = bench.ids()
        lua = {
            LISTO: scripts(bench.folder / "listo", ids, hot=CACHED),
            FLOOR: scripts(bench.folder / "floor", ids),
        }
        with bench.server("bench.floor:app", FLOOR):
            print(f"{given.records} records, {given.rounds} rounds of {given.seconds} s in turn")
            print(
                "| operation | connections | Listo, req/s | floor, req/s "
                "| ratio, median (min-max) | p99, ms | of the floor's |"
            )
            print("|---|---|---|---|---|---|---|")
            for operation in given.operations:
                for connections in given.connections:
                    found: dict[int, list[dict[str, float]]] = {LISTO: [], FLOOR: []}
                    for port in (LISTO, FLOOR):
                        wrk(port, lua[port][operation], connections, 1, token)
                    for _ in range(given.rounds):
                        for port in (LISTO, FLOOR):
                            found[port].append(
                                wrk(port, lua[port][operation], connections, given.seconds, token)
                            )
                    _row(operation, connections, found)
        print(f"memory of a worker: {worker_memory(listo):.0f} MB")


def _row(operation: str, connections: int, found: dict[int, list[dict[str, float]]]) -> None:
    rate, p99 = (_ratios(found, figure) for figure in ("rate", "p99"))
    rates = [statistics.median(each["rate"] for each in found[port]) for port in (LISTO, FLOOR)]
    tail = statistics.median(each["p99"] for each in found[LISTO])
    print(
        f"| {operation} | {connections} | {rates[0]:,.0f} | {rates[1]:,.0f} "
        f"| {statistics.median(rate):.2f} ({rate[0]:.2f}-{rate[-1]:.2f}), "
        f"goal {GOALS[operation][connections >= 64]} | {tail:.1f} "
        f"| {statistics.median(p99):.2f} ({p99[0]:.2f}-{p99[-1]:.2f}), goal {TAIL} |",
        flush=True,
    )


def _ratios(found: dict[int, list[dict[str, float]]], figure: str) -> list[float]:
    pairs = zip(found[LISTO], found[FLOOR], strict=True)
    return sorted(ours[figure] / floors[figure] for ours, floors in pairs)


if __name__ == "__main__":
    main()
