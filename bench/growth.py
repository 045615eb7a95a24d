"""`make bench-growth`: what p50, p99 and memory do as records, collections, users, pages and
connections grow.

Each size has a server of its own, and all sizes take turns, so that a busy minute of the machine
meets all of them alike. The ratio is that of the largest size to the smallest in the same round;
above 1.5 it is marked as over.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from app.dev.postgres import PostgresError
from bench.command import INTERRUPTED, interruptible, line, progress
from bench.growing import CONNECTIONS, PORT, RATE, WAYS, Data
from bench.intervals import interval
from bench.pages import table, write
from bench.plot import Line, Panel
from bench.stage import PRODUCT, stage, worker_memory, wrk

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bench.growing import Place

GOAL = 1.5
MEMORY = ("memory of a worker", "MB")
SIZES = {
    "records": (10_000, 100_000, 1_000_000),
    "collections": (1, 30, 1000),
    "users": (1, 1000, 100_000),
    "pages": (1, 100, 10_000),
    "connections": (1, 30, 1000),
}
ROUNDS, SECONDS = 5, 3
# More servers at once would need more connections than PostgreSQL admits.
MOST_SIZES = 3
_NOTES = {
    "collections": "The same records in all, spread over them.",
    "users": "Gets, each by any of them, with an API key or by a session.",
    "pages": f"Pages of 5, walked to by cursors, at {CONNECTIONS} connections.",
    "connections": f"About {RATE} gets a second in all, spread over them.",
}


@dataclass
class Grown:
    """The figures of a dimension by request, figure and size: a value for each round."""

    name: str
    sizes: Sequence[int]
    found: dict[tuple[str, str], list[list[float]]] = field(default_factory=dict)

    def add(self, request: str, figure: str, number: int, value: float) -> None:
        """Add a round's value of the size of that number."""
        self.found.setdefault((request, figure), [[] for _ in self.sizes])[number].append(value)

    def ratios(self, request: str, figure: str) -> list[float]:
        """The largest size's values to the smallest's."""
        values = self.found[request, figure]
        return [b / a for a, b in zip(values[0], values[-1], strict=True)]

    def over(self) -> list[str]:
        """The requests and figures whose ratio is above the goal."""
        return [
            f"{self.name}: {request}, {figure}"
            for request, figure in self.found
            if statistics.median(self.ratios(request, figure)) > GOAL
        ]

    def text(self) -> str:
        rows = []
        for (request, figure), by_size in self.found.items():
            ratios = self.ratios(request, figure)
            ratio = interval(ratios)
            told = str(ratio) if len(ratios) > 1 else f"{ratio.median:.2f}"
            rows.append([
                f"{request}, {figure}",
                *(f"{statistics.median(values):.2f}" for values in by_size),
                f"{told} over" if ratio.median > GOAL else told,
            ])  # fmt: skip
        sizes = [f"{size:,}" for size in self.sizes]
        note = f"{_NOTES[self.name]}\n\n" if self.name in _NOTES else ""
        return note + table([self.name, *sizes, "ratio"], rows)

    def panel(self) -> Panel:
        lines = []
        for (request, figure), by_size in self.found.items():
            first, *_ = levels = [statistics.median(values) for values in by_size]
            points = [(size, level / first) for size, level in zip(self.sizes, levels, strict=True)]
            short = "memory" if figure == MEMORY[1] else f"{request}, {figure.split()[0]}"
            lines.append(Line(short, points))
        title = f"{self.name}: times those of the first size"
        return Panel(title[0].upper() + title[1:], self.name, lines, GOAL, log=True)


def main() -> int:
    given = _arguments()
    interruptible()
    try:
        with stage() as first:
            first.environment |= {"RATE_LIMIT_API_KEY": "900000000/minute"}
            progress("loading the first records")
            data = Data(first, min(10_000, given.sizes["records"][0]))
            grown = [_grow(data, name, given) for name in given.dimensions]
    except PostgresError as error:
        sys.stderr.write(f"bench-growth: {error}\n")
        return 2
    except KeyboardInterrupt:
        return INTERRUPTED
    over = [text for each in grown for text in each.over()]
    line(f"over {GOAL} times: {'; '.join(over)}" if over else f"all are within {GOAL} times.")
    if given.write:
        head = (
            f"Medians of {given.rounds} rounds of {given.seconds} s at {CONNECTIONS} connections, "
            "all sizes in turn; the ratio is that of the last size to the first, with its 95 % "
            f"interval, and the goal {GOAL}."
        )
        text = "\n\n".join([head, *(each.text() for each in grown)])
        write("growth", text, [each.panel() for each in grown])
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="make bench-growth", description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    for name, sizes in SIZES.items():
        option = "--sizes" if name == "records" else f"--{name}"
        parser.add_argument(
            option, type=int, nargs="+", default=list(sizes), metavar="N", dest=name,
            help=f"numbers of {name} (default: {' '.join(map(str, sizes))})",
        )  # fmt: skip
    parser.add_argument("--dimensions", nargs="+", default=list(WAYS), choices=WAYS)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--seconds", type=int, default=SECONDS)
    parser.add_argument(
        "--write", action="store_true", help="write a complete run to docs/performance.md"
    )
    given = parser.parse_args()
    given.sizes = {name: sorted(set(getattr(given, name))) for name in SIZES}
    for name, sizes in given.sizes.items():
        if sizes[0] < 1 or not 2 <= len(sizes) <= MOST_SIZES:
            parser.error(f"{name} takes two or three different numbers from 1 on")
    if min(given.rounds, given.seconds) < 1:
        parser.error("rounds and seconds are at least 1")
    if given.write and not _complete(given):
        parser.error("only a complete run is written: all dimensions, at the default sizes or more")
    return given


def _complete(given: argparse.Namespace) -> bool:
    return (
        given.dimensions == list(WAYS)
        and given.rounds >= ROUNDS
        and given.seconds >= SECONDS
        and all(
            given.sizes[name][0] == sizes[0] and given.sizes[name][-1] >= sizes[-1]
            for name, sizes in SIZES.items()
        )
    )


def _grow(data: Data, name: str, given: argparse.Namespace) -> Grown:
    progress(f"{name}: loading {', '.join(f'{size:,}' for size in given.sizes[name])}")
    places = WAYS[name](data, given.sizes[name])
    grown = Grown(name, given.sizes[name])
    with ExitStack() as stack:
        servers = [
            stack.enter_context(place.stage.server(PRODUCT, PORT + number))
            for number, place in enumerate(places, 1)
        ]
        requests = [name for name in places[0].scripts if name in places[-1].scripts]
        for request in requests:
            for number in range(len(places)):
                _run(places, number, request, data.token, 1)
            for round_ in range(given.rounds):
                progress(f"{name}: {request}, round {round_ + 1} of {given.rounds}")
                # No size is always the first.
                order = range(len(places))
                for number in order if round_ % 2 else reversed(order):
                    found = _run(places, number, request, data.token, given.seconds)
                    grown.add(request, "p50 in ms", number, found["p50"])
                    grown.add(request, "p99 in ms", number, found["p99"])
        for number, server in enumerate(servers):
            grown.add(*MEMORY, number, worker_memory(server))
    line(f"\n{grown.text()}")
    return grown


def _run(
    places: Sequence[Place], number: int, request: str, token: str, seconds: int
) -> dict[str, float]:
    place = places[number]
    script = place.scripts[request]
    return wrk(PORT + number + 1, script, place.connections, seconds, token)


if __name__ == "__main__":
    sys.exit(main())
