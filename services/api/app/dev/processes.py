"""The server and the worker as processes of `make dev`."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from app.dev.instance import Instance

API = Path(__file__).parents[2]
STOP_SECONDS = 10
_LIBC = ctypes.CDLL(None)
_PR_SET_PDEATHSIG = 1


class Processes:
    """Both processes, each in a group of its own, so that Ctrl-C reaches only `make dev`."""

    def __init__(self, instance: Instance, environment: Mapping[str, str], socket: int) -> None:
        self._instance = instance
        self._environment = environment
        self._socket = socket
        self._commands: dict[str, tuple[str, ...]] = {
            "server": ("serve", "--fd", str(socket)),
            "worker": ("worker",),
        }
        self._running: dict[str, subprocess.Popen[bytes]] = {}

    def start(self) -> None:
        """Start both. The socket is kept, so that requests wait while the server starts anew."""
        for name, command in self._commands.items():
            self._running[name] = subprocess.Popen(  # noqa: S603 - our own arguments
                [sys.executable, "-m", "app.cli", *command],
                cwd=API,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                pass_fds=[self._socket],
                process_group=0,
                preexec_fn=_end_with_parent,  # noqa: PLW1509 - it only calls the kernel
            )
        self._instance.record([process.pid for process in self._running.values()])

    def ended(self) -> Iterator[tuple[str, int]]:
        """Processes that have ended since the last call, with their exit status."""
        for name, process in list(self._running.items()):
            if (status := process.poll()) is not None:
                del self._running[name]
                yield name, status

    def stop(self) -> None:
        """Stop both, in an orderly way as long as that is quick."""
        for process in self._running.values():
            process.terminate()
        deadline = time.monotonic() + STOP_SECONDS
        for process in self._running.values():
            with suppress(subprocess.TimeoutExpired):
                process.wait(max(0.1, deadline - time.monotonic()))
            with suppress(ProcessLookupError):
                # This also ends the process' own children.
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        self._running.clear()
        self._instance.forget()


def _end_with_parent() -> None:
    # On Linux the kernel ends the processes when `make dev` is killed; elsewhere the next
    # `make dev` ends them.
    if sys.platform == "linux":
        _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
