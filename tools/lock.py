"""Renew the locked dependencies, or check that they still are what the .in files ask for.

The check lets the resolver keep every pin that fits, so only a change of the .in files shows.
"""

from __future__ import annotations

import difflib
import subprocess
import sys
import tempfile
from pathlib import Path

API = Path(__file__).parents[1] / "services" / "api"
NAMES = ("requirements", "requirements-dev")
# pip trusts the system's certificates, and uv must too: it resolves from the same index.
COMPILE = (
    "pip", "compile", "--system-certs", "--universal", "--python-version", "3.11",
    "--generate-hashes", "--no-emit-index-url", "--no-emit-find-links", "--no-header", "--quiet",
    "--override", "requirements-overrides.in",
)  # fmt: skip


def compile_lock(name: str, output: Path, *extra: str) -> None:
    uv = Path(sys.executable).with_name("uv")
    subprocess.run([uv, *COMPILE, f"{name}.in", "-o", output, *extra], cwd=API, check=True)  # noqa: S603


def check(name: str) -> bool:
    locked = (API / f"{name}.txt").read_text()
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / f"{name}.txt"
        copy.write_text(locked)
        compile_lock(name, copy)
        fresh = copy.read_text()
    if fresh == locked:
        return True
    changes = difflib.unified_diff(locked.splitlines(), fresh.splitlines(), lineterm="", n=0)
    sys.stderr.write("\n".join(list(changes)[:20]) + "\n")
    sys.stderr.write(f"services/api/{name}.txt is not what {name}.in asks for; run: make lock\n")
    return False


def main() -> int:
    try:
        if "--check" in sys.argv:
            return 0 if all(map(check, NAMES)) else 1
        for name in NAMES:
            compile_lock(name, API / f"{name}.txt", "--upgrade")
    except subprocess.CalledProcessError:
        sys.stderr.write("The lock could not be resolved, see above; it needs a package index.\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
