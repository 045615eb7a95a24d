"""Passwords that everybody tries first."""

from __future__ import annotations

from urllib.parse import parse_qs, unquote, urlsplit

ALL = frozenset(
    {"admin", "administrator", "changeme", "changethis", "default", "listo", "letmein", "pass",
     "password", "password1", "postgres", "qwerty", "root", "secret", "test", "123456",
     "12345678", "123456789", "1234567890"}
)  # fmt: skip


def in_url(url: str) -> bool:
    """Whether a URL has one, wherever clients take it from. Raises ValueError for what is none."""
    try:
        parts = urlsplit(url)
    except ValueError:
        # Its words may hold the password.
        raise ValueError("is no URL") from None
    given = [unquote(parts.password or ""), *parse_qs(parts.query).get("password", ())]
    return any(password.lower() in ALL for password in given)
