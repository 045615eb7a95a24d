"""A request with an idempotency key, and the answer to it."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import orjson

if TYPE_CHECKING:
    from collections.abc import Iterable

    from app.core.actor import Actor


@dataclass(frozen=True, slots=True)
class KeyedRequest:
    """`id` is a digest of key, caller, method and path; `digest` covers what is asked for."""

    key: str
    id: bytes
    digest: bytes

    @classmethod
    def from_parts(
        cls, key: str, actor: Actor, *, method: str, path: str, rest: Iterable[bytes]
    ) -> KeyedRequest:
        """`rest` holds all other parts that tell one request from another."""
        scope = (
            actor.kind.encode(),
            str(actor.api_key_id or actor.id or "").encode(),
            method.encode(),
            path.encode(),
        )
        return cls(key, _digest(*scope, key.encode()), _digest(*scope[2:], *rest))

    @property
    def lock(self) -> int:
        """The number of PostgreSQL's advisory lock for the key."""
        return int.from_bytes(self.id[:8], "big", signed=True)


@dataclass(frozen=True, slots=True)
class Answer:
    """A response as it goes out; `whole` is false where the body is too large to be kept."""

    status: int
    headers: list[tuple[bytes, bytes]]
    body: bytes
    whole: bool = True

    def dump(self) -> bytes:
        head = [[each.decode("latin-1") for each in header] for header in self.headers]
        return orjson.dumps([self.whole, head]) + b"\n" + (self.body if self.whole else b"")

    @classmethod
    def load(cls, status: int, dumped: bytes) -> Answer:
        first, _, body = dumped.partition(b"\n")
        whole, head = orjson.loads(first)
        headers = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in head]
        return cls(status, headers, body, whole)


def _digest(*parts: bytes) -> bytes:
    digest = hashlib.sha256(b"listo idempotency")
    for part in parts:
        # The length goes first, so that no two lists of parts read the same.
        digest.update(len(part).to_bytes(8, "big") + part)
    return digest.digest()
