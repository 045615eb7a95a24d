"""The rules for passwords, and the form in which passwords are compared."""

from __future__ import annotations

import unicodedata
from urllib.parse import parse_qs, unquote, urlsplit

MIN_LENGTH = 10
# Passwords that everybody tries first.
DEFAULTS = frozenset(
    {"admin", "administrator", "changeme", "changethis", "default", "listo", "letmein", "pass",
     "password", "password1", "postgres", "qwerty", "root", "secret", "test", "123456",
     "12345678", "123456789", "1234567890"}
)  # fmt: skip


def normal(password: str) -> str:
    """The password in NFC (OWASP, NIST SP 800-63B): `é` is equal as one character or as two."""
    return unicodedata.normalize("NFC", password)


def checked(password: str) -> str:
    """A new password in NFC. Raises ValueError if it is too short."""
    composed = normal(password)
    if len(composed) < MIN_LENGTH:
        raise ValueError(f"must have at least {MIN_LENGTH} characters")
    return composed


def default_in_url(url: str) -> bool:
    """Whether a URL has one of DEFAULTS where clients look for a password. Raises ValueError."""
    try:
        parts = urlsplit(url)
    except ValueError:
        # The error's message may contain the password.
        raise ValueError("is no URL") from None
    given = [unquote(parts.password or ""), *parse_qs(parts.query).get("password", ())]
    return any(password.lower() in DEFAULTS for password in given)
