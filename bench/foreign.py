"""Notices what other programs of the machine take of its processors meanwhile."""

from __future__ import annotations

import time
from contextlib import suppress
from typing import TYPE_CHECKING

import psutil

if TYPE_CHECKING:
    from bench.stage import Stage

# A round with more than this share of all cores in other hands is measured again.
MOST = 0.1
_SETTLE_SECONDS = 15
_LOOK_SECONDS = 0.3
# A part of one core, for all servers together.
_RESTING = 0.2


class Meter:
    """The share of all cores that others took since the last reading.

    Others are all but this process, the processes that it started, and the PostgreSQL of `stage`.
    Time that a hypervisor gave to another machine is theirs as well.
    """

    def __init__(self, stage: Stage) -> None:
        self._roots = (psutil.Process(), stage.postgres_process())
        self._cores = psutil.cpu_count() or 1
        self._last = self._now()

    def read(self) -> float:
        """The share since the last call, from 0 to 1."""
        before, self._last = self._last, self._now()
        passed, busy, own = (b - a for a, b in zip(before, self._last, strict=True))
        share = (busy - own) / (passed * self._cores) if passed else 0.0
        return min(1.0, max(0.0, share))

    def settle(self) -> None:
        """Wait until our own processes rest: servers go on with requests that no client waits for
        any more."""
        deadline = time.monotonic() + _SETTLE_SECONDS
        before = self._own()
        while time.monotonic() < deadline:
            time.sleep(_LOOK_SECONDS)
            now = self._own()
            if now - before < _RESTING * _LOOK_SECONDS:
                return
            before = now

    def _now(self) -> tuple[float, float, float]:
        """The time, and the CPU seconds of the machine and of our own processes until then."""
        own = self._own()
        machine = psutil.cpu_times()
        # Time in interrupts is left out: packets of our own and others' are not told apart there.
        busy = machine.user + machine.nice + machine.system + getattr(machine, "steal", 0.0)
        return time.monotonic(), busy, own

    def _own(self) -> float:
        own = 0.0
        for root in self._roots:
            with suppress(psutil.NoSuchProcess):
                for process in (root, *root.children(recursive=True)):
                    with suppress(psutil.NoSuchProcess):
                        # The last two are those of children that have ended.
                        own += sum(process.cpu_times()[:4])
        return own
