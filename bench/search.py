"""`make bench-search`: how long searches take, by how many records have the word, and how well
misspelt words are corrected, on a million records of real text."""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import sys
import time
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import asyncpg

from app import worker
from app.db.database import Database
from app.dev.postgres import PostgresError
from bench.command import INTERRUPTED, interruptible, line, progress
from bench.pages import table
from bench.stage import ADMIN, MEMBER, PRODUCT, stage, wrk
from bench.texts import texts
from fixtures.cluster import execute, fetch
from fixtures.server import settings

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import httpx

    from bench.stage import Stage

PORT, CONNECTIONS = 8480, 4
COLLECTION = "/collections/texts"
SECTIONS = ("games", "libs", "net", "doc")
DEFINITION: dict[str, Any] = {
    "schema": {
        "type": "object",
        "properties": {
            "title": {"type": "string"}, "body": {"type": "string"},
            "section": {"type": "string"}, "downloads": {"type": "integer"},
        },
    },
    "rules": {"list": "@user.id is not null", "read": "@user.id is not null"},
}  # fmt: skip
SEARCH = {"fields": {"title": "A", "body": "B"}, "language": "simple"}
# The share of records that have the word, and the goals of p50 and p99 in milliseconds.
GOALS = {"0.1 %": (0.001, 8, 20), "2 %": (0.02, 25, 60), "34 %": (0.34, 50, 120)}
MISSPELT = ("misspelt", 40, 100)
WORDS = 10
SLIPS = 300
RECALL, FIRST = 0.95, 0.85
_LETTERS = "abcdefghijklmnopqrstuvwxyz"


def main() -> int:
    given = _arguments()
    interruptible()
    try:
        with stage() as made:
            made.environment["RATE_LIMIT_USER"] = "off"
            _run(made, given.records, given.seconds)
    except PostgresError as error:
        sys.stderr.write(f"bench-search: {error}\n")
        return 2
    except KeyboardInterrupt:
        return INTERRUPTED
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make bench-search", description=__doc__)
    parser.add_argument("--records", type=int, default=1_000_000)
    parser.add_argument("--seconds", type=int, default=10)
    return parser.parse_args()


def _run(made: Stage, records: int, seconds: int) -> None:
    with made.server(PRODUCT, PORT):
        admin = made.client(PORT, ADMIN)
        admin.post("/users", json=MEMBER)
        admin.put(COLLECTION, json=DEFINITION).raise_for_status()
        progress(f"loading {records:,} records")
        asyncio.run(_load(made.database_url, texts(records)))
        execute(made.database_url, "VACUUM ANALYZE records.texts")
        progress("building the index")
        _build(admin, made.database_url)
        progress("counting words")
        _count(made)
        token = made.client(PORT, MEMBER).headers["Authorization"].removeprefix("Bearer ")
        rows = []
        for name, (share, *goals) in GOALS.items():
            rows.append(_measured(made, name, _words(made, share), goals, seconds, token))
        slips = _slips(made)
        _corrections(admin, slips)
        asked = [slip for slip, _ in slips]
        rows.append(_measured(made, MISSPELT[0], asked, MISSPELT[1:], seconds, token))
        line("")
        head = ["word in", "words", "p50 in ms", "goal", "p99 in ms", "goal", "per second"]
        line(table(head, rows))


async def _load(url: str, found: Sequence[str]) -> None:
    chosen = random.Random(2)  # noqa: S311 - data, not secrets
    connection = await asyncpg.connect(url)
    await connection.execute("CREATE TEMP TABLE loaded (data text)")
    await connection.copy_records_to_table(
        "loaded", records=((json.dumps(_record(text, chosen)),) for text in found), columns=["data"]
    )
    # Ids of records that came one after the other.
    await connection.execute(
        "INSERT INTO records.texts (id, data) SELECT ("
        "lpad(to_hex(1700000000000 + row_number() OVER ()), 12, '0')"
        " || '7' || substr(md5(random()::text), 1, 3) || '8' || substr(md5(random()::text), 1, 15)"
        ")::uuid, data::jsonb FROM loaded"
    )
    await connection.close()


def _record(text: str, chosen: random.Random) -> dict[str, Any]:
    title = text[:40].rpartition(" ")[0]
    return {
        "title": title,
        "body": text[len(title) :].strip(),
        "section": chosen.choice(SECTIONS),
        "downloads": chosen.randrange(1_000_000),
    }


def _build(admin: httpx.Client, url: str) -> None:
    began = time.monotonic()
    admin.put(COLLECTION, json={**DEFINITION, "search": SEARCH}).raise_for_status()
    while (shown := admin.get(COLLECTION).json()["search"])["state"] == "building":
        share = shown.get("progress")
        progress(f"building the index{'' if share is None else f', {share:.0%}'}")
        time.sleep(0.5)
    took = time.monotonic() - began
    size = fetch(
        url,
        "SELECT pg_size_pretty(sum(pg_relation_size(indexrelid))) FROM pg_index"
        " JOIN pg_class c ON c.oid = indexrelid JOIN pg_am a ON a.oid = c.relam"
        " WHERE indrelid = 'records.texts'::regclass AND amname = 'gin'",
    )[0][0]
    line(f"index: {shown['state']} after {took:.0f} s, {size}")


def _count(made: Stage) -> None:
    (loop,) = (loop for loop in worker.LOOPS if loop.name == "count_words")
    configured = settings(made.database_url)

    async def run() -> None:
        database = Database(made.database_url, pool_size=4, statement_timeout=600)
        await database.open()
        try:
            assert await worker.run_once(loop, database, configured)
        finally:
            await database.close()

    began = time.monotonic()
    asyncio.run(run())
    number = fetch(made.database_url, "SELECT count(*) FROM listo.search_words")[0][0]
    line(f"words: {number:,} counted in {time.monotonic() - began:.0f} s")


def _words(made: Stage, share: float) -> list[str]:
    """The words that are in about this share of the records, by PostgreSQL's statistics, or by the
    worker's counts for rare ones."""
    rows = fetch(
        made.database_url,
        "SELECT word, share FROM (SELECT u.word, u.share FROM pg_stats s,"
        " unnest(s.most_common_elems::text::text[], s.most_common_elem_freqs) AS u (word, share)"
        " WHERE s.schemaname = 'records' AND s.tablename LIKE 'texts$%'"
        " UNION SELECT word, records / (SELECT reltuples FROM pg_class WHERE oid ="
        " 'records.texts'::regclass) FROM listo.search_words) AS of_words (word, share)"
        " WHERE word ~ '^[a-z]+$' ORDER BY abs(ln(share / $1)) LIMIT 100",
        share,
    )
    near = [row["word"] for row in rows if share / 1.25 <= row["share"] <= share * 1.25]
    return (near or [rows[0]["word"]])[:WORDS]


def _slips(made: Stage) -> list[tuple[str, str]]:
    """Words with one slip each, and the words that were meant."""
    chosen = random.Random(3)  # noqa: S311 - data, not secrets
    rows = fetch(
        made.database_url,
        "SELECT word FROM listo.search_words WHERE word ~ '^[a-z]{5,14}$'"
        " ORDER BY records DESC LIMIT 5000",
    )
    known = {row["word"] for row in fetch(made.database_url, "SELECT word FROM listo.search_words")}
    slips: list[tuple[str, str]] = []
    while len(slips) < SLIPS:
        word = chosen.choice(rows)["word"]
        slip = _slipped(word, chosen)
        # A first letter counts twice, and a slip can be another word.
        if slip not in known and slip[0] == word[0] and len(slip) >= 5:
            slips.append((slip, word))
    return slips


def _slipped(word: str, chosen: random.Random) -> str:
    at = chosen.randrange(1, len(word) - 1)
    match chosen.randrange(4):
        case 0:
            return word[:at] + word[at + 1 :]
        case 1:
            return word[:at] + chosen.choice(_LETTERS) + word[at:]
        case 2:
            return word[:at] + chosen.choice(_LETTERS) + word[at + 1 :]
        case _:
            return word[:at] + word[at + 1] + word[at] + word[at + 2 :]


def _corrections(admin: httpx.Client, slips: Sequence[tuple[str, str]]) -> None:
    corrected = right = found = 0
    for slip, word in slips:
        answer = admin.get(f"{COLLECTION}/search", params={"q": slip, "limit": 1}).json()
        meant = answer.get("did_you_mean")
        found += meant is None and bool(answer["items"])
        corrected += meant is not None
        right += meant == word
    number = len(slips) - found
    line(
        f"corrections of {number} misspelt words: {corrected / number:.3f} (goal {RECALL}),"
        f" the right one {right / number:.3f} (goal {FIRST})"
    )


def _measured(
    made: Stage, name: str, words: Sequence[str], goals: Sequence[float], seconds: int, token: str
) -> list[str]:
    progress(f"searching for words in {name}")
    script = _script(made.folder, name, words)
    wrk(PORT, script, CONNECTIONS, 2, token)
    found = wrk(PORT, script, CONNECTIONS, seconds, token)
    shown = ", ".join(words[:3])
    return [
        name, shown, f"{found['p50']:.1f}", str(goals[0]), f"{found['p99']:.1f}", str(goals[1]),
        f"{found['rate']:.0f}",
    ]  # fmt: skip


def _script(folder: Path, name: str, words: Sequence[str]) -> Path:
    listed = ", ".join(f'"{quote(word)}"' for word in words)
    script = folder / f"search-{name.partition(' ')[0]}.lua"
    script.write_text(
        f"local words = {{{listed}}}\nrequest = function() return wrk.format('GET', "
        f"'{COLLECTION}/search?q=' .. words[math.random(#words)]) end"
    )
    return script


if __name__ == "__main__":
    sys.exit(main())
