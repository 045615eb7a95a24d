"""Route policies: how a route declares one, and which paths have it."""

from __future__ import annotations

import pytest
from fastapi import APIRouter

from app.route_policy import DEFAULT, RoutePolicies, RoutePolicy

PROBE = RoutePolicy(probe=True)
COSTLY = RoutePolicy(cost=lambda _query, _length: 7)


async def plain() -> None: ...


@PROBE
async def probe() -> None: ...


@COSTLY
async def costly() -> None: ...


def policies() -> RoutePolicies:
    router = APIRouter(prefix="/shelf")
    router.get("/health")(probe)
    router.get("/{book}/pages")(costly)
    router.post("/{book}/pages")(plain)
    found = RoutePolicies()
    found.add(router.routes)
    return found


@pytest.mark.parametrize(
    ("path", "policy"),
    [
        ("/shelf/health", PROBE),
        ("/shelf/healthcare", DEFAULT),
        ("/shelf/health/more", DEFAULT),
        ("/health", DEFAULT),
        ("/shelf/emma/pages", COSTLY),
        ("/shelf/{book}/pages", COSTLY),
        ("/shelf/emma/pages/1", DEFAULT),
    ],
)
def test_a_policy_holds_for_whole_paths(path: str, policy: RoutePolicy) -> None:
    assert policies().policy_at(path) is policy


def test_routes_of_one_path_have_one_policy() -> None:
    router = APIRouter()
    router.get("/both")(probe)
    router.post("/both")(costly)
    with pytest.raises(ValueError, match="/both"):
        RoutePolicies().add(router.routes)
