"""A record's JSON text, from the two parts in which it leaves PostgreSQL, see `sql.statement`."""

from __future__ import annotations


def rendered(head: str, data: str | None) -> str:
    """The text of a record; `head` comes without its closing brace. If a request for a list names
    the fields to show, all of them are in `head`, and `data` is None."""
    return f"{head}}}" if data in (None, "{}") else f"{head},{data[1:]}"
