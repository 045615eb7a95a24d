"""The SQL that restores users and API keys.

A user of the dump and a user here are the same one if they share the id or the e-mail address. The
user here keeps the id: whatever the dump says of its own user's id is said of that one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import asyncpg

from app.auth.api_keys import service as api_keys
from app.auth.errors import LastAdmin
from app.auth.sessions import service as sessions
from app.auth.users import repository as users
from app.db.session import affected
from app.moving.errors import CannotMove
from app.moving.restoring.conflicts import SHOWN, Rule, refuse

if TYPE_CHECKING:
    from collections.abc import Sequence

    from app.db.database import Transaction

_MORE = SHOWN + 1
_USER = "email, name, roles, password_hash, disabled_at"
_KEY = "name, prefix, scopes, collections, rate_limit, created_at, expires_at, last_used_at"


def _of(table: str, columns: str) -> str:
    return ", ".join(f"{table}.{name}" for name in columns.split(", "))


_IS_NEW = """
SELECT NOT EXISTS (SELECT FROM listo.collections) AND NOT EXISTS (SELECT FROM listo.api_keys)
   AND (SELECT count(*) <= 1 FROM listo.users)
"""
_SAME = "u.id = s.id OR u.email = s.line ->> 'email'"
_DOUBLED = f"""
SELECT min(line ->> 'email') FROM {{table}} GROUP BY line ->> 'email'
HAVING count(*) > 1 LIMIT {_MORE}
"""
_TWO_HERE = f"""
SELECT s.line ->> 'email' FROM {{table}} s JOIN listo.users a ON a.id = s.id
  JOIN listo.users b ON b.email = s.line ->> 'email' WHERE a.id <> b.id LIMIT {_MORE}
"""
_TWO_THERE = f"""
SELECT min(line ->> 'email') FROM {{table}} GROUP BY present HAVING count(present) > 1 LIMIT {_MORE}
"""
_REMOVED = f"""
SELECT s.line ->> 'email' FROM {{table}} s JOIN listo.removals r ON r.user_id = s.id
 WHERE r.finished_at IS NULL LIMIT {_MORE}
"""
_HOMELESS = f"""
SELECT s.id FROM {{table}} s WHERE NOT EXISTS (
    SELECT FROM {{users}} d WHERE d.id = (s.line ->> 'user_id')::uuid
) LIMIT {_MORE}
"""
_MATCH_USERS = """
UPDATE {table} t SET present = coalesce(a.id, b.id)
  FROM {table} s LEFT JOIN listo.users a ON a.id = s.id
                 LEFT JOIN listo.users b ON b.email = s.line ->> 'email'
 WHERE s.id = t.id AND coalesce(a.id, b.id) IS NOT NULL
"""
_MATCH_KEYS = """
UPDATE {table} t SET present = coalesce(a.id, b.id)
  FROM {table} s LEFT JOIN listo.api_keys a ON a.id = s.id
                 LEFT JOIN listo.api_keys b ON b.hash = decode(s.line ->> 'hash', 'hex')
 WHERE s.id = t.id AND coalesce(a.id, b.id) IS NOT NULL
"""
_INSERT_USERS = f"""
INSERT INTO listo.users (id, created_at, updated_at, {_USER})
SELECT r.id, r.created_at, r.updated_at, {_of("r", _USER)}
  FROM {{table}} s CROSS JOIN LATERAL jsonb_populate_record(NULL::listo.users, s.line) AS r
 WHERE s.present IS NULL
"""
_REPLACE_USERS = f"""
UPDATE listo.users u SET ({_USER}, updated_at) =
       ({_of("r", _USER)}, now())
  FROM {{table}} s CROSS JOIN LATERAL jsonb_populate_record(NULL::listo.users, s.line) AS r
 WHERE u.id = s.present
   AND ({_of("u", _USER)})
       IS DISTINCT FROM ({_of("r", _USER)})
RETURNING u.id
"""
_END_SESSIONS = (
    "UPDATE listo.sessions SET revoked_at = now() WHERE user_id = ANY ($1) AND revoked_at IS NULL"
)
_END_KEYS = """
DELETE FROM listo.api_keys k USING listo.users u
 WHERE k.user_id = u.id AND u.id = ANY ($1) AND u.disabled_at IS NOT NULL
"""
# Disabling a user ended the user's keys for good.
_KEYS = f"""
SELECT s.id, s.present, x.id AS user_id, decode(s.line ->> 'hash', 'hex') AS hash,
       {_of("r", _KEY)}
  FROM {{table}} s
  JOIN {{users}} d ON d.id = (s.line ->> 'user_id')::uuid
  JOIN listo.users x ON x.id = coalesce(d.present, d.id) AND x.disabled_at IS NULL
  CROSS JOIN LATERAL jsonb_populate_record(NULL::listo.api_keys, s.line - 'hash') AS r
"""
_INSERT_KEYS = f"""
INSERT INTO listo.api_keys (id, user_id, hash, {_KEY})
SELECT id, user_id, hash, {_KEY} FROM ({_KEYS}) AS k WHERE present IS NULL
"""
_REPLACE_KEYS = f"""
UPDATE listo.api_keys a SET (user_id, hash, {_KEY}) =
       (k.user_id, k.hash, {_of("k", _KEY)})
  FROM ({_KEYS}) AS k WHERE a.id = k.present
   AND (a.user_id, a.hash, {_of("a", _KEY)})
       IS DISTINCT FROM (k.user_id, k.hash, {_of("k", _KEY)})
RETURNING a.id
"""


class Counts(NamedTuple):
    """How many are new, replaced, and left as they were."""

    new: int
    replaced: int
    kept: int


async def restore_users(session: Transaction, table: str, rule: Rule) -> Counts:
    """Restore the users that the table holds; afterwards, `present` of each is set where a user
    was here. Raises CannotMove, LastAdmin."""
    admins = await users.active_admins(session)
    if await session.fetchval(_IS_NEW):
        # The first admin of an instance that holds nothing makes room for the dump's user.
        gone = await session.fetch(
            f"DELETE FROM listo.users u USING {table} s WHERE {_SAME} RETURNING u.id"
        )
        await _tell(session, sessions.USER_TOPIC, [row["id"] for row in gone])
    refuse("two users of the dump have this address", await _column(session, _DOUBLED, table))
    refuse("users of the dump are two users here", await _column(session, _TWO_HERE, table))
    await session.execute(_MATCH_USERS.format(table=table))
    refuse("two users of the dump are one here", await _column(session, _TWO_THERE, table))
    refuse("records of these users are being deleted here", await _column(session, _REMOVED, table))
    if rule is Rule.FAIL:
        refuse("these users are here already", await _present(session, table, "email"))
    changed = []
    if rule is Rule.REPLACE:
        changed = [row["id"] for row in await session.fetch(_REPLACE_USERS.format(table=table))]
        await session.execute(_END_SESSIONS, changed)
        await session.execute(_END_KEYS, changed)
        await _tell(session, sessions.USER_TOPIC, changed)
    try:
        made = affected(await session.execute(_INSERT_USERS.format(table=table)))
    except asyncpg.UniqueViolationError:
        raise CannotMove("Nothing was done: a user was made meanwhile; try again.") from None
    if admins and not await users.active_admins(session):
        raise LastAdmin
    return await _counts(session, table, made, len(changed))


async def restore_keys(session: Transaction, table: str, of_users: str, rule: Rule) -> Counts:
    """Restore the keys that the table holds, for the users of the table `of_users`. Raises
    CannotMove."""
    refuse(
        "these API keys belong to no user of the dump",
        await _column(session, _HOMELESS, table, of_users),
    )
    await session.execute(_MATCH_KEYS.format(table=table))
    if rule is Rule.FAIL:
        refuse("these API keys are here already", await _present(session, table, "name"))
    changed = []
    try:
        if rule is Rule.REPLACE:
            sql = _REPLACE_KEYS.format(table=table, users=of_users)
            changed = [row["id"] for row in await session.fetch(sql)]
            await _tell(session, api_keys.TOPIC, changed)
        made = affected(await session.execute(_INSERT_KEYS.format(table=table, users=of_users)))
    except asyncpg.UniqueViolationError:
        raise CannotMove("Nothing was done: an API key of the dump is two keys here.") from None
    return await _counts(session, table, made, len(changed))


async def moved(session: Transaction, table: str) -> int:
    """How many users of the table have another id here."""
    count: int = await session.fetchval(f"SELECT count(*) FROM {table} WHERE present <> id")
    return count


async def _counts(session: Transaction, table: str, made: int, changed: int) -> Counts:
    whole: int = await session.fetchval(f"SELECT count(*) FROM {table}")
    return Counts(made, changed, whole - made - changed)


async def _present(session: Transaction, table: str, member: str) -> Sequence[object]:
    sql = f"SELECT line ->> '{member}' FROM {{table}} WHERE present IS NOT NULL ORDER BY id"
    return await _column(session, f"{sql} LIMIT {_MORE}", table)


async def _column(
    session: Transaction, sql: str, table: str, of_users: str = ""
) -> Sequence[object]:
    return [row[0] for row in await session.fetch(sql.format(table=table, users=of_users))]


async def _tell(session: Transaction, topic: str, ids: Sequence[object]) -> None:
    for id_ in ids:
        await session.notify(topic, str(id_))
