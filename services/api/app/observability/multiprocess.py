"""Metrics of several processes that share a folder (PROMETHEUS_MULTIPROC_DIR).

With prometheus_client each process writes files of its own, and the process that is asked reads all
of them. The counts of a process that is gone must stay, so its files would pile up with every
restart. Here they are added up into one file per kind as soon as the process is gone; a lock keeps
readers from seeing counts twice, or not at all.
"""

from __future__ import annotations

import fcntl
import os
import struct
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from prometheus_client import multiprocess
from prometheus_client.mmap_dict import MmapedDict
from prometheus_client.registry import Collector

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from prometheus_client import Metric

# Stands in place of the process' number in a file's name.
_GONE = "gone"
_LOCK = "lock"


class Shared(Collector):
    """The metrics of all processes that live, and the counts of those that are gone."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def collect(self) -> Iterable[Metric]:
        with _locked(self._folder, fcntl.LOCK_SH):
            # A file that a process has only just made is empty.
            files = [str(path) for path in self._folder.glob("*.db") if _size(path) > 0]
            metrics: Iterable[Metric] = multiprocess.MultiProcessCollector.merge(  # type: ignore[no-untyped-call]
                files, accumulate=True
            )
            return list(metrics)


def merge_counts_of_dead(folder: Path, pid: int) -> None:
    """Add the counts of the process to those of earlier ones, and remove its files.

    Only one process may call this: the process that starts the others.
    """
    with _locked(folder, fcntl.LOCK_EX):
        for path in sorted(folder.glob(f"*_{pid}.db")):
            kind = path.name.removesuffix(f"_{pid}.db")
            # The gauges of a dead process are of interest only if their mode says so.
            if kind in _ADDED_KINDS:
                _merge(folder, kind, path)
            path.unlink()


_ADDED_KINDS = frozenset({"counter", "histogram", "summary", "gauge_sum"})


def prepare_folder(folder: Path) -> None:
    """Make the folder, or remove the files that a former run has left in it."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    for path in folder.glob("*.db*"):
        path.unlink()


def _merge(folder: Path, kind: str, path: Path) -> None:
    total: dict[str, float] = {}
    target = folder / f"{kind}_{_GONE}.db"
    for source in (target, path):
        for key, value in _values(source):
            total[key] = total.get(key, 0.0) + value
    fresh = folder / f"{kind}_{_GONE}.db.new"
    fresh.unlink(missing_ok=True)
    file = MmapedDict(str(fresh))  # type: ignore[no-untyped-call]
    for key, value in total.items():
        file.write_value(key, value, 0.0)  # type: ignore[no-untyped-call]
    file.close()  # type: ignore[no-untyped-call]
    fresh.replace(target)


def _values(path: Path) -> Iterator[tuple[str, float]]:
    # A killed process may leave a file that it had only begun.
    with suppress(FileNotFoundError, struct.error, RuntimeError, UnicodeDecodeError):
        for key, value, *_ in MmapedDict.read_all_values_from_file(str(path)):  # type: ignore[no-untyped-call]
            yield key, value


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


@contextmanager
def _locked(folder: Path, how: int) -> Iterator[None]:
    descriptor = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, how)
        yield
    finally:
        os.close(descriptor)
