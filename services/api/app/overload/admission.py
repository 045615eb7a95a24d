"""Decides, before any work for a request, whether it begins immediately, in turn or never."""

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
from app.route_policy import attach_policy, policy_of

if TYPE_CHECKING:
    from collections.abc import Callable, MutableMapping
    from typing import Any

    from app.overload.concurrency import Concurrency
    from app.overload.queueing import Begin, Refuse
    from app.route_policy import RoutePolicies

    Scope = MutableMapping[str, Any]

logger = logging.getLogger("listo.overload")

# The key of Admission in the server's state, where `Protocol` finds it.
ADMISSION_KEY = "listo.admission"
# Keys in a request's scope: its importance, the time at which its wait began, and the problem that
# refuses it.
IMPORTANCE_KEY = "listo.importance"
SINCE_KEY = "listo.since"
REFUSED_KEY = "listo.refused"
# The status that RequestMiddleware records for a client that left before its answer.
_GONE = 499
_COUNT_SECONDS = 0.1
_LOG_SECONDS = 1.0
_SHED = tuple(REQUESTS_SHED.labels("concurrency", name) for name in NAMES)


class Admission:
    """Decides on a place for each request, and counts the requests that get none.

    `Protocol` asks before a request has a task; under other servers, the middleware asks.
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
        self.unrecorded_refusals = 0
        read_from(CONCURRENCY_LIMIT, lambda: int(concurrency.limit))
        for number, name in enumerate(NAMES):
            read_from(
                REQUESTS_IN_PROGRESS.labels(name), partial(concurrency.in_work.__getitem__, number)
            )
            read_from(REQUESTS_WAITING.labels(name), partial(concurrency.waiting, number))

    def enter(self, scope: Scope) -> bool:
        """Whether the request begins now, if only to be refused; if so, it must `leave`."""
        policy = self._policies.policy_at(scope["path"])
        attach_policy(scope, policy)
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
        """Call `begin` or `refuse`, now or later, for a request that could not `enter`. If `begin`
        returns true, the client is still there, and the request must `leave`."""
        importance = scope[IMPORTANCE_KEY]
        since = scope[SINCE_KEY] = time.perf_counter()
        # A log-in that waits for a place will need a hash as well.
        self._logins += _is_login(scope)

        def on_turn() -> bool:
            if begin():
                return True
            count_gone()
            return False

        def on_refusal() -> bool:
            if refuse():
                self._logins -= _is_login(scope)
                self._refused[importance] += 1
                return True
            count_gone()
            return False

        def count_gone() -> None:
            self._logins -= _is_login(scope)
            observe_request("none", "none", _GONE, time.perf_counter() - since)

        if not self._concurrency.wait(importance, on_turn, on_refusal):
            on_refusal()

    async def run(self) -> None:
        """Count and log refused requests for as long as the process lives, in batches: one by one,
        they would cost more to count and log than to refuse."""
        logged_at, number = time.monotonic(), 0
        while True:
            try:
                await asyncio.sleep(_COUNT_SECONDS)
            finally:
                number += self._count()
            if number and time.monotonic() > logged_at + _LOG_SECONDS:
                logger.warning("overloaded: %d requests were refused", number)
                logged_at, number = time.monotonic(), 0

    def _count(self) -> int:
        number = sum(self._refused)
        for counter, refused in zip(_SHED, self._refused, strict=True):
            if refused:
                counter.inc(refused)
        for _ in range(self.unrecorded_refusals):
            observe_request("none", "none", Overloaded.status, 0.0)
        self._refused, self.unrecorded_refusals = [0] * len(Importance), 0
        return number

    def leave(self, scope: Scope) -> None:
        if IMPORTANCE_KEY in scope and REFUSED_KEY not in scope:
            self._logins -= _is_login(scope)
            self._concurrency.leave(scope[IMPORTANCE_KEY])

    def _has_room(self, scope: Scope) -> bool:
        try:
            # Without room for a hash, a flood of log-ins is refused before its bodies are read.
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
