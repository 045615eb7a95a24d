"""`python -m app.dev`: Ctrl-C is heard from here on, before the rest is imported."""

from __future__ import annotations

import sys

from app.dev import signals

if __name__ == "__main__":
    signals.listen()
    from app.dev.runner import main

    sys.exit(main())
