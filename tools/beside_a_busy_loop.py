"""Runs the whole suite several times while a loop takes all of one core, as `make test-busy` does.

A test that relies on how fast the machine is fails here first. Exits with the number of runs that
failed; each run's output is in the folder that is printed.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

LOOP = "import os\nos.sched_setaffinity(0, {min(os.sched_getaffinity(0))})\nwhile True: pass"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n\n")[0])
    parser.add_argument("rounds", type=int, nargs="?", default=10)
    rounds = parser.parse_args().rounds
    folder = Path(tempfile.mkdtemp(prefix="listo-busy-"))
    print(f"{rounds} runs, their output in {folder}", flush=True)
    loop = subprocess.Popen([sys.executable, "-c", LOOP])  # noqa: S603 - our own program
    failed = 0
    try:
        for number in range(1, rounds + 1):
            began = time.monotonic()
            log = folder / f"run-{number}.log"
            with log.open("w") as output:
                done = subprocess.run(
                    [sys.executable, "-m", "pytest"],
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    env={**os.environ, "CI": "true"},
                    check=False,
                )
            failed += done.returncode != 0
            lines = log.read_text(errors="replace").splitlines()
            summary = lines[-1] if lines else "no output"
            print(f"run {number}: {summary}, {time.monotonic() - began:.0f} s", flush=True)
            for line in lines:
                if line.startswith(("FAILED ", "ERROR ")):
                    print(f"  {line[:200]}", flush=True)
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        return 130
    finally:
        loop.kill()
        loop.wait()
    return failed


if __name__ == "__main__":
    sys.exit(main())
