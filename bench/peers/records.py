"""The records that all servers are loaded with, and the list that all of them are asked for."""

from __future__ import annotations

import json
import random
from typing import Any

from bench.stage import SECTIONS

Record = dict[str, Any]

FIELDS = ("title", "section", "size", "tags", "body")
SECTION = "games"
# How many records a page of the list has, and how many a batch request creates.
LIMIT = 50
BATCH = 20
_SEED = 7
_BODY = "lorem ipsum " * 70


def make(count: int) -> list[Record]:
    """`count` records of about 1 kB, the same in each run; no two have the same `size`."""
    rng = random.Random(_SEED)  # noqa: S311 - data, not secrets
    sizes = rng.sample(range(count * 10), count)
    return [_record(number, size, rng) for number, size in enumerate(sizes)]


def more(count: int) -> list[Record]:
    """`count` records to be created during the measurements."""
    rng = random.Random(_SEED + 1)  # noqa: S311
    return [_record(1_000_000 + n, rng.randrange(1_000_000), rng) for n in range(count)]


def page(records: list[Record]) -> list[Record]:
    """The records of the list: of one section, the largest first."""
    found = [record for record in records if record["section"] == SECTION]
    return sorted(found, key=lambda record: -int(record["size"]))[:LIMIT]


def dump(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"))


def _record(number: int, size: int, rng: random.Random) -> Record:
    return {
        "title": f"record {number}",
        "section": rng.choice(SECTIONS),
        "size": size,
        "tags": ["a", "b"],
        "body": _BODY,
    }
