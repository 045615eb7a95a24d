"""The routes of a path, whatever the method of the request in hand."""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.routing import Match

if TYPE_CHECKING:
    from starlette.types import Scope

# The methods that a route can have; metrics take only these as the label `method`.
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")


def is_routed(scope: Scope) -> bool:
    """Whether there is a route for this path and method."""
    # A copy, since matching leaves notes in the scope.
    asked = dict(scope)
    return any(route.matches(asked)[0] is Match.FULL for route in scope["app"].routes)


def methods_of(scope: Scope) -> list[str]:
    """The methods that are answered at this path, if it has a route."""
    routed = {method for method in METHODS if is_routed({**scope, "method": method})}
    # Every GET has its HEAD, and OPTIONS tells a client all methods.
    implied = {"HEAD", "OPTIONS"} if "GET" in routed else {"OPTIONS"}
    return [method for method in METHODS if method in routed | implied]
