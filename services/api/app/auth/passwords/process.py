"""A process of low priority that hashes, made with its first password and anew where it was lost.

A thread of low priority would not do: it holds up the event loop's whenever it has the interpreter
but no core. Nor do the pools of multiprocessing: their processes import the main module, which may
be the whole application, and outlive a parent that was killed.
"""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from contextlib import suppress
from typing import Any

from app.auth.passwords import program as hashing
from app.core.errors import Overloaded

logger = logging.getLogger("listo.auth")

# Without the folder of the program, where modules are called as some of the standard library are.
_COMMAND = (sys.executable, "-P", hashing.__file__)


class HashingProcess:
    """Of one thread at a time. One that is `spare` has only the time that nobody else wants."""

    def __init__(self, *, spare: bool) -> None:
        self._arguments = (hashing.SPARE,) if spare else ()
        self._process: subprocess.Popen[bytes] | None = None

    def ask(self, password: str, hashed: str | None) -> Any:
        """Its hash, or where there is one already whether `password` is right."""
        question = json.dumps([password, hashed], ensure_ascii=False).encode() + b"\n"
        for _ in range(2):
            with suppress(OSError):
                if answer := self._answer(question):
                    return json.loads(answer)
            logger.warning("a process that hashes passwords was lost")
            self.close()
        raise Overloaded("Passwords cannot be checked at the moment.")

    def close(self) -> None:
        if self._process is not None:
            with suppress(BrokenPipeError), self._process as process:
                process.kill()
            self._process = None

    def _answer(self, question: bytes) -> bytes:
        """Empty where the process was lost meanwhile."""
        if self._process is None:
            self._process = subprocess.Popen(  # noqa: S603 - our own arguments
                (*_COMMAND, *self._arguments),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                # Ctrl-C is the server's, which closes this one in turn.
                process_group=0,
            )
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None
        assert stdout is not None
        stdin.write(question)
        stdin.flush()
        return stdout.readline()
