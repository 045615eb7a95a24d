"""Undoing an import: what it inserted is deleted, what it changed is as before, all or nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from app.collections.models import CACHE_KINDS
from app.collections.repository import table
from app.core.errors import Conflict
from app.db.session import affected
from app.events import outbox
from app.events.models import Event
from app.filters.params import Params
from app.jobs import repository as jobs
from app.records import repository

if TYPE_CHECKING:
    from app.db.session import Atomic
    from app.jobs.models import Job
    from app.records.access import Access

# Records that are told where the import cannot be undone.
_TOLD = 20


class NothingToUndo(Conflict):
    """The job is no import that succeeded, or it is undone already."""

    code = "nothing_to_undo"


class RecordsChanged(Conflict):
    """Records of the import were changed since, so it stays."""

    code = "records_changed"


async def undo(access: Access, session: Atomic, job: Job) -> dict[str, Any]:
    """The numbers of records that were `deleted` and `restored`.

    Raises NothingToUndo and RecordsChanged (409), and Forbidden where the caller may not delete or
    update one of the records.
    """
    if job.kind != "import" or not await jobs.lock_succeeded(session, job.id):
        raise NothingToUndo
    access.require("delete")
    access.require("update")
    name, collection = table(access.collection.name), access.collection
    params = Params(2)
    deletable = access.statements.condition("delete", params)
    changeable = access.statements.condition("update", params)
    with repository.Faults(collection):
        await session.execute(
            f"SELECT FROM {name} WHERE id IN"
            " (SELECT record FROM listo.import_changes WHERE job = $1) ORDER BY id FOR UPDATE",
            job.id,
        )
        rows = await session.fetch(
            "SELECT c.record, coalesce(present.may, true) AS may,"
            " present.version IS DISTINCT FROM c.version AS changed"
            " FROM listo.import_changes AS c LEFT JOIN LATERAL"
            f" (SELECT version, CASE WHEN c.before IS NULL THEN coalesce({deletable}, false)"
            f" ELSE coalesce({changeable}, false) END AS may FROM {name}"
            " WHERE id = c.record) AS present ON true WHERE c.job = $1"
            # What was inserted and is gone is as it was before.
            " AND NOT (c.before IS NULL AND present.version IS NULL)"
            " AND (present.version IS DISTINCT FROM c.version OR NOT present.may)"
            f" LIMIT {_TOLD}",
            *(job.id, *params.bind(access.actor.id, access.actor.roles)),
        )
        if changed := [str(row["record"]) for row in rows if row["changed"]]:
            raise RecordsChanged(records=changed)
        if rows:
            raise access.refusal("delete")
        deleted = affected(
            await session.execute(
                f"DELETE FROM {name} USING listo.import_changes AS c"
                " WHERE c.job = $1 AND c.before IS NULL AND id = c.record",
                job.id,
            )
        )
        restored = affected(
            await session.execute(
                f"UPDATE {name} SET data = c.before, version = {name}.version + 1,"
                " updated_at = now() FROM listo.import_changes AS c"
                " WHERE c.job = $1 AND c.before IS NOT NULL AND id = c.record",
                job.id,
            )
        )
    told = {"deleted": deleted, "restored": restored}
    await jobs.set_undone(session, job.id, told)
    if deleted or restored:
        for kind in CACHE_KINDS:
            if collection.definition.caches(kind):
                session.invalidate(collection.cache_group(kind))
        event = Event("collection.import_undone", collection.id, collection.name, data=told)
        await outbox.publish(session, access.actor, event)
    return told
