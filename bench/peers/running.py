"""Programs in the background: started, waited for, and stopped with all their children."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

import httpx
import psutil

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

_START_SECONDS = 120
_STOP_SECONDS = 15


class Failed(Exception):
    """A program could not be installed or run; the message is one line that says why."""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def running(
    command: Sequence[str], *, log: Path, ready: str, cwd: Path, env: Mapping[str, str]
) -> Iterator[psutil.Process]:
    """The program in a session of its own, once `ready` answers; Ctrl-C is for us alone."""
    with log.open("ab") as output:
        process = subprocess.Popen(
            command, cwd=cwd, env=env, stdin=subprocess.DEVNULL, stdout=output, stderr=output,
            start_new_session=True,
        )  # fmt: skip
    try:
        _wait(ready, process, log)
        yield psutil.Process(process.pid)
    finally:
        _stop(process)


def run(command: Sequence[str], *, cwd: Path, env: Mapping[str, str], what: str) -> str:
    """Output of a program that ends by itself. Raises Failed with its last line."""
    try:
        done = subprocess.run(
            command, cwd=cwd, env=env, stdin=subprocess.DEVNULL, capture_output=True,
            text=True, errors="replace", check=False,
        )  # fmt: skip
    except OSError as error:
        raise Failed(f"{what}: {error}") from None
    if done.returncode:
        raise Failed(f"{what} failed: {last_line(done.stderr or done.stdout)}")
    return done.stdout


def last_line(text: str) -> str:
    """The last line that says something, without colours, in 200 characters."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    faults = [line for line in lines if "error" in line.lower()]
    line = (faults or lines or ["it said nothing"])[-1]
    return "".join(character for character in line if character.isprintable())[:200]


def tree(process: psutil.Process) -> list[psutil.Process]:
    with suppress(psutil.NoSuchProcess):
        return [process, *process.children(recursive=True)]
    return []


def alive(process: psutil.Process) -> bool:
    with suppress(psutil.NoSuchProcess):
        return process.status() != psutil.STATUS_ZOMBIE
    return False


def memory(processes: Sequence[psutil.Process]) -> float:
    """Resident memory of the processes and all their children, in MB."""
    total = 0
    for process in processes:
        for member in tree(process):
            with suppress(psutil.NoSuchProcess):
                total += member.memory_info().rss
    return total / 1e6


def _wait(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise Failed(f"it ended while it started: {last_line(log.read_text(errors='replace'))}")
        with suppress(httpx.HTTPError):
            if httpx.get(url, trust_env=False, timeout=5).is_success:
                return
        time.sleep(0.1)
    raise Failed(f"it did not answer within {_START_SECONDS} s")


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    with suppress(subprocess.TimeoutExpired):
        process.wait(_STOP_SECONDS)
    # The group is gone in most cases; workers that outlived their master are not.
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
