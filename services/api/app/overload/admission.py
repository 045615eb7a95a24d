"""Decides before any work for a request whether it begins at once, in turn, or not at all."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from functools import partial
from typing import TYPE_CHECKING

from app.core.errors import Overloaded
from app.observability.metrics import (
    CONCURRENCY_LIMIT,
    REQUESTS_IN_PROGRESS,
    REQUESTS_SHED,
    REQUESTS_WAITING,
    observe_request,
    read_from,
)
from app.overload.concurrency import NAMES, Importance, importance_of
from app.route_policy import enter, policy_of

if TYPE_CHECKING:
    from collections.abc import Callable, MutableMapping
    from typing import Any

    from app.overload.concurrency import Concurrency
    from app.overload.queueing import Begin, Refuse
    from app.route_policy import RoutePolicies

    Scope = MutableMapping[str, Any]

logger = logging.getLogger("listo.overload")

# The key of Admission in the server's state, so that the server asks before it makes anything.
ADMISSION_KEY = "listo.admission"
# The keys of admission in a request's scope: the importance, since when the request waited if it
# had to, and the problem that refuses it.
IMPORTANCE_KEY = "listo.importance"
SINCE_KEY = "listo.since"
REFUSED_KEY = "listo.refused"
# The status that RequestMiddleware records for a client that left before its answer.
_GONE = 499
_COUNT_SECONDS = 0.1
_TELL_SECONDS = 1.0
_SHED = tuple(REQUESTS_SHED.labels("concurrency", name) for name in NAMES)


class Admission:
    """Decides on a place for each request, and counts the requests that get none.

    A server with our protocol asks before it makes anything; under others, the middleware asks.
    """

    def __init__(
        self,
        concurrency: Concurrency,
        policies: RoutePolicies,
        room_for_login: Callable[[int], None],
    ) -> None:
        self._concurrency = concurrency
        self._policies = policies
        self._room_for_login = room_for_login
        self._logins = 0
        self._refused = [0] * len(Importance)
        # The refused requests that nothing else counts or logs.
        self.unseen = 0
        read_from(CONCURRENCY_LIMIT, lambda: int(concurrency.limit))
        for number, name in enumerate(NAMES):
            read_from(
                REQUESTS_IN_PROGRESS.labels(name), partial(concurrency.in_work.__getitem__, number)
            )
            read_from(REQUESTS_WAITING.labels(name), partial(concurrency.waiting, number))

    def enter(self, scope: Scope) -> bool:
        """Whether the request goes on at once, if only to be refused; then it has to `leave`."""
        policy = self._policies.policy_at(scope["path"])
        enter(scope, policy)
        if policy.probe:
            return True
        importance = scope[IMPORTANCE_KEY] = importance_of(scope, dict(scope["headers"]))
        if _is_login(scope) and not self._has_room(scope):
            return True
        if not self._concurrency.enter(importance):
            return False
        self._logins += _is_login(scope)
        return True

    def wait(self, scope: Scope, begin: Begin, refuse: Refuse) -> None:
        """Have `begin` or `refuse` called for a request that could not `enter`, maybe at once. If
        `begin` returns true, the request is still there, and has to `leave`."""
        importance = scope[IMPORTANCE_KEY]
        since = scope[SINCE_KEY] = time.perf_counter()
        # A log-in that waits for a place will need a hash as well.
        self._logins += _is_login(scope)

        def begun() -> bool:
            if begin():
                return True
            gone()
            return False

        def refused() -> bool:
            if refuse():
                self._logins -= _is_login(scope)
                self._refused[importance] += 1
                return True
            gone()
            return False

        def gone() -> None:
            self._logins -= _is_login(scope)
            observe_request("none", "none", _GONE, time.perf_counter() - since)

        if not self._concurrency.wait(importance, begun, refused):
            refused()

    async def run(self) -> None:
        """Count and log the refused requests for as long as the process lives: one by one, that
        would cost more than the refusals."""
        told, number = time.monotonic(), 0
        while True:
            try:
                await asyncio.sleep(_COUNT_SECONDS)
            finally:
                number += self._count()
            if number and time.monotonic() > told + _TELL_SECONDS:
                logger.warning("overloaded: %d requests were refused", number)
                told, number = time.monotonic(), 0

    def _count(self) -> int:
        number = sum(self._refused)
        for counter, refused in zip(_SHED, self._refused, strict=True):
            if refused:
                counter.inc(refused)
        for _ in range(self.unseen):
            observe_request("none", "none", Overloaded.status, 0.0)
        self._refused, self.unseen = [0] * len(Importance), 0
        return number

    def leave(self, scope: Scope) -> None:
        if IMPORTANCE_KEY in scope and REFUSED_KEY not in scope:
            self._logins -= _is_login(scope)
            self._concurrency.leave(scope[IMPORTANCE_KEY])

    def _has_room(self, scope: Scope) -> bool:
        try:
            # A flood of log-ins without room for a hash must not even cost its reading.
            self._room_for_login(self._logins)
        except Overloaded as full:
            REQUESTS_SHED.labels("passwords", NAMES[Importance.LOGIN]).inc()
            scope[REFUSED_KEY] = full
            return False
        return True


def retry_after() -> int:
    """Seconds, random so that refused clients come back at different moments."""
    return random.randint(1, 3)  # noqa: S311


def _is_login(scope: Scope) -> bool:
    return scope[IMPORTANCE_KEY] is Importance.LOGIN and policy_of(scope).login
