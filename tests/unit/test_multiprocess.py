"""Metrics of processes that come and go."""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING, Any

import pytest
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest, values

from app.observability import multiprocess

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    Process = Callable[[int], "Metrics"]


class Metrics:
    """The metrics of one process; `end` closes their files."""

    def __init__(self, end: Callable[[], None]) -> None:
        self.end = end
        alone = CollectorRegistry()
        self.requests = Counter("requests_total", "R.", ["route"], registry=alone)
        self.seconds = Histogram("seconds", "S.", ["route"], buckets=(0.1, 1), registry=alone)
        self.pool = Gauge("pool", "P.", multiprocess_mode="livesum", registry=alone)
        self.added = Gauge("added", "A.", multiprocess_mode="sum", registry=alone)
        self.each = Gauge("each", "E.", multiprocess_mode="all", registry=alone)

    def work(self, times: int = 1) -> None:
        for _ in range(times):
            self.requests.labels("/a").inc()
            self.requests.labels('/"ü\n').inc(2)
            self.seconds.labels("/a").observe(0.5)
        self.pool.set(5)
        self.added.inc(3)
        self.each.set(1)


@pytest.fixture
def process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Process]:
    """Makes the metrics of a process with that id."""
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(tmp_path))

    def made(pid: int) -> Metrics:
        kind = values.MultiProcessValue(lambda: pid)  # type: ignore[no-untyped-call]
        monkeypatch.setattr("prometheus_client.values.ValueClass", kind)
        monkeypatch.setattr("prometheus_client.metrics.values.ValueClass", kind)
        return Metrics(values._multi_process_cleanups[-1])

    before = len(values._multi_process_cleanups)
    yield made
    for cleanup in values._multi_process_cleanups[before:]:
        cleanup()
    del values._multi_process_cleanups[before:]


def scrape(folder: Path) -> dict[str, float]:
    registry = CollectorRegistry()
    registry.register(multiprocess.Shared(folder))
    lines = generate_latest(registry).decode().split("\n")
    samples = [line.rsplit(" ", 1) for line in lines if line and not line.startswith("#")]
    return {name: float(value) for name, value in samples}


def test_counts_outlive_their_processes(tmp_path: Path, process: Process) -> None:
    for pid in (101, 102, 103):
        process(pid).work()
    before = scrape(tmp_path)
    assert before['requests_total{route="/a"}'] == 3
    assert before["pool"] == 15
    for pid in (101, 102):
        multiprocess.merge_counts_of_dead(tmp_path, pid)
    after = scrape(tmp_path)
    assert after['requests_total{route="/a"}'] == 3
    assert after['requests_total{route="/\\"ü\\n"}'] == 6
    assert after['seconds_count{route="/a"}'] == 3
    assert after['seconds_sum{route="/a"}'] == 1.5
    buckets = [after[f'seconds_bucket{{le="{le}",route="/a"}}'] for le in ("0.1", "1.0", "+Inf")]
    assert buckets == [0, 3, 3]
    assert after["added"] == 9
    assert after["pool"] == 5
    assert [name for name in after if name.startswith("each")] == ['each{pid="103"}']


def test_many_restarts_leave_no_more_files_than_one(tmp_path: Path, process: Process) -> None:
    for pid in range(1000, 1200):
        one = process(pid)
        one.work()
        one.end()
        multiprocess.merge_counts_of_dead(tmp_path, pid)
    assert {path.name for path in tmp_path.iterdir()} == {
        "counter_gone.db", "histogram_gone.db", "gauge_sum_gone.db", "lock",
    }  # fmt: skip
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) < 300_000
    assert scrape(tmp_path)['requests_total{route="/a"}'] == 200


def test_a_process_id_that_is_used_again_goes_on_counting(tmp_path: Path, process: Process) -> None:
    for _ in range(3):
        process(77).work()
        multiprocess.merge_counts_of_dead(tmp_path, 77)
    process(77).work()
    assert scrape(tmp_path)['requests_total{route="/a"}'] == 4


def test_burying_a_process_spares_a_similar_id(tmp_path: Path, process: Process) -> None:
    one, other = process(7), process(177)
    one.work()
    other.work()
    multiprocess.merge_counts_of_dead(tmp_path, 7)
    assert (tmp_path / "counter_177.db").exists()
    other.work()
    assert scrape(tmp_path)['requests_total{route="/a"}'] == 3


@pytest.mark.parametrize("content", [b"", b"\0" * 64, b"\xff" * 100, os.urandom(4096)])
def test_an_incomplete_file_does_no_harm(tmp_path: Path, process: Process, content: bytes) -> None:
    process(1).work()
    (tmp_path / "counter_2.db").write_bytes(content)
    multiprocess.merge_counts_of_dead(tmp_path, 2)
    assert scrape(tmp_path)['requests_total{route="/a"}'] == 1


def test_counts_stay_the_same_while_processes_are_buried(tmp_path: Path, process: Process) -> None:
    for pid in range(1, 61):
        one = process(pid)
        one.work()
        one.end()
    seen: set[float] = set()
    done = threading.Event()

    def watch() -> None:
        while not done.is_set():
            seen.add(scrape(tmp_path)['requests_total{route="/a"}'])

    watcher = threading.Thread(target=watch)
    watcher.start()
    for pid in range(1, 61):
        multiprocess.merge_counts_of_dead(tmp_path, pid)
    done.set()
    watcher.join()
    assert seen == {60}


def test_a_new_run_starts_from_nothing(tmp_path: Path, process: Process) -> None:
    process(1).work()
    multiprocess.merge_counts_of_dead(tmp_path, 1)
    process(2).work()
    (tmp_path / "mine.txt").touch()
    multiprocess.prepare_folder(tmp_path)
    assert scrape(tmp_path) == {}
    assert (tmp_path / "mine.txt").exists()
    multiprocess.prepare_folder(tmp_path / "new" / "folder")


def test_the_library_still_names_its_files_by_kind_and_process(
    tmp_path: Path, process: Process
) -> None:
    """The library names its files by kind and number; our code relies only on that."""
    process(4711).work()
    names: Any = sorted(path.name for path in tmp_path.glob("*.db"))
    assert names == [
        "counter_4711.db", "gauge_all_4711.db", "gauge_livesum_4711.db", "gauge_sum_4711.db",
        "histogram_4711.db",
    ]  # fmt: skip
