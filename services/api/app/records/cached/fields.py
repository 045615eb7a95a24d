"""Header fields on how an answer from a cache was served."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from app.caching.coherent import Served


def fields_of(served: Served[Any]) -> dict[str, str]:
    """`Age` (RFC 9111) and `Cache-Status` (RFC 9211)."""
    match served.outcome:
        case "hit" | "stale":
            status = f"hit; ttl={int(served.left)}"
        case "collapsed":
            status = "fwd=miss; collapsed"
        case "miss" if served.stored:
            status = "fwd=miss; stored"
        case _:
            status = f"fwd={served.outcome}"
    fields = {"Cache-Status": f"listo; {status}"}
    if served.outcome in ("hit", "stale"):
        fields["Age"] = str(int(served.age))
    return fields
