"""Limits, in production: by address, user, session, account and key, up to refusals.

A limit gives a request back after half an hour at the earliest, so every run counts the same.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench.answers.asked.accounts import ADMIN_PASSWORD
from bench.answers.asker import PASSWORD, query

if TYPE_CHECKING:
    from bench.answers.asker import Asker

LOOSE = "/collections/loose/records"
ADDRESSES = (
    "203.0.113.20", "203.0.113.20:5555", "[2001:db8::1]:443", "2001:db8::2", "2001:db8:0:1::1",
    "198.51.100.1, 203.0.113.20", "203.0.113.20, 198.51.100.1", "nonsense", "",
)  # fmt: skip


def ask(ask: Asker) -> None:
    # When it was stopped, the server of the first act stored when each API key was last used.
    for caller in ("ada", "admin"):
        ask("GET", "/auth/api-keys", by=caller)
    for address in ADDRESSES:
        ask("GET", "/collections/nothing", fields=[("X-Forwarded-For", address)])
    _logins(ask)
    for path in ("/health", "/docs", "/", "/docs/start.js"):
        ask("GET", path)
    for _ in range(24):
        ask("GET", query(LOOSE, limit=1, fields="count"))
    for path in ("/nothing", "/health", "/docs", "/openapi.json"):
        ask("GET", path)
    ask("GET", "/auth/me", fields=[("Authorization", "Bearer x")])
    for count in ("exact", "exact", "estimated", "none", "exact"):
        ask("GET", query("/collections/shelf/records", limit=1, count=count), by="ada")
    batch = {"operations": [{"op": "create", "data": {}}] * 40}
    for _ in range(3):
        ask("POST", f"{LOOSE}:batch", batch, by="ada")
    for _ in range(4):
        ask("GET", "/auth/me", by="ada")
    # Logging out counts by session, even if the user's limit is used up.
    ask("POST", "/auth/logout", by="ada")
    ask("GET", "/collections", by="all scopes")
    for _ in range(3):
        ask("GET", query(LOOSE, limit=1, count="exact", fields="count"), by="definer")
        ask("GET", query(LOOSE, limit=1, count="exact", fields="count"), by="writer")
    ask.measured("/metrics")


def _logins(ask: Asker) -> None:
    """Log-ins, which count by address and by account."""
    account = {"email": "new@example.com", "password": PASSWORD}
    ask("POST", "/auth/register", account, fields=[("X-Forwarded-For", "192.0.2.1")])
    first = {"email": "admin@example.com", "password": ADMIN_PASSWORD}
    for number in range(7):
        elsewhere = [("X-Forwarded-For", f"192.0.2.{number + 10}")]
        ask("POST", "/auth/login", first, fields=elsewhere)
        stranger = {"email": f"stranger{number}@example.com", "password": PASSWORD}
        ask("POST", "/auth/login", stranger, fields=[("X-Forwarded-For", "192.0.2.9")])
    change = {"current_password": PASSWORD, "new_password": PASSWORD}
    for _ in range(6):
        ask("POST", "/auth/password", change, by="grace")
