"""Idempotency keys: replays, conflicts, and fields that are no key."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bench.answers.asked.definitions import OPEN
from bench.answers.asker import MISSING, PASSWORD

if TYPE_CHECKING:
    from bench.answers.asker import Asker, Field

LOOSE = "/collections/loose/records"
FIELDS = (
    '"quoted"', "bare", '"with \\"escapes\\" and \\\\"', "", '""', '"', "a b", "a,b", "a;b", '"é"',
    "x" * 255, "x" * 256, f'"{"y" * 255}"', '"\t"', ' "blanks" ', '"quoted";a=1', ":bytes:", "5",
)  # fmt: skip


def ask(ask: Asker) -> None:
    for field in FIELDS:
        for _ in range(2):
            ask("POST", LOOSE, {"count": 1}, fields=[("Idempotency-Key", field)])
    _routes(ask)
    _scope(ask)
    _refusals(ask)


def _twice(ask: Asker, method: str, target: str, body: Any = None, by: str = "") -> None:
    """The request, its repetition, and two other requests with its key."""
    key: list[Field] = [("Idempotency-Key", f"{method}-{len(ask.exchanges)}")]
    for _ in range(2):
        ask(method, target, body, by=by, fields=key)
    ask(method, target, {"other": 1}, by=by, fields=key)
    ask(method, f"{target}?more=1", body, by=by, fields=key)


def _routes(ask: Asker) -> None:
    made = f"{LOOSE}/{ask('POST', LOOSE, {'count': 1}, by='ada').id}"
    user = ask("POST", "/users", {"email": "keyed@example.com", "password": PASSWORD}, by="admin")
    account = {"email": "replayed@example.com", "password": PASSWORD}
    _twice(ask, "POST", "/auth/register", account)
    _twice(ask, "POST", "/auth/login", {"email": "ada@example.com", "password": "wrong"})
    key = {"name": "k", "scopes": ["records:read"]}
    _twice(ask, "POST", "/auth/api-keys", key, by="bob")
    _twice(ask, "POST", "/users", {"email": "two@example.com", "password": PASSWORD}, by="admin")
    _twice(ask, "PATCH", f"/users/{user.id}", {"name": "Keyed"}, by="admin")
    _twice(ask, "DELETE", f"/users/{user.id}?records=keep", by="admin")
    _twice(ask, "PUT", "/collections/keyed", {"schema": {}, "rules": OPEN}, by="admin")
    _twice(ask, "DELETE", "/collections/keyed?confirm=keyed", by="admin")
    _twice(ask, "POST", LOOSE, {"count": 5}, by="ada")
    _twice(ask, "POST", f"{LOOSE}:batch", {"operations": [{"op": "create", "data": {}}]}, by="ada")
    _twice(ask, "PATCH", made, {"count": 6}, by="ada")
    _twice(ask, "PUT", made, {"count": 7}, by="ada")
    _twice(ask, "DELETE", made, by="ada")
    _twice(ask, "GET", f"{LOOSE}?limit=1", by="ada")


def _scope(ask: Asker) -> None:
    """The same key by other callers, for other paths, and with other fields."""
    for caller in ("", "", "ada", "bob", "admin"):
        ask("POST", LOOSE, {"count": 8}, by=caller, fields=[("Idempotency-Key", "scoped")])
    for more in (
        ("Content-Type", "application/json"), ("Content-Type", "application/json; a=b"),
        ("If-Match", "*"), ("If-None-Match", '"1"'), ("X-Other", "1"),
    ):  # fmt: skip
        ask("POST", LOOSE, {"count": 8}, fields=[("Idempotency-Key", "scoped"), more])
    ask("POST", LOOSE, b'{"count": 8 }', fields=[("Idempotency-Key", "scoped")])
    ask(
        "POST", "/collections/books/records", {"title": "x"}, fields=[("Idempotency-Key", "scoped")]
    )
    ask("POST", LOOSE, {"count": 8}, fields=[("Idempotency-Key", "a"), ("Idempotency-Key", "a")])
    # The answer to this is too large to be kept.
    large = {"schema": {"properties": {"a": {"enum": ["x" * 270_000]}}}}
    for _ in range(2):
        key = [("Idempotency-Key", "large")]
        ask("PUT", "/collections/large", large, by="admin", fields=key)


def _refusals(ask: Asker) -> None:
    """Refusals that are kept, and refusals that are not."""
    for number, (method, target, body, more) in enumerate((
        ("POST", LOOSE, {"count": "x"}, ()),
        ("POST", LOOSE, b"{", ()),
        ("POST", LOOSE, b"{}", (("Content-Type", "text/plain"),)),
        ("POST", "/collections/closed/records", {"n": 1}, ()),
        ("POST", "/collections/nothing/records", {"n": 1}, ()),
        ("PATCH", f"{LOOSE}/{MISSING}", {"count": 1}, ()),
        ("PUT", f"{LOOSE}/{MISSING}", {"count": 1}, (("If-Match", '"4"'),)),
        ("POST", f"{LOOSE}:batch", {"operations": [{"op": "delete", "id": MISSING}]}, ()),
        ("POST", "/auth/register", {"email": "ada@example.com", "password": PASSWORD}, ()),
        ("POST", "/nothing", {}, ()),
        ("PUT", "/health", {}, ()),
    )):  # fmt: skip
        for _ in range(2):
            key = ("Idempotency-Key", f"refused-{number}")
            ask(method, target, body, fields=[key, *more])
