"""The policy of a route, for all code that decides before the route runs.

    @router.post("/login")
    @RoutePolicy(login=True, keyed=False)
    async def login(…): …

The policy holds for all methods of the route's path.
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


def _cost_of_one(_query: bytes, _length: bytes | None) -> int:
    return 1


@dataclass(frozen=True, slots=True, kw_only=True)
class RoutePolicy:
    """`probe`: answers when nothing else does, so place, time and size are not checked.
    `public`: the same for all callers; credentials are ignored, and requests not counted.
    `login`: each request hashes a password.
    `keyed`: an idempotency key takes effect.
    `long`: may take longer than REQUEST_TIMEOUT, and bounds its own time.
    `file`: takes a body of up to MAX_IMPORT_BYTES, compressed or not, as it arrives.
    `per_session`: counted by session, so that other sessions of the user cannot use up its limit.
    `cost`: the upper bound of a request's cost, by its query and its Content-Length.
    """

    probe: bool = False
    public: bool = False
    login: bool = False
    keyed: bool = True
    long: bool = False
    file: bool = False
    per_session: bool = False
    cost: Callable[[bytes, bytes | None], int] = _cost_of_one

    def __call__(self, endpoint: Endpoint) -> Endpoint:
        """Declares the endpoint's policy, below the decorator that makes it a route."""
        setattr(endpoint, _ATTRIBUTE, self)
        return endpoint


DEFAULT = RoutePolicy()


def inherit_policy(whole: object, endpoint: object) -> None:
    """Give `whole`, which calls the endpoint, the endpoint's policy if there is one."""
    policy = getattr(endpoint, _ATTRIBUTE, None)
    if policy is not None:
        setattr(whole, _ATTRIBUTE, policy)


class RoutePolicies:
    """The policies of an application's routes, looked up by path before the framework routes."""

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
        """The policy of a path, or of a path's template."""
        exact = self._exact.get(path)
        if exact is not None:
            return exact
        for pattern, policy in self._patterns.items():
            if pattern.match(path):
                return policy
        return DEFAULT


def attach_policy(scope: MutableMapping[str, Any], policy: RoutePolicy) -> None:
    scope[_KEY] = policy


def policy_of(scope: MutableMapping[str, Any]) -> RoutePolicy:
    """The policy of the request's path."""
    policy: RoutePolicy = scope.get(_KEY, DEFAULT)
    return policy
