"""The program of the process that checks slow records: the process can be ended at any time.

A question is a line with two lengths, then the schema and the record, both JSON. The answer is a
line with `true` or `false`, and after `false` a line with the errors. The kernel ends the process
if a question takes more processor time than its size allows, without help of our code.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from contextlib import suppress
from functools import lru_cache
from typing import Any

from app.collections.json_schema.validator import RecordValidator
from app.core.json import parse_stored

_NICENESS = 5
# Seconds of processor time: for the largest schema, for any record, and per byte of the record.
_COMPILING, _CHECKING, _PER_BYTE = 5.0, 0.25, 1e-6


def main() -> None:
    os.nice(_NICENESS)
    with suppress(OSError):
        # If memory runs out, the kernel ends this process before the processes that serve.
        with open("/proc/self/oom_score_adj", "w") as file:  # noqa: PTH123 - of the kernel
            file.write("1000")
    # Once the reader is gone, SIGPIPE ends the process quietly.
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    signal.signal(signal.SIGPROF, signal.SIG_DFL)
    while lengths := sys.stdin.buffer.readline().split():
        schema, record = (sys.stdin.buffer.read(int(length)).decode() for length in lengths)
        signal.setitimer(signal.ITIMER_PROF, _COMPILING)
        validator = _validator(schema)
        signal.setitimer(signal.ITIMER_PROF, _CHECKING + _PER_BYTE * len(record))
        value = parse_stored(record)
        valid = validator.is_valid(value, record)
        _say(valid)
        if not valid:
            _say([[e.pointer, e.message, e.code] for e in validator.errors(value, record)])
        signal.setitimer(signal.ITIMER_PROF, 0)


@lru_cache(maxsize=8)
def _validator(schema: str) -> RecordValidator:
    return RecordValidator(json.loads(schema))


def _say(answer: Any) -> None:
    sys.stdout.write(f"{json.dumps(answer)}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
