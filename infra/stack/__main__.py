"""`python3 -m infra.stack COMMAND`, which the Makefile calls."""

from __future__ import annotations

import argparse
import shutil
import sys

from infra.stack import alerts, images, rotate, up
from infra.stack.compose import (
    END_SECONDS,
    STATE,
    CannotRun,
    compose,
    elsewhere,
    error_output,
    foreground,
    lock,
    others,
)
from infra.stack.silence import silenced


def down() -> int:
    with lock():
        _refuse_elsewhere()
        images.choose()
        with silenced("make down"):
            result = compose("--profile", "*", "down", "--remove-orphans", timeout=END_SECONDS)
        if result.returncode:
            raise CannotRun(error_output(result))
    print("Stopped. The data stays; `make up` starts it again.")
    return 0


def destroy() -> int:
    _refuse_elsewhere()
    if not sys.stdin.isatty():
        raise CannotRun("it asks, and there is no terminal to answer on; say YES=1 to mean it")
    try:
        answer = input("All data of the stack will be gone. Type `destroy` to mean it: ")
    except EOFError:
        print()
        answer = ""
    if answer != "destroy":
        print("Nothing was done.")
        return 1
    return destroy_now()


def destroy_now() -> int:
    with lock():
        _refuse_elsewhere()
        theirs = others()
        images.choose()
        result = compose(
            "--profile", "*", "down", "--remove-orphans", "--volumes", timeout=END_SECONDS
        )
        if result.returncode:
            raise CannotRun(error_output(result))
        if theirs:
            stay = ", ".join(theirs)
            print(f"Gone: containers and data. The secrets in .listo stay, for {stay}.")
            return 0
        shutil.rmtree(STATE, ignore_errors=True)
        up.AUTHORITY.unlink(missing_ok=True)
        print("Gone: containers, data and the secrets in .listo. Images stay.")
        return 0


def _refuse_elsewhere() -> None:
    """Raises CannotRun if the stack belongs to another checkout."""
    if (folder := elsewhere()) is not None:
        raise CannotRun(f"the stack belongs to {folder}; run this command there")


def shell_db() -> int:
    images.choose()
    no_tty = () if sys.stdin.isatty() else ("--no-TTY",)
    return foreground("exec", *no_tty, "postgres", "psql", "--username=postgres", "--dbname=listo")


COMMANDS = {
    "up": (up.main, "start the stack, or bring it up to date"),
    "down": (down, "stop it, keep the data"),
    "destroy": (destroy, "stop it and remove all data; asks first"),
    "destroy-now": (destroy_now, "the same, without asking"),
    "rotate": (rotate.main, "give one secret another value: SECRET=…"),
    "alerts": (alerts.show, "the alerts that are pending or firing"),
    "shell-db": (shell_db, "psql in the database"),
}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python3 -m infra.stack", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, (_, text) in COMMANDS.items():
        commands.add_parser(name, help=text)
    arguments = parser.parse_args()
    command, _ = COMMANDS[arguments.command]
    try:
        return command()
    except CannotRun as error:
        print(f"\nmake {arguments.command}: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        # The error of a full disk names no file.
        file = f"{error.filename}: " if error.filename else ""
        print(f"\nmake {arguments.command}: {file}{error.strerror}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nInterrupted.", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
