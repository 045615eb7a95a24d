"""Signals like Ctrl-C: recorded when they arrive, acted on between two steps.

An exception from a signal handler would break off the code that runs just then.
"""

from __future__ import annotations

import signal

_NUMBERS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_received: list[int] = []


class Stopped(Exception):
    """A signal asks us to stop."""


def listen() -> None:
    """Record signals from now on."""
    for number in _NUMBERS:
        # Under nohup SIGHUP is ignored, and stays so.
        if number != signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, lambda received, _: _received.append(received))


def received() -> bool:
    """Whether a signal has arrived."""
    return bool(_received)


def check() -> None:
    """Raises Stopped if a signal has arrived."""
    if _received:
        raise Stopped
