"""Python's collector of circular garbage, which by default stops a busy process for half a second.

It looks at all that lives each time when what is new has grown by a quarter: code, schemas and
routes, which stay, and with many requests in work all of these.
"""

from __future__ import annotations

import gc
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

# Of objects that are new, how many make it look at these: a request in work has some hundreds.
THRESHOLD = 20_000


@contextmanager
def sparing() -> Iterator[None]:
    """Leave what lives now out of it, and look at the rest less often."""
    before = gc.get_threshold()
    gc.collect()
    gc.freeze()
    gc.set_threshold(THRESHOLD, *before[1:])
    try:
        yield
    finally:
        gc.set_threshold(*before)
        gc.unfreeze()
