"""The lines of a dump's files: records, users and API keys."""

from __future__ import annotations

import re
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, NamedTuple
from uuid import UUID

import msgspec

from app.core.actor import COLLECTION_NAME, Scope
from app.core.rates import parse_rates
from app.db.pool.copying import SEPARATOR

if TYPE_CHECKING:
    from collections.abc import Callable

_ID = rb"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
_TIME = rb"[0-9]{4}-[01][0-9]-[0-3][0-9]T[0-2][0-9]:[0-5][0-9]:[0-5][0-9]\.[0-9]{6}Z"
# A record begins with the fields that the server sets, in this order and form.
_HEAD = re.compile(
    rb'\{"id":"(%s)","version":([1-9][0-9]{0,17}),"created_at":"(%s)","updated_at":"(%s)",'
    rb'"owner":(?:null|"(%s)")([,}])' % (_ID, _TIME, _TIME, _ID)
)
_CONTROL = re.compile(rb"[\x00-\x1f]")

# Hashes that the processes which hash passwords verify, in a time that others can wait for.
_HASH = r"\$argon2id\$[!-~]{20,500}|\$2[aby]\$(0[4-9]|1[0-4])\$[./A-Za-z0-9]{53}"


class BadLine(ValueError):
    """A line is none of a dump; the message says why."""


class RecordLine(NamedTuple):
    """The texts of a record; `data` has its own fields, `owner` is empty without one."""

    id: bytes
    version: bytes
    created_at: bytes
    updated_at: bytes
    owner: bytes
    data: bytes

    def row(self) -> bytes:
        """The line by which PostgreSQL takes it, see `copying`."""
        return SEPARATOR.join(self)


RECORD_COLUMNS = RecordLine._fields


def check_text(line: bytes) -> None:
    """Raises BadLine for what PostgreSQL would not take as a line of JSON."""
    if _CONTROL.search(line):
        raise BadLine("a control character stands in it")


def record(line: bytes) -> RecordLine:
    """Raises BadLine."""
    head = _HEAD.match(line)
    if head is None:
        raise BadLine(
            "a record begins with id, version, created_at, updated_at and owner, in the form and "
            "order of a dump"
        )
    id_, version, created_at, updated_at, owner, end = head.groups(b"")
    data = b"{" + line[head.end() :]
    if end == b"}":
        if head.end() != len(line):
            raise BadLine("the record is followed by more")
        data = b"{}"
    return RecordLine(id_, version, created_at, updated_at, owner, data)


def check_times(found: RecordLine) -> None:
    """Raises BadLine."""
    for time in (found.created_at, found.updated_at):
        try:
            datetime.fromisoformat(time.decode())
        except ValueError:
            raise BadLine(f"{time.decode()} is no time") from None


_Text = Annotated[str, msgspec.Meta(min_length=1, max_length=200)]
_Time = Annotated[datetime, msgspec.Meta(tz=True)]
_Role = Annotated[str, msgspec.Meta(pattern="^[a-z][a-z0-9_-]{0,31}$")]
_Collection = Annotated[str, msgspec.Meta(pattern=f"^{COLLECTION_NAME}$")]


class UserLine(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A user. Without a password, a user is disabled."""

    id: UUID
    email: Annotated[str, msgspec.Meta(min_length=1, max_length=254)]
    name: _Text | None
    roles: list[_Role]
    password_hash: Annotated[str, msgspec.Meta(pattern=f"^(?:{_HASH})$")] | None
    disabled_at: _Time | None
    created_at: _Time
    updated_at: _Time

    def __post_init__(self) -> None:
        if self.email != self.email.lower():
            raise ValueError("email is in lower case")
        if self.password_hash is None and self.disabled_at is None:
            raise ValueError("a user without a password is disabled")

    def row(self, line: bytes) -> bytes:
        return _row(self.id, line)


class ApiKeyLine(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An API key; `hash` is the SHA-256 of the key in hexadecimal."""

    id: UUID
    user_id: UUID
    name: _Text
    prefix: Annotated[str, msgspec.Meta(max_length=32)]
    hash: Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$")]
    scopes: list[Scope]
    collections: list[_Collection] | None
    rate_limit: Annotated[str, msgspec.Meta(max_length=100)] | None
    created_at: _Time
    expires_at: _Time | None
    last_used_at: _Time | None

    def __post_init__(self) -> None:
        if self.rate_limit is not None:
            parse_rates(self.rate_limit)

    def row(self, line: bytes) -> bytes:
        return _row(self.id, line)


def _row(id_: UUID, line: bytes) -> bytes:
    return b"%s%s%s" % (str(id_).encode(), SEPARATOR, line)


user: Callable[[bytes], UserLine] = msgspec.json.Decoder(UserLine).decode
api_key: Callable[[bytes], ApiKeyLine] = msgspec.json.Decoder(ApiKeyLine).decode
