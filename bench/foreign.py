"""Notices what other programs of the machine take of its processors meanwhile."""

from __future__ import annotations

import time
from contextlib import suppress
from pathlib import Path

import psutil

from fixtures.cluster import fetch


class Meter:
    """The share of all cores that others took since the last reading.

    Others are all but this process, the processes that it started, and the PostgreSQL at
    `database_url`. Time that a hypervisor gave to another machine is theirs as well.
    """

    def __init__(self, database_url: str) -> None:
        folder = fetch(database_url, "SHOW data_directory")[0][0]
        postmaster = int((Path(folder) / "postmaster.pid").read_text().split()[0])
        self._roots = (psutil.Process(), psutil.Process(postmaster))
        self._cores = psutil.cpu_count() or 1
        self._last = self._now()

    def read(self) -> float:
        """The share since the last call, from 0 to 1."""
        before, self._last = self._last, self._now()
        passed, busy, own = (b - a for a, b in zip(before, self._last, strict=True))
        return max(0.0, busy - own) / (passed * self._cores) if passed else 0.0

    def _now(self) -> tuple[float, float, float]:
        """The time, and the CPU seconds of the machine and of our own processes until then."""
        own = 0.0
        for root in self._roots:
            with suppress(psutil.NoSuchProcess):
                for process in (root, *root.children(recursive=True)):
                    with suppress(psutil.NoSuchProcess):
                        # The last two are those of children that have ended.
                        own += sum(process.cpu_times()[:4])
        machine = psutil.cpu_times()
        # Time in interrupts is left out: packets of our own and others' are not told apart there.
        busy = machine.user + machine.nice + machine.system + getattr(machine, "steal", 0.0)
        return time.monotonic(), busy, own
