"""The display of long work: a changing line on a terminal, one line per step elsewhere."""

from __future__ import annotations

import subprocess
import sys
import time
from typing import TYPE_CHECKING

from infra.stack.compose import ROOT, STATE, CannotRun

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

_TICK = 0.2


def step(
    title: str, command: Sequence[str], log: Path, environment: Mapping[str, str] | None = None
) -> None:
    """Run one command, its output to `log`. If it fails, prints the last lines of its output and
    raises CannotRun."""
    started = time.monotonic()
    on_terminal = sys.stdout.isatty()
    if not on_terminal:
        print(f"  … {title}", flush=True)
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("a") as output:
        output.write(f"\n$ {' '.join(command)}\n")
        output.flush()
        with subprocess.Popen(  # noqa: S603 - our own arguments
            command, cwd=ROOT, env=environment, stdin=subprocess.DEVNULL, stdout=output,
            stderr=subprocess.STDOUT,
        ) as process:  # fmt: skip
            try:
                while True:
                    try:
                        status = process.wait(_TICK)
                        break
                    except subprocess.TimeoutExpired:
                        if on_terminal:
                            rewrite_line(f"  … {title}  {time.monotonic() - started:.0f} s")
            except BaseException:
                # Ctrl-C reaches the command too; wait until it has cleaned up.
                process.terminate()
                process.wait()
                raise
    took = time.monotonic() - started
    if on_terminal:
        rewrite_line("")
    if status:
        print("\n".join(log.read_text().splitlines()[-15:]), file=sys.stderr)
        where = log.relative_to(STATE.parents[1])
        raise CannotRun(f"{title} failed (exit status {status}); the whole output is in {where}")
    print(f"  \N{CHECK MARK} {title}  {took:.0f} s", flush=True)


def rewrite_line(text: str) -> None:
    """Replace the terminal's present line with `text`."""
    sys.stdout.write(f"\r\x1b[K{text}")
    sys.stdout.flush()
