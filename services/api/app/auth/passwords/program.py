"""The program of a process that hashes passwords: one question per line, one answer per line.

The program imports nothing of the application, so it is small and starts quickly. The process ends
when its input ends; the kernel closes that however the parent ends.
"""

from __future__ import annotations

import json
import os
import signal
import sys

import bcrypt
from argon2 import PasswordHasher, Type
from argon2.exceptions import InvalidHashError, VerificationError

# OWASP Password Storage Cheat Sheet: 19 MiB, two passes, one lane.
HASHER = PasswordHasher(time_cost=2, memory_cost=19 * 1024, parallelism=1, type=Type.ID)
# Hashes of bcrypt come with users from elsewhere: each is verified until its user's first log-in.
_BCRYPT = "$2"
# The niceness of the process that hashes even while all cores are busy: some 3 % of a core.
_NICENESS = 15
SPARE = "spare"


def main() -> None:
    # Requests come before hashing: a flood of log-ins must not slow down reads.
    if sys.argv[1:] == [SPARE]:
        _take_spare_time()
    else:
        os.nice(_NICENESS)
    # Once the reader is gone, SIGPIPE ends the process quietly.
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    for question in sys.stdin.buffer:
        password, hashed = json.loads(question)
        answer = HASHER.hash(password) if hashed is None else _matches(hashed, password)
        sys.stdout.write(f"{json.dumps(answer)}\n")
        sys.stdout.flush()


def _take_spare_time() -> None:
    """Yield to other processes immediately; a nice process keeps the core for milliseconds."""
    try:
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
    except (AttributeError, OSError):
        # Not Linux, or a sandbox that forbids it.
        os.nice(_NICENESS)


def needs_rehash(hashed: str) -> bool:
    """Whether the hash is of another kind, or of other parameters, than new ones."""
    return hashed.startswith(_BCRYPT) or HASHER.check_needs_rehash(hashed)


def _matches(hashed: str, password: str) -> bool:
    if hashed.startswith(_BCRYPT):
        return _matches_bcrypt(hashed, password)
    try:
        return HASHER.verify(hashed, password)
    except (VerificationError, InvalidHashError):
        return False


def _matches_bcrypt(hashed: str, password: str) -> bool:
    try:
        return bcrypt.checkpw(password.encode("utf-8", "surrogatepass"), hashed.encode())
    except ValueError:
        # The password is longer than the 72 bytes that bcrypt reads, or the hash is none.
        return False


if __name__ == "__main__":
    main()
