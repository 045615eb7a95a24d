"""Each request with an idempotency key is carried out once; a repetition gets the same answer.

The transaction that does the work also writes the answer, so both exist or neither does. While it
runs, the transaction holds an advisory lock: all processes of all replicas see immediately that the
request is in work, and a crash releases the lock.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, NoReturn

from app.db.request_transaction import RequestTransaction
from app.idempotency import repository
from app.idempotency.errors import AnswerNotKept, KeyReused, RequestInProgress
from app.observability.metrics import IDEMPOTENCY_KEYS

if TYPE_CHECKING:
    from app.db.database import Database
    from app.db.session import Session
    from app.idempotency.cipher import ResponseCipher
    from app.idempotency.models import Answer, KeyedRequest

KEPT = timedelta(hours=24)
# A batch of 1,000 operations is answered with some 80 kB.
MAX_KEPT_BYTES = 262_144

# Refusals that are the outcome of the write. 401 and 403 depend on the caller's rights, which may
# have changed by the next try. 404 depends on them, too: a caller may not see the target.
_OUTCOMES = frozenset({409, 410, 412, 422})
# Fields shown of an answer that was too large to be kept.
_POINTERS = frozenset({"location", "etag"})


class Answered(Exception):
    """The request was carried out before."""

    def __init__(self, answer: Answer) -> None:
        super().__init__()
        self.answer = answer


class Attempt:
    """One request with a key, from its first statement to its answer.

    The request writes through `session`, whose first statement takes the key. The statement
    raises Answered, RequestInProgress, KeyReused or AnswerNotKept if the key was taken before; if
    the exception gets lost on the way up, `conclude` raises it again.
    """

    def __init__(self, database: Database, cipher: ResponseCipher, request: KeyedRequest) -> None:
        self.session = RequestTransaction(database, self._claim)
        self._database = database
        self._cipher = cipher
        self._request = request
        self._begun = False
        self._lost: Exception | None = None

    async def conclude(self, answer: Answer, *, retryable: bool) -> None:
        """Commit a success with its answer; undo a refusal, and keep its answer if that is final.

        A `retryable` problem, a refusal outside of _OUTCOMES and a refusal before any statement are
        not final: the client is to try again. Raises as `session` does, and DatabaseUnavailable;
        then the request was undone, or is committed and will be replayed.
        """
        if self._lost is not None:
            raise self._lost
        outcome = "kept"
        if answer.status < 400:  # noqa: PLR2004
            await self.session.finish(lambda session: self._keep(session, answer))
        elif not await self._refuse(answer, retryable=retryable):
            outcome = "not_final"
        IDEMPOTENCY_KEYS.labels(outcome).inc()

    async def _refuse(self, answer: Answer, *, retryable: bool) -> bool:
        """Undo the request, and keep its refusal if it is final; returns whether it is final."""
        begun = self._begun
        await self.session.undo()
        if retryable or answer.status not in _OUTCOMES:
            return False
        # The key is free for a moment. A request that took it meanwhile goes first, since this
        # attempt has changed nothing.
        async with self._database.transaction() as session:
            await self._claim(session)
            # A refusal before any statement costs nothing, and keeping it costs a row.
            if begun:
                await self._keep(session, answer)
        return begun

    async def _claim(self, session: Session) -> None:
        request = self._request
        row = await repository.claim(session, request.id, request.lock, KEPT)
        if row["claimed"]:
            self._begun = True
            return
        if row["fingerprint"] is None:
            self._lose("in_progress", RequestInProgress())
        answer = self._cipher.open(request, row["fingerprint"], row["status"], row["answer"])
        if answer is None:
            self._lose("reused", KeyReused())
        if answer.whole:
            self._lose("replayed", Answered(answer))
        self._lose("not_kept", _not_kept(answer))

    async def _keep(self, session: Session, answer: Answer) -> None:
        request = self._request
        if not await repository.insert(
            session,
            request.id,
            self._cipher.fingerprint(request),
            status=answer.status,
            answer=self._cipher.seal(request, answer),
            kept=KEPT,
        ):
            # Impossible while all writers hold the lock; without it, this undoes the attempt.
            self._lose("in_progress", RequestInProgress())

    def _lose(self, outcome: str, reason: Exception) -> NoReturn:
        IDEMPOTENCY_KEYS.labels(outcome).inc()
        self._lost = reason
        raise reason


def _not_kept(answer: Answer) -> AnswerNotKept:
    fields = {name.decode(): value.decode("latin-1") for name, value in answer.headers}
    shown = {name: value for name, value in fields.items() if name in _POINTERS}
    return AnswerNotKept(headers=shown, answered_status=answer.status)
