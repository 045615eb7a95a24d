"""One `make dev` per folder: its lock, its secrets, and the processes that a killed run left."""

from __future__ import annotations

import fcntl
import json
import os
import secrets
import time
from contextlib import suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING

import psutil

if TYPE_CHECKING:
    from collections.abc import Mapping


# Within double quotes python-dotenv replaces these escapes, and `${…}` by the variable's value.
_ESCAPES = str.maketrans({"\\": "\\\\", '"': '\\"', "\r": "\\r", "$": "${:-$}"})
_END_SECONDS = 5


class CannotStart(Exception):
    """`make dev` cannot start; the message is one line for the user."""


class Instance:
    """The folder `.listo` of a project."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._processes = folder / "processes.json"
        self._settings = folder / "env"
        self._lock: IO[str] | None = None

    def claim(self) -> None:
        """Take the folder for this process. Raises CannotStart."""
        try:
            self.folder.mkdir(mode=0o755, exist_ok=True)
            self._lock = (self.folder / "dev.lock").open("a+")
        except OSError as error:
            raise CannotStart(f"Cannot write to {self.folder}: {error.strerror}.") from None
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise CannotStart(
                "make dev already runs in this folder; stop that one first."
            ) from None

    def end_leftovers(self) -> None:
        """End the servers that a killed run of this folder left, and only those."""
        try:
            recorded = json.loads(self._processes.read_text())
        except (FileNotFoundError, ValueError):
            return
        leftovers = [each for pid, started in recorded for each in _family(pid, started)]
        for process in leftovers:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        # Their port, and all else that they hold, is free once they are gone.
        deadline = time.monotonic() + _END_SECONDS
        while any(map(_works, leftovers)) and time.monotonic() < deadline:
            time.sleep(0.01)
        self.forget()

    def record(self, pids: list[int]) -> None:
        """Record our processes, for a later run that has to end them."""
        started = []
        for pid in pids:
            with suppress(psutil.NoSuchProcess):
                started.append((pid, psutil.Process(pid).create_time()))
        _write(self._processes, json.dumps(started))

    def forget(self) -> None:
        self._processes.unlink(missing_ok=True)

    def show(self, settings: Mapping[str, str]) -> None:
        """Write down the server's settings, for other commands (`LISTO_ENV_FILE=.listo/env`)."""
        lines = (f'{name}="{value.translate(_ESCAPES)}"\n' for name, value in settings.items())
        _write(self._settings, "".join(lines))

    def hide(self) -> None:
        self._settings.unlink(missing_ok=True)

    def secret(self) -> str:
        """JWT_SECRET of this folder, made once."""
        return self._kept("jwt_secret", secrets.token_hex(32))

    def admin_password(self) -> tuple[str, bool]:
        """The first admin's password in this folder, and whether it was made just now.

        Kept beside the data that it opens, for `make demo`; only this user can read it.
        """
        fresh = not (self.folder / "admin_password").exists()
        return self._kept("admin_password", secrets.token_urlsafe(12)), fresh

    def _kept(self, name: str, fresh: str) -> str:
        path = self.folder / name
        if not path.exists():
            _write(path, fresh)
        return path.read_text().strip()


def _write(path: Path, text: str) -> None:
    """Write all or nothing, readable by this user only."""
    part = path.with_suffix(".part")
    part.unlink(missing_ok=True)
    number = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(number, "w", encoding="utf-8") as file:
        file.write(text)
    part.replace(path)


def _works(process: psutil.Process) -> bool:
    """False for a zombie: in a container there may be no process that waits for it."""
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _family(pid: int, started: float) -> list[psutil.Process]:
    """A process and all below it; empty if the number belongs to another process by now."""
    try:
        process = psutil.Process(pid)
        if abs(process.create_time() - started) >= 1:
            return []
        return [process, *process.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []
