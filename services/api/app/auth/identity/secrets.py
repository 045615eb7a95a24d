"""Random credentials: shown once, kept as hashes."""

from __future__ import annotations

import hashlib
import secrets

API_KEY = "lk_"
REFRESH_TOKEN = "lr_"  # noqa: S105 - a prefix, not a secret


def make(prefix: str) -> tuple[str, bytes]:
    """A new credential of 256 random bits, and its hash."""
    text = prefix + secrets.token_urlsafe(32)
    return text, digest(text)


def digest(text: str) -> bytes:
    """The stored hash. Fast on purpose: 256 random bits cannot be guessed, unlike a password."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()
