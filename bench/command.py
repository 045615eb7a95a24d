"""Commands that take long end in an orderly way, and tell how far they are."""

from __future__ import annotations

import signal
import sys
from typing import NoReturn

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
INTERRUPTED = 130


def interruptible() -> None:
    """Turn the first signal to stop into KeyboardInterrupt, so that what was started is ended."""
    for number in _SIGNALS:
        signal.signal(number, _interrupted)


def _interrupted(*_: object) -> NoReturn:
    """Stop once: later signals leave servers and files to be cleaned up in peace."""
    for number in _SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    raise KeyboardInterrupt


def progress(text: str) -> None:
    """Tell in a line of the terminal how far the command is; the next line takes its place."""
    if sys.stderr.isatty():
        sys.stderr.write(f"\r\033[K{text}")
        sys.stderr.flush()


def line(text: str) -> None:
    """Print a line of the result."""
    progress("")
    print(text, flush=True)
