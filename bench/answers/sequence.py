"""The whole sequence: parts in order, for servers that are set up in two ways."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from bench.answers.asked import (
    accounts,
    batches,
    bodies,
    cached,
    definitions,
    documents,
    idempotency,
    keys,
    limits,
    lists,
    paths,
    preconditions,
    queries,
    records,
    sessions,
    users,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from bench.answers.asker import Asker

SECRET = "0123456789abcdefghijklmnopqrstuv"  # noqa: S105 - of servers that are thrown away
ADMIN = {"ADMIN_EMAIL": "admin@example.com", "ADMIN_PASSWORD": "correct horse battery"}


class Act(NamedTuple):
    """The settings of a server, and its questions."""

    settings: dict[str, str]
    parts: tuple[Callable[[Asker], None], ...]


# The second act goes on with the database of the first act.
ACTS = (
    Act(
        {
            **ADMIN,
            "JWT_SECRET": SECRET,
            "RATE_LIMIT_ANONYMOUS": "100000/minute",
            "RATE_LIMIT_USER": "100000/minute",
            "RATE_LIMIT_LOGIN": "off",
            "API_KEYS_PER_USER": "12",
            "MAX_BODY_BYTES": "400000",
            "MAX_RECORD_BYTES": "50000",
            "CORS_ORIGINS": "https://app.example.com",
            "CORS_HEADERS": "x-tenant",
        },
        (
            accounts.ask, definitions.ask, records.ask, bodies.ask, lists.ask, queries.ask,
            preconditions.ask, batches.ask, idempotency.ask, cached.ask, keys.ask, sessions.ask,
            users.ask, paths.ask, documents.ask,
        ),
    ),
    Act(
        {
            **ADMIN,
            "JWT_SECRET": SECRET,
            "ENVIRONMENT": "production",
            "TRUSTED_PROXIES": "127.0.0.1/32",
            "RATE_LIMIT_ANONYMOUS": "20/day",
            "RATE_LIMIT_USER": "30/day",
            "RATE_LIMIT_API_KEY": "40/day",
            "RATE_LIMIT_LOGIN": "4/day",
        },
        (limits.ask,),
    ),
)  # fmt: skip
