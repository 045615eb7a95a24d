"""The faults of moving a project."""

from __future__ import annotations


class CannotMove(Exception):
    """A project was not dumped, restored or taken over, and nothing of it was kept; the message is
    one line."""
