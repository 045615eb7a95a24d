"""The reason why nothing was compared."""

from __future__ import annotations


class CannotCompare(Exception):
    """The message gives the reason in one line."""
