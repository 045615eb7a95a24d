"""Reads and creates of single records, together with those of other requests.

Transactions have statements of their own. Large records share badly: few fit into a statement, and
small ones would wait for them. See docs/decisions/0023.
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


# Records that are so large that fewer fit into a joint statement go alone.
_LEAST_ROWS = 8


async def read(access: Access, id_: UUID) -> Row | None:
    """As `repository.read`."""
    session, gatherings = access.session, access.session.gatherings
    need = sizes.memory_to_read(access.statements.read.sql, access.collection.largest)
    if gatherings is None or need * _LEAST_ROWS > session.budget.share:
        return await repository.read(access, id_)
    return await _gatherings(gatherings, access)[0].ask((access, id_), need)


async def create(access: Access, id_: UUID, data: Size) -> Row | None:
    """As `repository.create`, for an id that no other record has."""
    session, gatherings = access.session, access.session.gatherings
    # PostgreSQL takes the same memory again to leave fields out of the answer.
    need = data.memory_to_write * (2 if access.collection.annotations.write_only else 1)
    share = session.budget.share
    large = need * _LEAST_ROWS > share or data.weight > access.collection.largest
    if gatherings is None or large:
        return await repository.create(access, id_, data)
    return await _gatherings(gatherings, access)[1].ask((access, id_, data), need)


def _gatherings(known: Gatherings, access: Access) -> tuple[Reads, Creates]:
    def make() -> tuple[Reads, Creates]:
        budget, has_place = access.session.budget, known.has_place
        return (
            Gathering(lambda asked: repository.read(*asked), repository.read_together,
                      has_place=has_place, most_weight=lambda: budget.share),
            Gathering(lambda asked: repository.create(*asked), repository.create_together,
                      has_place=has_place, most_weight=lambda: budget.share),
        )  # fmt: skip

    return cast("tuple[Reads, Creates]", known.get(access.statements, make))
