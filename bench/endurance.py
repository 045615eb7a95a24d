"""The samples of `make bench-soak`, and the verdict on them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import redis

from bench.intervals import rise
from bench.plot import Line, Panel
from fixtures.cluster import fetch

if TYPE_CHECKING:
    from collections.abc import Sequence

    import psutil

    from bench.arrivals import Outcome
    from bench.stage import Stage

# By how much a worker's memory may rise during the run. A leak of 100 bytes a request would take
# 200 MB in an hour at 600 requests a second; buffers that are not full yet take a few MB.
MEMORY = 0.10
# By how much p99 may rise: it is the figure that other work on the machine moves most.
TAIL = 0.25
# PostgreSQL begins to vacuum at 0.2 dead rows to a live one, and dead rows come meanwhile.
DEAD = 0.35
# Bytes of table and indexes for each live row, in times of those at the beginning.
BLOAT = 1.5
# The part of the samples, at the beginning, in which caches and pools still fill.
WARM = 0.1
FEWEST = 4
_QUERY = """
SELECT n_dead_tup::float8 / greatest(n_live_tup, 1), pg_total_relation_size(relid)::float8
       / greatest(n_live_tup, 1), pg_database_size(current_database())
  FROM pg_stat_user_tables WHERE schemaname = 'records' AND relname = 'bench'
"""
COLUMNS = (
    "minute", "2xx/s", "refused", "failed", "p99, ms", "RSS, MB", "USS, MB", "dead rows",
    "bytes a row", "database, MB", "Redis, MB", "foreign load",
)  # fmt: skip


@dataclass(frozen=True)
class Sample:
    """The figures of a part of the run, which ended at `minute`.

    `refused` counts answers 503, `failed` other errors and requests without an answer. `rss` and
    `uss` are those of the largest worker in MB, `dead` is dead rows to live ones, `row` the bytes
    of the table and its indexes for each live row, and `foreign` the part of all cores that other
    programs took.
    """

    minute: float
    rate: float
    refused: int
    failed: int
    p99: float
    rss: float
    uss: float
    dead: float
    row: float
    database: float
    redis: float
    foreign: float

    def cells(self) -> list[str]:
        return [
            f"{self.minute:.3g}", f"{self.rate:.0f}", f"{self.refused}", f"{self.failed}",
            f"{self.p99:.1f}",
            f"{self.rss:.1f}", f"{self.uss:.1f}", f"{self.dead:.2f}", f"{self.row:.0f}",
            f"{self.database:.0f}", f"{self.redis:.1f}", f"{self.foreign * 100:.0f} %",
        ]  # fmt: skip


def sample(
    bench: Stage,
    server: psutil.Process,
    outcome: Outcome,
    span: tuple[float, float],
    foreign: float,
) -> Sample:
    """The present state, and the outcome of a part of the run: `span` is its end in minutes and its
    length in seconds."""
    minute, seconds = span
    memory = [child.memory_full_info() for child in server.children(recursive=True)]
    dead, row, size = fetch(bench.database_url, _QUERY)[0]
    with redis.Redis.from_url(bench.redis_url) as client:
        used = client.info("memory")["used_memory"]
    times = sorted(outcome.seconds) or [0.0]
    succeeded, refused = outcome.succeeded.total(), outcome.refused.total()
    return Sample(
        minute=minute,
        rate=succeeded / seconds,
        refused=refused,
        failed=outcome.sent.total() - succeeded - refused,
        p99=times[int(len(times) * 0.99)] * 1000,
        rss=max((each.rss for each in memory), default=0) / 1e6,
        uss=max((each.uss for each in memory), default=0) / 1e6,
        dead=dead,
        row=row,
        database=size / 1e6,
        redis=used / 1e6,
        foreign=foreign,
    )


def violations(samples: Sequence[Sample]) -> list[str]:
    """A line for each bound that the run did not keep."""
    found = []
    if bad := [each for each in samples if each.refused or each.failed]:
        refused, failed = sum(each.refused for each in bad), sum(each.failed for each in bad)
        found.append(
            f"errors: {refused} requests refused and {failed} failed, "
            f"the first by minute {bad[0].minute:.3g}"
        )
    warm = samples[int(len(samples) * WARM) :]
    if len(warm) < FEWEST:
        found.append(f"slopes: {len(warm)} samples are too few, {FEWEST} are needed")
    else:
        found += _rising("memory of the largest worker", [each.uss for each in warm], MEMORY, "MB")
        found += _rising("p99", [each.p99 for each in warm], TAIL, "ms")
    worst = max(samples, key=lambda each: each.dead)
    if worst.dead > DEAD:
        found.append(
            f"dead rows: {worst.dead:.2f} to a live one by minute {worst.minute:.3g}, above {DEAD}"
        )
    largest = max(samples, key=lambda each: each.row)
    times = largest.row / samples[0].row
    if times > BLOAT:
        found.append(
            f"bloat: {largest.row:.0f} bytes a row by minute {largest.minute:.3g}, {times:.2f} "
            f"times those of the first sample, above {BLOAT}"
        )
    return found


def _rising(name: str, values: Sequence[float], bound: float, unit: str) -> list[str]:
    rising = rise(values)
    share = rising / (sorted(values)[len(values) // 2] or 1.0)
    if share <= bound:
        return []
    grown = f"{rising:.1f} {unit}, {share * 100:.0f} % of its median"
    return [f"{name}: rose by {grown}, above {bound * 100:.0f} %"]


def panels(samples: Sequence[Sample]) -> list[Panel]:
    """The plots of a run."""

    def line(name: str, values: Sequence[float]) -> Line:
        return Line(name, [(each.minute, y) for each, y in zip(samples, values, strict=True)])

    first = samples[0]
    return [
        Panel("2xx a second", "minute", [line("2xx a second", [each.rate for each in samples])]),
        Panel("p99 in ms", "minute", [line("p99", [each.p99 for each in samples])]),
        Panel(
            "Memory of the largest worker in MB", "minute",
            [line("RSS", [each.rss for each in samples]),
             line("USS", [each.uss for each in samples])],
        ),
        Panel(
            "Rows", "minute",
            [line("dead to live", [each.dead for each in samples]),
             line("bytes a row, times the first", [each.row / first.row for each in samples])],
        ),
    ]  # fmt: skip
