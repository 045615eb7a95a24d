"""Users: requests that admins alone may send, by each caller."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bench.answers.asker import MISSING, PASSWORD

if TYPE_CHECKING:
    from bench.answers.asker import Asker

NEW_USERS: tuple[Any, ...] = (
    {"email": "eve@example.com", "password": PASSWORD, "name": "Eve", "roles": ["editor"]},
    {"email": "eve@example.com", "password": PASSWORD},
    {"email": "frank@example.com", "password": PASSWORD, "roles": []},
    {"email": "grace@example.com", "password": PASSWORD, "roles": ["admin", "member", "admin"]},
    {"email": "heidi@example.com"}, {"email": "heidi@example.com", "password": None},
    {"email": "heidi@example.com", "password": "short"}, {"email": "no", "password": PASSWORD},
    {"email": "heidi@example.com", "password": PASSWORD, "roles": ["Not A Role"]},
    {"email": "heidi@example.com", "password": PASSWORD, "roles": ["r"] * 21},
    {"email": "heidi@example.com", "password": PASSWORD, "roles": "admin"},
    {"email": "heidi@example.com", "password": PASSWORD, "disabled": True}, {}, [], None,
)  # fmt: skip
PATCHES: tuple[Any, ...] = (
    {"name": "Eve E."}, {"name": None}, {"name": ""}, {"roles": ["editor", "member"]},
    {"roles": None}, {"roles": ["x y"]}, {"password": PASSWORD}, {"disabled": "yes"},
    {"disabled": None}, {"email": "x@example.com"}, {}, [], None, {"name": 5, "roles": 5},
)  # fmt: skip


def ask(ask: Asker) -> None:
    for body in NEW_USERS:
        for caller in ("", "ada", "admin"):
            made = ask("POST", "/users", body, by=caller)
            if made.id != MISSING:
                ask.handed_on[f"user {made.get('email')}"] = made.id
    _lists(ask)
    eve = f"/users/{ask.handed_on.get('user eve@example.com', MISSING)}"
    for caller in ("", "ada", "admin"):
        for target in (eve, f"/users/{MISSING}", "/users/x"):
            ask("GET", target, by=caller)
            ask("PATCH", target, {"name": "E"}, by=caller)
            ask("GET", f"{target}/removal", by=caller)
    ask.log_in("eve", "eve@example.com")
    for body in PATCHES:
        ask("PATCH", eve, body, by="admin")
    ask("GET", "/auth/me", by="eve")
    _disabling(ask, eve)
    _roles(ask)
    _removals(ask, eve)


def _lists(ask: Asker) -> None:
    page = ask("GET", "/users?limit=3", by="admin")
    # The number of requests is fixed, so that later requests have the same place in both runs.
    for _ in range(4):
        page = ask("GET", f"/users?limit=3&cursor={page.get('next')}", by="admin")
    for more in ("", "?limit=0", "?limit=501", "?limit=x", "?cursor=x", f"?cursor={MISSING}",
                 "?cursor=", "?other=1", "?limit=1&limit=2"):  # fmt: skip
        for caller in ("", "ada", "admin"):
            ask("GET", f"/users{more}", by=caller)


def _disabling(ask: Asker, target: str) -> None:
    key = ask("POST", "/auth/api-keys", {"name": "k", "scopes": ["records:read"]}, by="eve")
    ask.tokens["eve's key"] = key.get("key")
    for disabled in (True, False):
        ask("PATCH", target, {"disabled": disabled}, by="admin")
        for caller in ("eve", "eve's key"):
            ask("GET", "/auth/me", by=caller)
        ask.log_in("eve again", "eve@example.com")
    ask("GET", "/auth/api-keys", by="eve again")


def _roles(ask: Asker) -> None:
    """A role that comes and goes, and the last admin."""
    grace = f"/users/{ask.handed_on.get('user grace@example.com', MISSING)}"
    ask.log_in("grace", "grace@example.com")
    ask("GET", "/users?limit=1", by="grace")
    ask("PATCH", grace, {"roles": ["member"]}, by="grace")
    ask("GET", "/users?limit=1", by="grace")
    first = f"/users/{ask('GET', '/auth/me', by='admin').id}"
    ask("PATCH", first, {"roles": []}, by="admin")
    ask("PATCH", first, {"disabled": True}, by="admin")
    ask("DELETE", f"{first}?records=keep", by="admin")
    ask("PATCH", grace, {"roles": ["admin"]}, by="admin")
    ask("DELETE", f"{first}?records=keep", by="grace")
    ask("DELETE", f"{grace}?records=keep", by="grace")


def _removals(ask: Asker, target: str) -> None:
    made = ask("POST", "/collections/loose/records", {"count": 1}, by="eve again")
    for more in ("", "?records=", "?records=all", "?records=keep&records=delete"):
        ask("DELETE", f"{target}{more}", by="admin")
    for caller in ("", "ada", "admin", "admin"):
        ask("DELETE", f"{target}?records=keep", by=caller)
    ask("GET", "/auth/me", by="eve again")
    ask("GET", f"/collections/loose/records/{made.id}")
    frank = f"/users/{ask.handed_on.get('user frank@example.com', MISSING)}"
    ask("DELETE", f"{frank}?records=delete", by="admin")
    for caller in ("", "ada", "admin"):
        ask("GET", f"{frank}/removal", by=caller)
        ask("GET", frank, by=caller)
    # The address is free again.
    for _ in range(2):
        ask("POST", "/users", NEW_USERS[0], by="admin")
