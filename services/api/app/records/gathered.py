"""Reads and creates of single records, together with those of other requests.

Not in a transaction, whose statements are its own, and not for large records, whose memory is
counted one by one. See docs/decisions/0023.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from app.db.pool.gathering import Gathering
from app.records import repository, sizes

if TYPE_CHECKING:
    from uuid import UUID

    from app.db.pool.gathering import Gatherings
    from app.records.access import Access
    from app.records.repository import Row
    from app.records.sizes import Size

    Reads = Gathering[tuple[Access, UUID], Row | None]
    Creates = Gathering[tuple[Access, UUID, Size], Row | None]


async def read(access: Access, id_: UUID) -> Row | None:
    """As `repository.read`."""
    session, gatherings = access.session, access.session.gatherings
    need = sizes.memory_to_read(access.statements.read.sql, access.collection.largest)
    if gatherings is None or need > session.budget.share:
        return await repository.read(access, id_)
    return await _gatherings(gatherings, access)[0].ask((access, id_), need)


async def create(access: Access, id_: UUID, data: Size) -> Row | None:
    """As `repository.create`, of an id that nobody else has."""
    session, gatherings = access.session, access.session.gatherings
    # PostgreSQL takes the same once more to leave fields out of the answer.
    need = data.memory_to_write * (2 if access.collection.annotations.write_only else 1)
    if gatherings is None or need > session.budget.share or data.weight > access.collection.largest:
        return await repository.create(access, id_, data)
    return await _gatherings(gatherings, access)[1].ask((access, id_, data), need)


def _gatherings(known: Gatherings, access: Access) -> tuple[Reads, Creates]:
    def make() -> tuple[Reads, Creates]:
        budget = access.session.budget
        return (
            Gathering(lambda asked: repository.read(*asked), repository.read_together,
                      lambda: budget.share),
            Gathering(lambda asked: repository.create(*asked), repository.create_together,
                      lambda: budget.share),
        )  # fmt: skip

    return cast("tuple[Reads, Creates]", known.get(access.statements, make))
