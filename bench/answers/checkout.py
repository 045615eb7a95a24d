"""Another commit's files, in a temporary working tree of git."""

from __future__ import annotations

import shutil
import signal
import subprocess
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from bench.answers.errors import CannotCompare

if TYPE_CHECKING:
    from collections.abc import Iterator

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


def resolve_commit(
    repository: Path, commit: str, *, target: str = "compare-answers", setting: str = "BEFORE"
) -> str:
    """The hash of the commit of that name, which `make target` got as `setting`. Raises
    CannotCompare."""
    if shutil.which("git") is None:
        raise CannotCompare("git is needed, and there is none.")
    if not commit:
        raise CannotCompare(f"name the commit to compare with: make {target} {setting}=main")
    wanted = f"{commit}^{{commit}}"
    done = _git(repository, "rev-parse", "--verify", "--quiet", "--end-of-options", wanted)
    if done.returncode:
        raise CannotCompare(f"{setting}={commit} names no commit of {repository}.")
    return done.stdout.strip()


@contextmanager
def checkout(repository: Path, commit: str) -> Iterator[Path]:
    """A folder with the files of `commit`. Raises CannotCompare."""
    folder = Path(tempfile.mkdtemp(prefix="listo-before-"))
    tree = folder / "listo"
    try:
        # Signals wait meanwhile: git cannot remove half a tree.
        signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
        try:
            done = _git(repository, "worktree", "add", "--quiet", "--detach", str(tree), commit)
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
        if done.returncode:
            why = (done.stderr.strip() or "no message").splitlines()[-1]
            raise CannotCompare(f"git cannot check out {commit}: {why}")
        yield tree
    finally:
        _git(repository, "worktree", "remove", "--force", str(tree))
        shutil.rmtree(folder, ignore_errors=True)


def _git(repository: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    # The developer's hooks do not run, and Ctrl-C does not reach git's process group.
    return subprocess.run(
        ["git", "-c", "core.hooksPath=/dev/null", *arguments], cwd=repository, process_group=0,
        capture_output=True, text=True, check=False,
    )  # fmt: skip
