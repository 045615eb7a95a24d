"""Undoing an import: what it inserted is deleted, what it changed is as before, all or nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from app.core.errors import Conflict
from app.db.session import affected
from app.filters.params import Params
from app.jobs import repository as jobs
from app.records import repository
from app.transfers.imports.announcing import announce

if TYPE_CHECKING:
    from app.db.session import Atomic
    from app.jobs.models import Job
    from app.records.access import Access

# Records that are told where the import cannot be undone.
_TOLD = 20
# Whether a record is not as the import left it. Another record of the same id can have the version.
_CHANGED = "(present.version, present.updated_at) IS DISTINCT FROM (c.version, c.updated_at)"


class NothingToUndo(Conflict):
    """The job is no import that succeeded, or it is undone already."""

    code = "nothing_to_undo"


class RecordsChanged(Conflict):
    """Records of the import were changed since, so it stays."""

    code = "records_changed"


async def undo(access: Access, session: Atomic, job: Job) -> dict[str, Any]:
    """The numbers of records that were `deleted` and `restored`.

    Raises NothingToUndo, RecordsChanged and DefinitionChanged (409), and Forbidden where the
    caller may not delete or update one of the records.
    """
    if job.kind != "import" or not await jobs.lock_succeeded(session, job.id):
        raise NothingToUndo
    access.require("delete")
    access.require("update")
    await repository.lock_definition(access)
    with repository.Faults(access.collection):
        await _require_unchanged(access, session, job)
        told = await _write_back(access, session, job)
    await jobs.set_undone(session, job.id, told)
    if told["deleted"] or told["restored"]:
        await announce(access, session, "collection.import_undone", told)
    return told


async def _require_unchanged(access: Access, session: Atomic, job: Job) -> None:
    """Lock the records of the import; raises RecordsChanged and Forbidden."""
    name = access.statements.table
    params = Params(2)
    deletable = access.statements.condition("delete", params)
    changeable = access.statements.condition("update", params)
    await session.execute(
        f"SELECT FROM {name} WHERE id IN"
        " (SELECT record FROM listo.import_changes WHERE job = $1) ORDER BY id FOR UPDATE",
        job.id,
    )
    rows = await session.fetch(
        f"SELECT c.record, {_CHANGED} AS changed"
        " FROM listo.import_changes AS c LEFT JOIN LATERAL"
        f" (SELECT version, updated_at,"
        f" CASE WHEN c.before IS NULL THEN coalesce({deletable}, false)"
        f" ELSE coalesce({changeable}, false) END AS may FROM {name}"
        " WHERE id = c.record) AS present ON true WHERE c.job = $1"
        # An inserted record that is gone is as it was before.
        " AND NOT (c.before IS NULL AND present.version IS NULL)"
        f" AND ({_CHANGED} OR NOT present.may)"
        f" LIMIT {_TOLD}",
        *(job.id, *params.bind(access.actor.id, access.actor.roles)),
    )
    if changed := [str(row["record"]) for row in rows if row["changed"]]:
        raise RecordsChanged(records=changed)
    if rows:
        raise access.refusal("delete")


async def _write_back(access: Access, session: Atomic, job: Job) -> dict[str, Any]:
    name = access.statements.table
    deleted = await session.execute(
        f"DELETE FROM {name} USING listo.import_changes AS c"
        " WHERE c.job = $1 AND c.before IS NULL AND id = c.record",
        job.id,
    )
    # All are taken out before any comes back: they may have passed a unique value on.
    restored = await session.execute(
        f"WITH gone AS (DELETE FROM {name} AS present USING listo.import_changes AS c"
        " WHERE c.job = $1 AND c.before IS NOT NULL AND present.id = c.record"
        " RETURNING present.id, present.version, present.created_at, present.owner, c.before)"
        f" INSERT INTO {name} (id, version, created_at, updated_at, owner, data)"
        " SELECT id, version + 1, created_at, now(), owner, before FROM gone ORDER BY id",
        job.id,
    )
    return {"deleted": affected(deleted), "restored": affected(restored)}
