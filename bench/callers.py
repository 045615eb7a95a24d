"""Users with sessions and API keys, written by SQL: over HTTP each password takes its time."""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import UUID

from pydantic import SecretStr

from app.auth.identity.tokens import Tokens
from app.core.settings import Settings
from fixtures.cluster import execute

if TYPE_CHECKING:
    from bench.stage import Stage

# Bare numbers make ids and keys: they are valid in a database that is thrown away.
_ID = "('00000000-0000-7000-8000-' || lpad(to_hex(n), 12, '0'))::uuid"
_KEY = "'lk_' || lpad(n::text, 43, '0')"


def add_callers(bench: Stage, count: int) -> None:
    """Add `count` members, each with a session and an API key."""
    numbers = f"FROM generate_series(1, {count}) AS n"
    execute(
        bench.database_url,
        "INSERT INTO listo.users (id, email, password_hash, roles)"
        f" SELECT {_ID}, 'caller' || n || '@example.com', '', '{{member}}' {numbers}",
        "INSERT INTO listo.sessions (id, user_id, expires_at)"
        f" SELECT {_ID}, {_ID}, now() + interval '1 day' {numbers}",
        "INSERT INTO listo.api_keys (id, user_id, name, prefix, hash, scopes)"
        f" SELECT {_ID}, {_ID}, 'bench', left({_KEY}, 9), sha256(({_KEY})::bytea),"
        f" '{{records:read,records:write}}' {numbers}",
        "ANALYZE listo.users, listo.sessions, listo.api_keys",
    )


def keys(count: int) -> list[str]:
    """The API keys of the members."""
    return [f"lk_{number:043}" for number in range(1, count + 1)]


def tokens(bench: Stage, count: int) -> list[str]:
    """Access tokens of the members."""
    settings = Settings.model_construct(
        jwt_secret=SecretStr(bench.environment["JWT_SECRET"]),
        jwt_secret_previous=None,
        access_token_ttl=int(bench.environment["ACCESS_TOKEN_TTL"]),
    )
    issuer = Tokens(settings)
    ids = (UUID(f"00000000-0000-7000-8000-{number:012x}") for number in range(1, count + 1))
    return [issuer.issue(id_, id_) for id_ in ids]
