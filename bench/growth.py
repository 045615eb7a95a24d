"""`make bench-growth`: the tail of get, of the first and of the 2,000th page, all rounds at 10k
records and then all at 1M."""

from __future__ import annotations

import argparse
import statistics
from typing import TYPE_CHECKING

from bench.stage import ADMIN, Stage, scripts, stage, wrk

if TYPE_CHECKING:
    from pathlib import Path

PORT = 8401
SORT = "-size"
PAGE = 5
PAGES = 2000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", type=int, nargs=2, default=[10_000, 1_000_000])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=3)
    given = parser.parse_args()
    tails: dict[str, dict[int, list[float]]] = {}
    with stage() as bench, bench.server("app.main:app", PORT):
        for size in given.sizes:
            token = bench.seed(PORT, size)
            lua = {"get": scripts(bench.folder, bench.ids())["get"], **_pages(bench, token)}
            for name, script in lua.items():
                wrk(PORT, script, 4, 1, token)
                for _ in range(given.rounds):
                    measured = wrk(PORT, script, 4, given.seconds, token)
                    tails.setdefault(name, {}).setdefault(size, []).append(measured["p99"])
    small, large = given.sizes
    print(f"p99 in ms at 4 connections, median of {given.rounds} rounds of {given.seconds} s")
    print(f"| request | {small} records | {large} records | ratio (goal 1.5) |\n|---|---|---|---|")
    for name, by_size in tails.items():
        few, many = (statistics.median(by_size[size]) for size in given.sizes)
        print(f"| {name} | {few:.2f} | {many:.2f} | {many / few:.2f} |")


def _pages(bench: Stage, token: str) -> dict[str, Path]:
    """wrk scripts for the first page and for the 2,000th, walked to by its cursors."""
    client = bench.client(PORT, ADMIN)
    client.headers["Authorization"] = f"Bearer {token}"
    parameters = {"sort": SORT, "limit": str(PAGE)}
    base = "/collections/bench/records"
    first = client.build_request("GET", base, params=parameters).url
    cursor = None
    for _ in range(PAGES - 1):
        page = client.get(base, params={**parameters, **({"cursor": cursor} if cursor else {})})
        cursor = page.json()["next"]
        assert cursor is not None
    last = client.build_request("GET", base, params={**parameters, "cursor": cursor}).url
    paths = {}
    for name, url in (("page 1", first), (f"page {PAGES}", last)):
        paths[name] = bench.folder / f"{name}.lua"
        target = url.raw_path.decode()
        paths[name].write_text(f"request = function() return wrk.format('GET', '{target}') end")
    return paths


if __name__ == "__main__":
    main()
