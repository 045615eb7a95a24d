"""The access log: a line per request, many a second, so lines bypass the logging machinery.

Lines of one turn of the event loop are written together; the level and the format are those of the
other logs.
"""

from __future__ import annotations

import asyncio
import logging
import sys
import time
from datetime import UTC, datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import orjson

if TYPE_CHECKING:
    from app.core.context import RequestContext


class AccessLog:
    """Writes to standard output, as JSON or in colours."""

    def __init__(self, *, as_json: bool) -> None:
        self._render = _json if as_json else _coloured
        self._lines: list[bytes] = []

    def write(  # noqa: PLR0913 - the fields of a line
        self,
        request: RequestContext,
        *,
        method: str,
        route: str | None,
        path: str,
        status: int,
        seconds: float,
        size: int,
    ) -> None:
        if not logging.root.isEnabledFor(logging.INFO):
            return
        if not self._lines:
            asyncio.get_running_loop().call_soon(self._flush)
        actor_id = request.actor.id
        fields = {
            "timestamp": _timestamp(),
            "level": "INFO",
            "logger": "listo.access",
            "message": "request",
            "method": method,
            "route": route,
            "path": path,
            "status": status,
            "ms": round(seconds * 1000, 2),
            "bytes": size,
            "user_id": None if actor_id is None else str(actor_id),
            "client": request.client_address,
            "request_id": request.request_id,
            "trace_id": request.trace_id,
        }
        self._lines.append(self._render(fields))

    def _flush(self) -> None:
        lines, self._lines = self._lines, []
        sys.stdout.write(b"".join(lines).decode(errors="replace"))
        sys.stdout.flush()


def _timestamp() -> str:
    now = time.time()
    return f"{_second(int(now))}.{int(now % 1 * 1000):03d}Z"


@lru_cache(maxsize=1)
def _second(second: int) -> str:
    return datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%S")


def _json(fields: dict[str, Any]) -> bytes:
    return orjson.dumps(fields, option=orjson.OPT_APPEND_NEWLINE)


def _coloured(fields: dict[str, Any]) -> bytes:
    status = fields["status"]
    colour = 32 if status < 400 else 33 if status < 500 else 31  # noqa: PLR2004
    # A path can hold characters that a terminal would obey.
    path = "".join(c if c.isprintable() else "?" for c in fields["path"])
    clock = datetime.now().astimezone().strftime("%H:%M:%S")
    return (
        f"\x1b[90m{clock}\x1b[0m \x1b[{colour}m{status}\x1b[0m {fields['method']} {path} "
        f"\x1b[90m{fields['ms']} ms, {fields['bytes']} B, {fields['request_id']}\x1b[0m\n"
    ).encode(errors="replace")
