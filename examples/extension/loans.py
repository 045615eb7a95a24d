"""Your own endpoints beside Listo's: lending out the records of a collection `books`.

    LISTO_EXTENSIONS=examples.extension.loans:router make dev

Whatever happens in one request commits together: the row of the extension's own table, the change
of the record, and the event.
"""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any
from uuid import UUID

from fastapi import APIRouter, Depends, FastAPI, Request
from fastapi_limiter.depends import RateLimiter
from prometheus_client import Counter
from pydantic import BaseModel
from pyrate_limiter import Duration, Limiter, Rate

from app.public import (
    Access,
    Body,
    Conflict,
    CurrentActor,
    Event,
    SessionDep,
    Unauthorized,
    limit,
    listo,
    publish,
    records,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

LOANS = Counter("app_loans_total", "Books lent out.")


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Makes the extension's own table; Listo's database is open by now."""
    async with listo(app).database.transaction() as session:
        await session.execute("SELECT pg_advisory_xact_lock(hashtext('loans'))")
        await session.execute(
            "CREATE TABLE IF NOT EXISTS public.loans (book uuid PRIMARY KEY,"
            " reader uuid NOT NULL, since timestamptz NOT NULL DEFAULT now())"
        )
    yield


router = APIRouter(prefix="/loans", tags=["loans"], lifespan=lifespan)


class AlreadyLent(Conflict):
    """Somebody has this book."""

    code = "already_lent"


class LoanOut(BaseModel):
    book: UUID
    reader: UUID
    title: str


class LoansOut(BaseModel):
    books: list[UUID]


@router.get(
    "",
    operation_id="listLoans",
    # fastapi-limiter's own dependency: counted by Listo's limiter, over all replicas.
    dependencies=[Depends(RateLimiter(Limiter(Rate(30, Duration.MINUTE))))],
)
async def list_loans(session: SessionDep, actor: CurrentActor) -> LoansOut:
    """The books that the caller has borrowed."""
    if actor.id is None:
        raise Unauthorized
    rows = await session.fetch(
        "SELECT book FROM public.loans WHERE reader = $1 ORDER BY since", actor.id
    )
    return LoansOut(books=[row["book"] for row in rows])


@router.post(
    "/{book}",
    operation_id="lendBook",
    status_code=201,
    dependencies=[Depends(limit("60/minute", name="loans"))],
)
async def lend(request: Request, session: SessionDep, actor: CurrentActor, book: UUID) -> LoanOut:
    """Lend a book that the caller may see, which the collection's rules decide."""
    if actor.id is None:
        raise Unauthorized
    books = Access(session, actor, await listo(request).collections.get("books"))
    # Raises RecordNotFound for a book that the caller may not read.
    stored = await records.get(books, book)
    lent = await session.fetchrow(
        "INSERT INTO public.loans (book, reader) VALUES ($1, $2)"
        " ON CONFLICT DO NOTHING RETURNING book",
        book,
        actor.id,
    )
    if lent is None:
        raise AlreadyLent
    record: dict[str, Any] = stored.value()
    await records.patch(books, book, Body.from_value({"lent": True}))
    await publish(
        session, actor, Event("loan.created", subject=book, data={"title": record["title"]})
    )
    LOANS.inc()
    return LoanOut(book=book, reader=actor.id, title=record["title"])
