"""`make bench-guard BASE=…`: fails where this code serves fewer requests a second than that commit.

Both servers run at the same time, each on data of its own in the same PostgreSQL and Redis, and
take turns: a round measures both, in alternating order, and gives one ratio. A rate is lost if the
95 % interval of the median ratio ends below 0.97, and does so again in as many new rounds. A run
has eight such intervals. On a busy machine, chance alone puts one of them below 0.97 in every fifth
run, but the same one twice in only one run of two hundred. Ratios from 0.97 to 1 are not reported:
two starts of the same code can differ by two hundredths for as long as they run, which no number of
rounds averages out.
"""

from __future__ import annotations

import argparse
import random
import statistics
import sys
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from app.dev.postgres import PostgresError
from bench.answers.checkout import checkout, resolve_commit
from bench.answers.errors import CannotCompare
from bench.beside import add_stage
from bench.command import INTERRUPTED, interruptible, line, progress
from bench.foreign import MOST, Meter
from bench.intervals import FEWEST, interval
from bench.stage import PRODUCT, ROOT, scripts, stage, wrk

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from bench.stage import Stage

OPERATIONS = ("get", "list", "create", "update")
# A rate below this part of BASE's is a loss.
MIN_RATIO = 0.97
BASE, NOW = "BASE", "now"
PORTS = {BASE: 8451, NOW: 8452}
Figures = dict[str, float]


@dataclass
class Comparison:
    """The rounds of one operation at one number of connections, both servers' figures in each."""

    operation: str
    connections: int
    again: bool = False
    rounds: list[dict[str, Figures]] = field(default_factory=list)
    repeated: int = 0
    # Rounds that count although other programs loaded the machine: no more repeats were allowed.
    disturbed: int = 0

    def ratios(self, figure: str) -> list[float]:
        return [each[NOW][figure] / each[BASE][figure] for each in self.rounds]

    def row(self) -> str:
        rates = (statistics.median(each[side]["rate"] for each in self.rounds) for side in PORTS)
        return (
            f"| {self.operation}{', again' if self.again else ''} | {self.connections} "
            f"| {' | '.join(f'{rate:.0f}' for rate in rates)} | {interval(self.ratios('rate'))} "
            f"| {interval(self.ratios('p99'))} | {self.repeated} | {self.disturbed} |"
        )

    @property
    def lost(self) -> bool:
        return interval(self.ratios("rate")).high < MIN_RATIO

    def loss(self) -> str:
        """The line that tells of the loss."""
        noise = f", {self.disturbed} rounds under foreign load" if self.disturbed else ""
        return (
            f"loss: {self.operation} at {self.connections} connections is "
            f"{interval(self.ratios('rate'))} of BASE's rate, below {MIN_RATIO} twice{noise}"
        )


def main() -> int:
    """The exit status: 0 for no loss, 1 for a loss, 2 where a comparison is impossible."""
    given = _arguments()
    interruptible()
    try:
        commit = resolve_commit(ROOT, given.base, target="bench-guard", setting=BASE)
        compared = _compare(commit, given)
    except (CannotCompare, PostgresError) as error:
        sys.stderr.write(f"bench-guard: {error}\n")
        return 2
    except KeyboardInterrupt:
        return INTERRUPTED
    losses = [each.loss() for each in compared if each.again and each.lost]
    for loss in losses:
        line(loss)
    if losses:
        return 1
    line(f"no loss: no rate is certainly below {MIN_RATIO} of BASE's.")
    disturbed = sum(each.disturbed for each in compared)
    if 2 * disturbed > given.rounds * len(compared):
        line("The machine was busy with other work in most rounds, which hides losses: try again.")
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="make bench-guard", description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("base", metavar="BASE", help="a commit")
    parser.add_argument(
        "--same", action="store_true", help="compare BASE with itself: any loss is a false alarm"
    )
    parser.add_argument("--records", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=15, help=f"at least {FEWEST}")
    parser.add_argument("--seconds", type=int, default=3, help="of each half of a round")
    parser.add_argument("--connections", type=int, nargs="+", default=[16, 64])
    parser.add_argument("--operations", nargs="+", default=OPERATIONS, choices=OPERATIONS)
    parser.add_argument(
        "--foreign", type=float, default=MOST,
        help="repeat a round in which other programs took more than this part of all cores; there "
        "are at most as many repeats as rounds (default: %(default)s)",
    )  # fmt: skip
    given = parser.parse_args()
    if given.rounds < FEWEST:
        parser.error(f"an interval needs at least {FEWEST} rounds")
    if min(given.records, given.seconds, *given.connections) < 1:
        parser.error("records, seconds and connections are at least 1")
    return given


def _compare(commit: str, given: argparse.Namespace) -> list[Comparison]:
    with checkout(ROOT, commit) as tree, stage() as first, ExitStack() as servers:
        first.environment |= {"LISTO_ENV_FILE": "/dev/null", "PYTHONHASHSEED": "0"}
        trees = {BASE: tree, NOW: tree if given.same else ROOT}
        tokens, lua = {}, {}
        for number, (side, code) in enumerate(trees.items(), 1):
            name = f"BASE={given.base}" if code is tree else "the working tree"
            progress(f"loading {given.records} records for {name}")
            bench = add_stage(first, number, tree=code)
            servers.enter_context(_served(bench, name, PORTS[side]))
            # Both have the same values, though other ids.
            random.seed(1)
            tokens[side] = bench.seed(PORTS[side], given.records)
            lua[side] = scripts(bench.folder, bench.ids())
        meter = Meter(first)
        tested = f"BASE={given.base} again" if given.same else "the working tree"
        line(
            f"{tested} beside BASE={given.base}: {given.records} records, {given.rounds} rounds of "
            f"{given.seconds} s each; median and 95 % interval of the ratio"
        )
        line(
            "| operation | connections | BASE, req/s | now, req/s | rate, of BASE | p99, of BASE "
            "| repeated | disturbed |\n|---|---|---|---|---|---|---|---|"
        )
        compared = []
        for operation in given.operations:
            for connections in given.connections:
                for again in (False, True):
                    comparison = Comparison(operation, connections, again=again)
                    _measure(comparison, lua, tokens, meter, given)
                    line(comparison.row())
                    compared.append(comparison)
                    if not comparison.lost:
                        break
        return compared


@contextmanager
def _served(bench: Stage, name: str, port: int) -> Iterator[None]:
    """The server of a tree. Raises CannotCompare where it does not start."""
    if not (bench.api / "gunicorn.conf.py").exists():
        raise CannotCompare(f"{name} has no services/api/gunicorn.conf.py to be served by.")
    with ExitStack() as stack:
        try:
            stack.enter_context(bench.server(PRODUCT, port))
        except SystemExit as error:
            said = (str(error).strip() or "it says nothing").splitlines()[-1]
            raise CannotCompare(f"the server of {name} does not start: {said[:400]}") from None
        yield


def _measure(
    comparison: Comparison,
    lua: dict[str, dict[str, Path]],
    tokens: dict[str, str],
    meter: Meter,
    given: argparse.Namespace,
) -> None:
    """Add the rounds to the comparison."""

    def run(side: str, seconds: int) -> Figures:
        script = lua[side][comparison.operation]
        return wrk(PORTS[side], script, comparison.connections, seconds, tokens[side])

    sides: Sequence[str] = tuple(PORTS)
    for side in sides:
        run(side, 1)
    while len(comparison.rounds) < given.rounds:
        progress(
            f"{comparison.operation} at {comparison.connections} connections: round "
            f"{len(comparison.rounds) + 1} of {given.rounds}, {comparison.repeated} repeated"
        )
        # Neither server is always the first.
        sides = sides[::-1]
        meter.read()
        found = {side: run(side, given.seconds) for side in sides}
        if meter.read() > given.foreign:
            if comparison.repeated < given.rounds:
                comparison.repeated += 1
                continue
            comparison.disturbed += 1
        comparison.rounds.append(found)


if __name__ == "__main__":
    sys.exit(main())
