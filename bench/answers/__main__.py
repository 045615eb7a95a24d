"""`make compare-answers BEFORE=…`: tells whether the working tree answers as that commit did."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from app.dev.postgres import PostgresError
from bench.answers.asker import Asker
from bench.answers.checkout import checkout, resolve_commit
from bench.answers.difference import differing, told
from bench.answers.errors import CannotCompare
from bench.answers.masks import Masks
from bench.answers.sequence import ACTS
from bench.answers.served import WITH_REDIS, cluster, new_stores, serving
from bench.command import interruptible

if TYPE_CHECKING:
    from bench.answers.asker import Exchange

ROOT = Path(__file__).parents[2]
MOST_SHOWN = 20


def main() -> int:
    """The exit status: 0 for the same answers, 1 for others, 2 where a comparison is impossible."""
    parser = argparse.ArgumentParser(prog="make compare-answers", description=__doc__)
    parser.add_argument("before", metavar="BEFORE", help="a commit")
    parser.add_argument("--seed", type=int, default=1, help="of what is asked by chance")
    parser.add_argument("--keep", type=Path, help="a folder for both lists of answers")
    given = parser.parse_args()
    interruptible()
    try:
        before, after = _both(given.before, given.seed)
    except (CannotCompare, PostgresError) as error:
        sys.stderr.write(f"compare-answers: {error}\n")
        return 2
    except KeyboardInterrupt:
        return 130
    if given.keep is not None:
        _keep(given.keep / "before.txt", before)
        _keep(given.keep / "now.txt", after)
    return _report(before, after)


def _both(commit: str, seed: int) -> tuple[list[Exchange], list[Exchange]]:
    found = resolve_commit(ROOT, commit)
    with checkout(ROOT, found) as tree, cluster() as postgres:
        with new_stores(postgres, "before") as settings:
            before = _ask_all(tree, f"BEFORE={commit}", settings, seed)
        with new_stores(postgres, "now") as settings:
            return before, _ask_all(ROOT, "the working tree", settings, seed)


def _ask_all(tree: Path, name: str, settings: dict[str, str], seed: int) -> list[Exchange]:
    """All questions to the server of `tree`, with their answers."""
    asker = Asker(Masks(), seed)
    for act in ACTS:
        with serving(tree, name, {**act.settings, **settings}) as port:
            asker.port = port
            for ask in act.parts:
                ask(asker)
    return asker.exchanges


def _report(before: list[Exchange], after: list[Exchange]) -> int:
    found = differing(before, after)
    if not found:
        stores = "" if WITH_REDIS else ", by servers without Redis, since there is none here"
        print(f"{len(after)} answers, all the same{stores}.")
        return 0
    changes = told(found)
    for text in changes[:MOST_SHOWN]:
        print(f"{text}\n")
    shown = f", of which {MOST_SHOWN} are shown" if len(changes) > MOST_SHOWN else ""
    plural = "" if len(changes) == 1 else "s"
    print(f"{len(found)} of {len(after)} answers differ, by {len(changes)} change{plural}{shown}.")
    return 1


def _keep(path: Path, exchanges: list[Exchange]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    texts = ["\n".join([one.request, *one.head, "", one.body, ""]) for one in exchanges]
    path.write_text("\n".join(texts), errors="surrogateescape")


if __name__ == "__main__":
    sys.exit(main())
