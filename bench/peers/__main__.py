"""`make bench`: Listo with everything on beside the floor and other backends, in turn in one run.

Installs the peers into `.bench/` (once), starts all servers on one PostgreSQL, loads the same
records, compares the answers, and measures with wrk at 16 and 64 connections.
"""

from __future__ import annotations

import argparse
import signal
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from bench.peers import results
from bench.peers.contest import NAMES, Contest
from bench.peers.page import publish, table
from bench.peers.rounds import Plan
from bench.peers.server import ITEMS

if TYPE_CHECKING:
    from types import FrameType

FULL = Plan(rounds=5, seconds=4, repeats=40)
QUICK = Plan(rounds=2, seconds=1, repeats=4)


def main() -> int:
    given = _arguments()
    plan = QUICK if given.quick else FULL
    plan.rounds = given.rounds or plan.rounds
    plan.seconds = given.seconds or plan.seconds
    signal.signal(signal.SIGINT, _end)
    signal.signal(signal.SIGTERM, _end)
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    try:
        with ExitStack() as stack:
            contest = Contest(plan, given.records, console, stack)
            found = contest.run(given.items, given.peers)
    except KeyboardInterrupt:
        console.print("Broken off; all that was started has ended.")
        return 130
    path = results.write(found, given.results)
    print(table(found))
    console.print(f"Everything is in {path}.")
    complete = set(given.items) == set(ITEMS) and set(given.peers) == set(NAMES)
    if complete and not (given.quick or given.rounds or given.seconds or given.trial):
        publish(found)
        console.print("docs/performance.md and its plot were written anew.")
    return 0


def _end(number: int, frame: FrameType | None) -> None:
    """Break off once; more of the same would keep the servers from being ended."""
    del number, frame
    for one in (signal.SIGINT, signal.SIGTERM):
        signal.signal(one, signal.SIG_IGN)
    raise KeyboardInterrupt


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="make bench", description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="As make has it: make bench QUICK=1 ITEMS='get list' PEERS='pocketbase kinto'",
    )  # fmt: skip
    parser.add_argument("--quick", action="store_true", help="fewer and shorter rounds: <= 15 min")
    parser.add_argument("--items", type=_names(ITEMS), default=list(ITEMS), metavar="NAMES",
                        help=f"of {', '.join(ITEMS)}")  # fmt: skip
    parser.add_argument("--peers", type=_names(NAMES), default=list(NAMES), metavar="NAMES",
                        help=f"of {', '.join(NAMES)}; '' for none")  # fmt: skip
    parser.add_argument("--records", type=int, default=100_000, help="100000 by default")
    parser.add_argument("--rounds", type=int, help="for each item and number of connections")
    parser.add_argument("--seconds", type=int, help="of each round")
    parser.add_argument("--results", type=Path, default=results.FOLDER, metavar="FOLDER",
                        help="where latest.json is written")  # fmt: skip
    given = parser.parse_args()
    if not given.items:
        parser.error("--items names none")
    given.trial = given.records < parser.get_default("records")
    return given


class _names:  # noqa: N801 - used as a function
    """Names of a list, as an argument: separated by blanks or commas."""

    def __init__(self, known: tuple[str, ...]) -> None:
        self._known = known

    def __call__(self, given: str) -> list[str]:
        names = given.replace(",", " ").split()
        for name in names:
            if name not in self._known:
                known = ", ".join(self._known)
                raise argparse.ArgumentTypeError(f"there is no {name}; there are {known}")
        return [name for name in self._known if name in names]


if __name__ == "__main__":
    sys.exit(main())
