"""Checks records without holding up other requests.

A record that surely takes little time is checked inline, any other record by a separate process,
which is ended if the record takes longer than its size allows. A thread could not be stopped, and
the validator keeps the interpreter to itself.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import app
from app.collections.errors import CheckTooCostly
from app.collections.json_schema.validator import unexplained
from app.core.errors import FieldError, Overloaded

if TYPE_CHECKING:
    from app.collections.models import Collection

logger = logging.getLogger("listo.collections")

# Records up to this cost are checked inline; nanoseconds, as `RecordValidator.cost` estimates.
AT_ONCE = 5_000_000
# Before a check that may take longer than this, other requests get a turn, also within a batch.
_TURN_AFTER = 500_000
# How many records may wait for the process.
_QUEUE = 8
# Seconds until the process is killed, even if it got little processor time.
_PATIENCE = 30.0
_ENDED_FOR_COST = {-signal.SIGPROF, -signal.SIGSEGV, -signal.SIGABRT}


async def faults(collection: Collection, data: Any, text: str) -> list[FieldError]:
    """The errors of a record, empty if it is valid; `text` is `data` as JSON.

    Raises CheckTooCostly (422), Overloaded (503).
    """
    validator = collection.validator
    cost = validator.cost(text)
    if cost <= AT_ONCE:
        if cost > _TURN_AFTER:
            await asyncio.sleep(0)
        if validator.is_valid(data, text):
            return []
        if validator.cost(text, faults=True) <= AT_ONCE:
            return validator.errors(data, text)
    return await beside.ask(collection.definition.schema, text)


def is_surely_valid(collection: Collection, data: Any) -> bool:
    """Whether the record is quick to check, and valid."""
    text = json.dumps(data)
    validator = collection.validator
    return validator.cost(text) <= AT_ONCE and validator.is_valid(data, text)


def close() -> None:
    beside.close()


class _Beside:
    """The process: started when first needed, restarted if lost; it gets one question at a time."""

    def __init__(self) -> None:
        self.process: subprocess.Popen[bytes] | None = None
        self._thread: ThreadPoolExecutor | None = None
        self._pending = 0

    async def ask(self, schema: dict[str, Any], text: str) -> list[FieldError]:
        if self._pending >= _QUEUE:
            raise Overloaded("Too many large records are being checked at the moment.")
        if self._thread is None:
            # The thread only waits for the process.
            self._thread = ThreadPoolExecutor(1, "check")
        self._pending += 1
        try:
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(self._thread, self._ask, schema, text)
        finally:
            self._pending -= 1

    def close(self) -> None:
        if self._thread is not None:
            self._end()
            self._thread.shutdown(cancel_futures=True)
            self._thread = None
        self._end()

    def _ask(self, schema: dict[str, Any], text: str) -> list[FieldError]:
        for _ in range(2):
            with suppress(OSError):
                valid, fault_line = self._answer(json.dumps(schema).encode(), text.encode())
                if valid == b"true\n":
                    return []
                if fault_line:
                    return [FieldError(*fault) for fault in json.loads(fault_line)]
            code = self._end()
            if code in _ENDED_FOR_COST:
                if valid:
                    return [unexplained("saying where takes too long")]
                raise CheckTooCostly
            logger.warning("a process that checks records was lost")
        raise Overloaded("Large records cannot be checked at the moment.")

    def _answer(self, schema: bytes, record: bytes) -> tuple[bytes, bytes]:
        """The two lines of the process' answer, as far as they arrived."""
        process = self.process
        if process is None:
            process = self.process = _start()
        stdin, stdout = process.stdin, process.stdout
        assert stdin is not None
        assert stdout is not None
        patience = threading.Timer(_PATIENCE, process.kill)
        patience.start()
        try:
            stdin.write(b"%d %d\n%s%s" % (len(schema), len(record), schema, record))
            stdin.flush()
            valid = stdout.readline()
            return valid, stdout.readline() if valid == b"false\n" else b""
        finally:
            patience.cancel()

    def _end(self) -> int | None:
        """End the process if it still runs; returns its exit status."""
        process, self.process = self.process, None
        if process is None:
            return None
        with suppress(BrokenPipeError), process:
            with suppress(subprocess.TimeoutExpired):
                return process.wait(0.1)
            process.kill()
        return process.returncode


def _start() -> subprocess.Popen[bytes]:
    # Find the program where this process found its code, not in the working folder.
    code_folder = str(Path(app.__file__).parents[1])
    return subprocess.Popen(
        (sys.executable, "-P", "-m", "app.collections.checking.program"),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": code_folder},
        # Ctrl-C reaches only the server, which then closes this process.
        process_group=0,
    )


beside = _Beside()
