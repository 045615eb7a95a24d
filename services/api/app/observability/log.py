"""Logs: a JSON object per line, or readable colours on a terminal. No line holds secrets."""

from __future__ import annotations

import logging
import re
import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, ClassVar

from pythonjsonlogger.orjson import OrjsonFormatter

from app.core import context

if TYPE_CHECKING:
    from app.core.settings import Settings

# The second line of defence; the first is that bodies, headers and query strings are not logged.
_SECRETS = re.compile(
    r"(?i)(bearer\s+|(?:password|secret|token|authorization|cookie)\"?'?\s*[=:]\s*\"?'?)[^\s\"',}]+"
    r"|\b(lk_|lr_|eyJ)[\w.-]{8,}"
    r"|(://[^:/\s]*:)[^@/\s]+(?=@)"
)


def redact(text: str) -> str:
    """`text` with [redacted] in place of all parts that look like credentials."""
    return _SECRETS.sub(lambda match: f"{match[1] or match[3] or ''}[redacted]", text)


class _Context(logging.Filter):
    """Adds the request's ids to each line, and takes secrets out of the line."""

    def filter(self, record: logging.LogRecord) -> bool:
        if (request := context.current()) is not None:
            record.request_id = request.request_id
            record.trace_id = request.trace_id
        record.msg, record.args = redact(record.getMessage()), None
        return True


class _GivenUp(logging.Filter):
    """Drops asyncio's line about a connection to PostgreSQL that was abandoned before it opened.

    asyncpg reports the connection's end to an abandoned future, and nothing has failed.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        error = record.exc_info[1] if record.exc_info else None
        return not (
            isinstance(error, ConnectionError) and str(error) == "unexpected connection_lost() call"
        )


class _JsonFormatter(OrjsonFormatter):
    def add_fields(
        self, log_data: dict[str, Any], record: logging.LogRecord, message_dict: dict[str, Any]
    ) -> None:
        super().add_fields(log_data, record, message_dict)
        log_data.pop("color_message", None)

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:  # noqa: ARG002, N802
        stamp = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        return stamp.replace("+00:00", "Z")

    def formatException(self, ei: Any) -> str:  # noqa: N802
        return redact(str(super().formatException(ei)))


class _ColourFormatter(logging.Formatter):
    _COLOURS: ClassVar = {"DEBUG": 90, "INFO": 36, "WARNING": 33, "ERROR": 31, "CRITICAL": 35}

    def format(self, record: logging.LogRecord) -> str:
        clock = datetime.fromtimestamp(record.created).astimezone().strftime("%H:%M:%S")
        colour = self._COLOURS.get(record.levelname, 0)
        level = f"\x1b[{colour}m{record.levelname:<7}\x1b[0m"
        line = f"\x1b[90m{clock}\x1b[0m {level} {record.getMessage()} \x1b[90m{record.name}\x1b[0m"
        if record.exc_info:
            line += "\n" + redact(self.formatException(record.exc_info))
        return line


def in_json(settings: Settings) -> bool:
    """Whether lines are JSON: as JSON_LOGGING says; by default, unless on a terminal."""
    return not sys.stdout.isatty() if settings.json_logging is None else settings.json_logging


def configure(settings: Settings) -> None:
    """Send every logger of this process through one handler on standard output."""
    handler = logging.StreamHandler(sys.stdout)
    handler.addFilter(_Context())
    handler.setFormatter(
        _JsonFormatter(
            ["asctime", "levelname", "name", "message"],
            rename_fields={"asctime": "timestamp", "levelname": "level", "name": "logger"},
        )
        if in_json(settings)
        else _ColourFormatter()
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel("DEBUG" if settings.debug else settings.log_level)
    for name in ("uvicorn", "uvicorn.error", "uvicorn.asgi", "gunicorn.error", "asyncio"):
        logger = logging.getLogger(name)
        logger.handlers[:] = []
        logger.propagate = True
        # uvicorn sets INFO, whatever LOG_LEVEL says.
        if logger.level < root.level:
            logger.setLevel(logging.NOTSET)
    # Listo's access line tells more, and knows the route.
    for name in ("uvicorn.access", "gunicorn.access"):
        logging.getLogger(name).handlers[:] = []
        logging.getLogger(name).propagate = False
    logging.getLogger("asyncio").filters[:] = [_GivenUp()]
    logging.getLogger("httpx").setLevel(logging.WARNING)
