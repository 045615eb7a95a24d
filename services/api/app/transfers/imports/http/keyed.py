"""Imports with an idempotency key: a repetition gets the job, or the report, of the first one.

The file is no part of what the middleware of idempotency keeps: it would not fit into memory.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from app.core.context import context_of
from app.idempotency.errors import KeyReused, RequestInProgress
from app.idempotency.keys import FIELD, parse_key
from app.idempotency.models import KeyedRequest
from app.jobs import repository

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, AsyncIterator

    from starlette.requests import Request

    from app.db.pool.stepwise import Stepwise
    from app.db.session import Session
    from app.jobs.models import Job


class Keyed:
    """A request and its idempotency key, if it has one. Raises InvalidIdempotencyKey (400)."""

    def __init__(self, request: Request) -> None:
        self._request = request
        self._content = hashlib.sha256()
        field = context_of(request.scope).fields.get(FIELD)
        self._key = None if field is None else parse_key(field)

    @property
    def id(self) -> bytes | None:
        return None if self._key is None else self._keyed().id

    @property
    def digest(self) -> bytes | None:
        """The digest of the request, once all of its body went through `digesting`."""
        if self._key is None:
            return None
        rest = (
            self._request.scope["query_string"],
            context_of(self._request.scope).fields.get(b"content-type", b""),
            self._content.digest(),
        )
        return self._keyed(*rest).digest

    async def digesting(self, parts: AsyncIterable[bytes]) -> AsyncIterator[bytes]:
        async for part in parts:
            if self._key is not None:
                self._content.update(part)
            yield part

    async def earlier(self, session: Session, parts: AsyncIterable[bytes]) -> Job | None:
        """The job of an earlier request with the key, once the whole body was found to be the same.

        Raises KeyReused (422) for another body.
        """
        if self.id is None or (found := await repository.find_by_key(session, self.id)) is None:
            return None
        job, digest = found
        async for _ in parts:
            pass
        if self.digest != digest:
            raise KeyReused
        return job

    async def lock(self, session: Stepwise, database: Session) -> None:
        """Keep others with the key out until the session ends. Raises RequestInProgress (409) where
        another has it, or was done since `earlier` looked."""
        if self.id is None:
            return
        if not await session.try_lock(self._keyed().lock):
            raise RequestInProgress
        if await repository.find_by_key(database, self.id) is not None:
            raise RequestInProgress

    def _keyed(self, *rest: bytes) -> KeyedRequest:
        scope = self._request.scope
        assert self._key is not None
        return KeyedRequest.from_parts(
            self._key,
            context_of(scope).actor,
            method=scope["method"],
            path=scope["path"],
            rest=rest,
        )
