"""The requests of each item of the comparison (`get`, `list_hot`, …).

wrk sends them over and over in this order.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from bench.peers.records import BATCH, Record, more
from bench.peers.server import MEMBERS

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from bench.peers.calls import Call
    from bench.peers.server import Server

_PICKED = 2000
_CREATED = 1000
_BATCHES = 100
_MIXTURE = ("get",) * 16 + ("list",) * 3 + ("create",)


def lacks(server: Server, item: str) -> str | None:
    """Why the server has no counterpart of the item, None where it has."""
    return server.lacks.get(item)


def prepare(server: Server, item: str, path: Path) -> None:
    """Write the item's requests for `prepared.lua`, each with its length before it."""
    with path.open("wb") as file:
        for call in calls(server, item):
            wire = call.wire()
            file.write(b"%d\n%s" % (len(wire), wire))


def calls(server: Server, item: str) -> Iterator[Call]:
    chance = random.Random(3)  # noqa: S311 - which records, not secrets
    # The same places among the records for each server.
    places = chance.sample(range(len(server.ids)), min(_PICKED, len(server.ids)))
    picked = [server.ids[place] for place in places]
    match item:
        case "get":
            yield from map(server.get, picked)
        case "get_hot":
            yield server.get_hot(picked[0])
        case "list":
            yield server.listing()
        case "list_hot":
            yield server.listing_hot()
        case "login":
            yield from map(server.login, MEMBERS)
        case "update":
            for id_ in picked:
                yield server.update(id_, {"size": chance.randrange(1_000_000)})
        case "create":
            yield from map(server.create, more(_CREATED))
        case "batch":
            yield from map(server.batch, _portions(more(_BATCHES * BATCH)))
        case _:
            yield from _mixed(server, picked, chance)


def _mixed(server: Server, picked: Sequence[str], chance: random.Random) -> Iterator[Call]:
    records = iter(more(_PICKED))
    for start in range(0, _PICKED, len(_MIXTURE)):
        for n, kind in enumerate(chance.sample(_MIXTURE, len(_MIXTURE))):
            if kind == "get":
                yield server.get(picked[(start + n) % len(picked)])
            else:
                yield server.listing() if kind == "list" else server.create(next(records))


def _portions(records: Sequence[Record]) -> Iterator[Sequence[Record]]:
    return (records[start : start + BATCH] for start in range(0, len(records), BATCH))
