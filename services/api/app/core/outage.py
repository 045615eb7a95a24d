"""Redis is away: told in one line, counted per call, and not waited for on every request."""

from __future__ import annotations

import logging
import time

from app.core.metrics import REDIS_FALLBACKS

logger = logging.getLogger("listo.redis")

# How long Redis is left alone after a fault.
RETRY_SECONDS = 1.0


class RedisOutage:
    """`user` is a word for the metric and the log, `consequence` says how it goes on without."""

    def __init__(self, user: str, consequence: str) -> None:
        self._user = user
        self._consequence = consequence
        self._fallbacks = REDIS_FALLBACKS.labels(user)
        self._away = False
        self._retry_at = 0.0

    def skips(self) -> bool:
        """Whether to go on without Redis, which is counted; now and then one caller has to try."""
        if not self._away:
            return False
        now = time.monotonic()
        if now >= self._retry_at:
            self._retry_at = now + RETRY_SECONDS
            return False
        self._fallbacks.inc()
        return True

    def note_fault(self, error: Exception, calls: int = 1) -> None:
        self._fallbacks.inc(calls)
        self._retry_at = time.monotonic() + RETRY_SECONDS
        if not self._away:
            self._away = True
            reason = str(error) or type(error).__name__
            logger.warning(
                "Redis is away from the %s, %s: %s", self._user, self._consequence, reason
            )

    def note_answer(self) -> None:
        if self._away:
            self._away = False
            logger.info("Redis is back for the %s", self._user)
