"""API keys: their making, their powers, their limits and their end."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bench.answers.asked.records import record
from bench.answers.asker import MISSING, PASSWORD, query

if TYPE_CHECKING:
    from bench.answers.asker import Asker

READ, WRITE = "records:read", "records:write"
BODIES: tuple[Any, ...] = (
    {"name": "x", "scopes": []}, {"name": "x", "scopes": ["all"]}, {"name": "x"}, {}, [], None,
    {"scopes": [READ]}, {"name": "", "scopes": [READ]}, {"name": "x" * 201, "scopes": [READ]},
    {"name": "x", "scopes": ["users:admin"]}, {"name": "x", "scopes": READ},
    {"name": "x", "scopes": [READ], "expires_at": "2001-01-01T00:00:00Z"},
    {"name": "x", "scopes": [READ], "expires_at": "2099-01-01T00:00:00"},
    {"name": "x", "scopes": [READ], "expires_at": "9999-12-31T23:59:59-23:00"},
    {"name": "x", "scopes": [READ], "expires_at": "never"},
    {"name": "x", "scopes": [READ], "collections": []},
    {"name": "x", "scopes": [READ], "collections": ["nothing", "closed"]},
    {"name": "x", "scopes": [READ], "collections": ["A b"]},
    {"name": "x", "scopes": ["users:admin"], "collections": ["books"]},
    {"name": "x", "scopes": [READ], "rate_limit": "5"},
    {"name": "x", "scopes": [READ], "rate_limit": "off"},
    {"name": "x", "scopes": [READ], "rate_limit": "9000/minute"},
    {"name": "x", "scopes": [READ], "rate_limit": "1/2 days"},
    {"name": "x", "scopes": [READ], "rate_limit": "1/second, 2/minute, 3/hour, 4/day"},
    {"name": "x", "scopes": [READ], "rate_limit": None, "more": 1},
)  # fmt: skip
KEYS: tuple[tuple[str, str, dict[str, Any]], ...] = (
    ("reader", "ada", {"scopes": [READ]}),
    ("writer", "ada", {"scopes": [WRITE]}),
    ("of books", "ada", {"scopes": [READ, WRITE], "collections": ["books"]}),
    ("limited", "ada", {"scopes": [READ, WRITE], "rate_limit": "80/day",
                        "expires_at": "2099-01-01T01:00:00+01:00"}),
    ("definer", "admin", {"scopes": ["collections:admin"]}),
    ("of users", "admin", {"scopes": ["users:admin"]}),
    ("all scopes", "admin", {"scopes": [READ, WRITE, "collections:admin", "webhooks:admin",
                                    "users:admin"], "rate_limit": "off"}),
)  # fmt: skip
BOOKS = "/collections/books/records"


def ask(ask: Asker) -> None:
    for body in BODIES:
        for caller in ("", "ada", "admin"):
            made = ask("POST", "/auth/api-keys", body, by=caller)
            ask("DELETE", f"/auth/api-keys/{made.id}", by=caller)
    for name, caller, body in KEYS:
        made = ask("POST", "/auth/api-keys", {"name": name, **body}, by=caller)
        ask.tokens[name] = made.get("key")
        ask.handed_on[f"key {name}"] = made.id
    for caller in ("ada", "bob", "admin", "", "reader"):
        ask("GET", "/auth/api-keys", by=caller)
    for name, _, _ in KEYS:
        _powers(ask, name)
    _costs(ask)
    _users(ask)
    for caller in ("", "bob", "reader", "ada", "ada"):
        ask("DELETE", f"/auth/api-keys/{ask.handed_on['key reader']}", by=caller)
    ask("GET", BOOKS, by="reader")
    for _ in range(12):
        ask("POST", "/auth/api-keys", {"name": "many", "scopes": [READ]}, by="bob")


def _powers(ask: Asker, name: str) -> None:
    """The powers of a key."""
    ask("GET", "/auth/me", by=name)
    ask("GET", "/collections", by=name)
    ask("GET", query(BOOKS, limit=2), by=name)
    ask("GET", record(ask, "books", "ada"), by=name)
    made = ask("POST", BOOKS, {"title": name}, by=name)
    ask("PATCH", f"{BOOKS}/{made.id}", {"year": 1}, by=name)
    ask("DELETE", f"{BOOKS}/{made.id}", by=name)
    ask("POST", "/collections/members-only/records", {}, by=name)
    ask("POST", f"{BOOKS}:batch", {"operations": [{"op": "delete", "id": MISSING}]}, by=name)
    ask("PUT", "/collections/loose", {"schema": []}, by=name)
    ask("DELETE", "/collections/loose", by=name)
    ask("GET", query("/users", limit=1), by=name)
    ask("GET", f"/users/{MISSING}", by=name)
    ask("POST", "/auth/api-keys", {"name": "x", "scopes": [READ]}, by=name)
    ask("POST", "/auth/password", {}, by=name)
    ask("POST", "/auth/logout", by=name)


def _costs(ask: Asker) -> None:
    """The costs of requests; a limit of 80 a day gives none back meanwhile."""
    for more in ("?limit=1&fields=id", "?count=estimated", "?count=exact", "?count=wrong", "/1"):
        ask("GET", f"{BOOKS}{more}", by="limited")
    ask("GET", "/openapi.json", by="limited")
    for number in (1, 10, 11):
        created = [{"op": "create", "data": {"title": "x"}}] * number
        ask("POST", f"{BOOKS}:batch", {"operations": created}, by="limited")
        ask("POST", f"{BOOKS}:batch", {"operations": [*created, {}]}, by="limited")
    deleted = [{"op": "delete", "id": MISSING}] * 5
    ask("POST", f"{BOOKS}:batch", {"operations": deleted}, by="limited")
    for _ in range(4):
        ask("GET", query(BOOKS, count="exact", limit=1), by="limited")
    for _ in range(12):
        ask("GET", query(BOOKS, limit=1), by="limited")


def _users(ask: Asker) -> None:
    """Users that a key changes: it may take from users, but only a session may give to them."""
    body = {"email": "by-key@example.com", "name": "By a key"}
    for more in ({}, {"password": PASSWORD}, {"roles": ["admin"]}, {"roles": ["editor"]}):
        made = ask("POST", "/users", {**body, **more}, by="of users")
        if made.id != MISSING:
            ask.handed_on["user by key"] = made.id
    target = f"/users/{ask.handed_on.get('user by key', MISSING)}"
    patches: tuple[Any, ...] = (
        {"name": "Other"}, {"disabled": False}, {"roles": []}, {"password": PASSWORD},
    )  # fmt: skip
    for patch in patches:
        ask("PATCH", target, patch, by="of users")
    ask("PATCH", target, {"password": PASSWORD, "disabled": False}, by="admin")
    ask("PATCH", target, {"password": PASSWORD}, by="admin")
    ask.log_in("by key", "by-key@example.com")
    ask("DELETE", f"{target}?records=delete", by="of users")
    ask("DELETE", f"{target}?records=keep", by="of users")
    ask("GET", "/auth/me", by="by key")
