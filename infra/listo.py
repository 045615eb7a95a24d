"""`./listo …`: the command line of this folder's `make dev` if it runs, otherwise of its stack."""

from __future__ import annotations

import os
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from typing import BinaryIO

from infra.stack import images
from infra.stack.compose import ROOT, CannotRun

# This file exists while `make dev` runs.
_SETTINGS = ROOT / ".listo" / "env"

# The commands that read or write a file or folder, and which of their options take a value.
_MOVING = {
    "dump": (),
    "restore": ("--on-conflict",),
    "import": ("--on-conflict", "--from"),
}
# Where a container sees the folders of the host.
_HOST = "/host"


def in_development(arguments: list[str]) -> int:
    environment = {**os.environ, "LISTO_ENV_FILE": str(_SETTINGS)}
    del environment["PYTHONPATH"]
    program = ROOT / ".venv" / "bin" / "listo"
    return subprocess.call([program, *arguments], env=environment)  # noqa: S603 - the user's own


def in_the_stack(arguments: list[str]) -> int:
    if arguments[:1] in (["serve"], ["worker"]) and "--help" not in arguments:
        raise CannotRun("the stack's services serve and work already, from make up to make down")
    images.choose()
    if arguments[:1] and arguments[0] in _MOVING and "--help" not in arguments:
        return _beside_the_files(arguments)
    arguments, file = _for_container(arguments)
    with file or sys.stdin.buffer as source:
        # The container gets a terminal too, for commands that ask.
        quiet = () if source.isatty() else ("--no-TTY",)
        secret = ("--env", "LISTO_PASSWORD") if "LISTO_PASSWORD" in os.environ else ()
        command = ["docker", "compose", "exec", *quiet, *secret, "api", "listo", *arguments]
        return subprocess.call(command, cwd=ROOT, stdin=source)  # noqa: S603 - the user's own


def _beside_the_files(arguments: list[str]) -> int:
    """Run the command in a container of its own that sees the folder of its file, as the user that
    owns what it writes."""
    values = _MOVING[arguments[0]]
    pairs = enumerate(pairwise(arguments), 1)
    places = [
        at for at, (before, each) in pairs if not each.startswith("-") and before not in values
    ]
    if len(places) != 1:
        raise CannotRun(f"{arguments[0]} takes one file or folder")
    path = Path(arguments[places[0]]).absolute()
    arguments[places[0]] = f"{_HOST}{path}"
    quiet = () if sys.stdin.buffer.isatty() else ("--no-TTY",)
    command = [
        "docker", "compose", "run", "--rm", "--no-deps", *quiet,
        "--user", f"{os.getuid()}:{os.getgid()}",
        "--volume", f"{path.parent}:{_HOST}{path.parent}",
        # The container's own folder for such files is small, and in memory.
        "--env", f"TMPDIR={_HOST}{path.parent}",
        "api", "listo", *arguments,
    ]  # fmt: skip
    return subprocess.call(command, cwd=ROOT)  # noqa: S603 - the user's own


def _for_container(arguments: list[str]) -> tuple[list[str], BinaryIO | None]:
    """The arguments and the standard input for a container, which sees no files of this folder."""
    if arguments[:2] != ["collections", "apply"]:
        return arguments, None
    # The word after --name is no file, even if a file has that name.
    pairs = zip(["", *arguments[2:]], arguments[2:], strict=False)
    files = [each for before, each in pairs if before != "--name" and Path(each).is_file()]
    if len(files) > 1:
        raise CannotRun("the stack takes one file at a time")
    if not files:
        return arguments, None
    (file,) = files
    has_name = any(each.partition("=")[0] == "--name" for each in arguments)
    name = [] if has_name else ["--name", Path(file).stem]
    words = ["-" if each == file else each for each in arguments]
    return [*words, *name], Path(file).open("rb")


def main() -> int:
    arguments = sys.argv[1:]
    try:
        return in_development(arguments) if _SETTINGS.exists() else in_the_stack(arguments)
    except CannotRun as error:
        print(f"listo: {error}", file=sys.stderr)
    except OSError as error:
        print(f"listo: {error.filename}: {error.strerror}", file=sys.stderr)
    except KeyboardInterrupt:
        return 130
    return 1


if __name__ == "__main__":
    sys.exit(main())
