"""Statements on single records, together with those of other requests.

Transactions have statements of their own. Large records share badly: few fit into a statement, and
small ones would wait for them. A write whose answer may come late goes alone. So does a write to a
record that another has locked, or of a value that must be unique: it waits for every transaction
that wrote the same value, and writers of other records must not wait for that. See
docs/decisions/0023.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from app.db.pool.gathering import Gathering
from app.records import repository, sizes

if TYPE_CHECKING:
    from uuid import UUID

    from app.records.access import Access
    from app.records.repository import Row
    from app.records.sizes import Size

    Reads = Gathering[tuple[Access, UUID], Row | None]
    Creates = Gathering[tuple[Access, UUID, Size], Row | None]
    Replaces = Gathering[tuple[Access, UUID, Size, int | None], Row | None]


# Records that are so large that fewer fit into a joint statement go alone.
_LEAST_ROWS = 8


class _OfCollection(NamedTuple):
    """The gatherings of a collection, or of its admins."""

    read: Reads
    before: Reads
    create: Creates
    replace: Replaces


async def read(access: Access, id_: UUID) -> Row | None:
    """As `repository.read`."""
    need = sizes.memory_to_read(access.statements.read.sql, access.collection.largest)
    found = _gatherings(access, need)
    return await (found.read.ask((access, id_), need) if found else repository.read(access, id_))


async def before(access: Access, id_: UUID) -> Row | None:
    """As `repository.before`."""
    need = sizes.memory_to_read(access.statements.before.sql, access.collection.largest)
    found = _gatherings(access, need)
    return await (
        found.before.ask((access, id_), need) if found else repository.before(access, id_)
    )


async def create(access: Access, id_: UUID, data: Size) -> Row | None:
    """As `repository.create`, for an id that no other record has."""
    need = data.memory_to_write * _writes(access)
    found = _gatherings(access, need)
    collection = access.collection
    # While Redis is away, the answer to a create that changes cached lists waits for seconds after
    # the commit, and the next creates must not wait with it.
    waits = collection.list_cache is not None or collection.unique_indexes
    if found is None or data.weight > collection.largest or waits:
        return await repository.create(access, id_, data)
    return await found.create.ask((access, id_, data), need)


async def replace(access: Access, id_: UUID, data: Size, version: int | None) -> Row | None:
    """As `repository.replace`."""
    statement, largest = access.statements.replace_together, access.collection.largest
    need = data.memory_to_write * _writes(access) + statement.unpackings * largest
    found = _gatherings(access, need)
    # As for creates: an answer may wait for what is cached.
    waits = access.collection.definition.cache or access.collection.unique_indexes
    if found is None or data.weight > largest or waits:
        return await repository.replace(access, id_, data, version)
    row = await found.replace.ask((access, id_, data, version), need)
    row = row or await repository.unchanged(access, id_, data, version)
    # Still none: another has locked or changed the record, or the caller may not.
    row = row or await repository.replace_locked(access, id_, data, version)
    if row is None and version is None:
        # Another may have written the same meanwhile.
        row = await repository.unchanged(access, id_, data, version)
    return row


def _writes(access: Access) -> int:
    # PostgreSQL takes the same memory again to leave fields out of the answer.
    return 2 if access.collection.annotations.write_only else 1


def _gatherings(access: Access, need: int) -> _OfCollection | None:
    """None for a statement that goes alone; `need` is the memory that it takes."""
    budget, known = access.session.budget, access.session.gatherings
    if known is None or need * _LEAST_ROWS > budget.share:
        return None

    def make() -> _OfCollection:
        has_place, most_weight = known.has_place, lambda: budget.share
        return _OfCollection(
            Gathering(lambda asked: repository.read(*asked), repository.read_together,
                      has_place=has_place, most_weight=most_weight),
            Gathering(lambda asked: repository.before(*asked), repository.before_together,
                      has_place=has_place, most_weight=most_weight),
            Gathering(lambda asked: repository.create(*asked), repository.create_together,
                      has_place=has_place, most_weight=most_weight),
            # Others wait for the end of this statement, so it must not wait for a lock.
            Gathering(lambda asked: repository.replace_free(*asked), repository.replace_together,
                      has_place=has_place, most_weight=most_weight),
        )  # fmt: skip

    return known.get(access.statements, make)
