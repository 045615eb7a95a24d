"""Python's collector of circular garbage, which by default stops a busy process for half a second.

The collector looks at all live objects whenever their number has grown by a quarter: at code,
schemas and routes, which stay, and at the objects of all requests in work.
"""

from __future__ import annotations

import gc
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

# The number of new objects at which the collector looks at them; a request in work has hundreds.
THRESHOLD = 20_000


@contextmanager
def sparing() -> Iterator[None]:
    """Exempt present objects from collection, and collect the rest less often."""
    before = gc.get_threshold()
    gc.collect()
    gc.freeze()
    gc.set_threshold(THRESHOLD, *before[1:])
    try:
        yield
    finally:
        gc.set_threshold(*before)
        gc.unfreeze()
