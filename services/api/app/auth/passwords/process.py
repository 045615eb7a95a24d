"""A low-priority process that hashes: started for its first password, restarted if lost.

A thread of low priority would hold up the event loop whenever it has the interpreter but no core.
The processes of multiprocessing's pools import the main module, which may be the whole application,
and outlive a parent that was killed.
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

# `-P` leaves out the program's folder, whose modules may hide those of the standard library.
_COMMAND = (sys.executable, "-P", hashing.__file__)


class HashingProcess:
    """Serves one thread at a time. A `spare` process gets only time that no other wants."""

    def __init__(self, *, spare: bool) -> None:
        self._arguments = (hashing.SPARE,) if spare else ()
        self._process: subprocess.Popen[bytes] | None = None

    def ask(self, password: str, hashed: str | None) -> Any:
        """The hash of `password`; with `hashed`, whether `password` fits that hash."""
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
        """The answer; empty if the process was lost meanwhile."""
        if self._process is None:
            self._process = subprocess.Popen(  # noqa: S603 - our own arguments
                (*_COMMAND, *self._arguments),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                # Ctrl-C reaches only the server, which then closes this process.
                process_group=0,
            )
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None
        assert stdout is not None
        stdin.write(question)
        stdin.flush()
        return stdout.readline()
