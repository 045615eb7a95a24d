"""What a route says of itself, to all that decide before it runs.

    @router.post("/login")
    @RoutePolicy(login=True, keyed=False)
    async def login(…): …

It holds for all methods of the route's path.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    import re
    from collections.abc import Callable, Iterable, MutableMapping

    Endpoint = TypeVar("Endpoint", bound=Callable[..., Any])

_ATTRIBUTE = "__route_policy__"
_KEY = "listo.route_policy"


def _one(_query: bytes, _length: bytes | None) -> int:
    return 1


@dataclass(frozen=True, slots=True, kw_only=True)
class RoutePolicy:
    """`probe`: answers when nothing else does, so no place, time or size is asked for.
    `public`: the same for everybody; credentials are not looked at, and requests not counted.
    `login`: a request has a password hashed, whoever sends it.
    `keyed`: an idempotency key means something.
    `per_session`: counted by session, which nobody can use up who has another one of the user.
    `cost`: the most that a request may count for, told from its query and its Content-Length.
    """

    probe: bool = False
    public: bool = False
    login: bool = False
    keyed: bool = True
    per_session: bool = False
    cost: Callable[[bytes, bytes | None], int] = _one

    def __call__(self, endpoint: Endpoint) -> Endpoint:
        """Declares the endpoint's policy, below the decorator that makes it a route."""
        setattr(endpoint, _ATTRIBUTE, self)
        return endpoint


DEFAULT = RoutePolicy()


class RoutePolicies:
    """Of all routes of an application, looked up by path before any route is looked for."""

    def __init__(self) -> None:
        self._exact: dict[str, RoutePolicy] = {}
        self._patterns: dict[re.Pattern[str], RoutePolicy] = {}

    def add(self, routes: Iterable[Any]) -> None:
        """Raises ValueError where routes of one path have different policies."""
        for route in routes:
            policy = getattr(getattr(route, "endpoint", None), _ATTRIBUTE, None)
            if policy is None:
                continue
            known: dict[Any, RoutePolicy] = self._patterns if "{" in route.path else self._exact
            path = route.path_regex if "{" in route.path else route.path
            if known.setdefault(path, policy) != policy:
                raise ValueError(f"routes of {route.path} have different policies")

    def policy_at(self, path: str) -> RoutePolicy:
        """The policy of a path, or of the template of one."""
        exact = self._exact.get(path)
        if exact is not None:
            return exact
        for pattern, policy in self._patterns.items():
            if pattern.match(path):
                return policy
        return DEFAULT


def enter(scope: MutableMapping[str, Any], policy: RoutePolicy) -> None:
    scope[_KEY] = policy


def policy_of(scope: MutableMapping[str, Any]) -> RoutePolicy:
    """Of the request's path."""
    policy: RoutePolicy = scope.get(_KEY, DEFAULT)
    return policy
