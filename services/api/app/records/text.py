"""A record's JSON text, from the two parts in which it leaves PostgreSQL, see `statements`."""

from __future__ import annotations


def rendered(head: str, data: str | None) -> str:
    """The text of a record. A list that names fields has them all in `head`, and no `data`."""
    return f"{head}}}" if data in (None, "{}") else f"{head},{data[1:]}"
