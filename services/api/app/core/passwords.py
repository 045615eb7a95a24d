"""Passwords in the one form that they are compared in, however a keyboard composes letters."""

from __future__ import annotations

import unicodedata

MIN_LENGTH = 10


def normal(password: str) -> str:
    """In NFC (OWASP, NIST SP 800-63B): `é` is the same typed as one character or as two."""
    return unicodedata.normalize("NFC", password)


def checked(password: str) -> str:
    """A new password in that form. Raises ValueError for one that is too short."""
    composed = normal(password)
    if len(composed) < MIN_LENGTH:
        raise ValueError(f"must have at least {MIN_LENGTH} characters")
    return composed
