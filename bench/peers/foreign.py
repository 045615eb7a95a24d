"""How much of the machine others took meanwhile: other programs, and other machines beside it."""

from __future__ import annotations

import time
from contextlib import suppress
from typing import TYPE_CHECKING

import psutil

from bench.peers.running import tree

if TYPE_CHECKING:
    from collections.abc import Sequence

# A round with more than this share of the machine's cores in other hands is measured again.
MOST = 0.1
_SETTLE_SECONDS = 15
_LOOK_SECONDS = 0.3
# A part of one core, for all servers together.
_RESTING = 0.2


class Watch:
    """Compares the time of all cores with that of `roots` and their children."""

    def __init__(self, roots: Sequence[psutil.Process]) -> None:
        self._roots = roots
        self._cores = psutil.cpu_count() or 1
        self.begin()

    def begin(self) -> None:
        self._began = (time.monotonic(), self._all(), self._own())

    def settle(self) -> None:
        """Wait until the roots rest: servers go on with requests that nobody waits for any more."""
        deadline = time.monotonic() + _SETTLE_SECONDS
        before = self._own()
        while time.monotonic() < deadline:
            time.sleep(_LOOK_SECONDS)
            now = self._own()
            if now - before < _RESTING * _LOOK_SECONDS:
                return
            before = now

    def share(self) -> float:
        """The share of the machine that others had since `begin`, 0 to 1."""
        began, all_, own = self._began
        seconds = max(time.monotonic() - began, 1e-3)
        others = (self._all() - all_) - (self._own() - own)
        return min(1.0, max(0.0, others / (seconds * self._cores)))

    @staticmethod
    def _all() -> float:
        """Busy seconds, and those that a hypervisor gave away; interrupts are the network's."""
        times = psutil.cpu_times()
        stolen = getattr(times, "steal", 0.0)
        nice = getattr(times, "nice", 0.0)
        return float(times.user + nice + times.system + stolen)

    def _own(self) -> float:
        total = 0.0
        for root in self._roots:
            for process in tree(root):
                with suppress(psutil.NoSuchProcess):
                    times = process.cpu_times()
                    total += times.user + times.system
                    # Children that ended are counted with their parents.
                    total += times.children_user + times.children_system
        return total
