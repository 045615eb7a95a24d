"""The SQL of an import: from temporary tables of lines to the collection's table.

The lines of the file are staged in a temporary table first: a later line, or what others do
meanwhile, can decide over an earlier line.
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

from app.filters.params import Params
from app.records.sql.statement import Statement
from app.records.sql.statements import SAME

if TYPE_CHECKING:
    from app.collections.declared_index import Index
    from app.records.access import Access

LINES = "import_lines"
# A line that is `refused` is here for its `raw` text. Any other line without `data` is no whole
# record, and `faults` tells why. `patch` is what the line changes of a record that is present,
# where that is not `data`.
COLUMNS = (
    "line", "raw", "refused", "id", "chosen", "data", "patch", "faults",
    "version", "created_at", "updated_at", "owner",
)  # fmt: skip
# `import_refused` has the lines that are refused by what is stored, `import_matched` those of
# records that are present, `import_changes` the records that were written, with their data before.
TABLES = f"""
CREATE TEMP TABLE {LINES} (
    line bigint, refused boolean, id uuid, chosen boolean, data jsonb, patch jsonb, faults jsonb,
    raw bytea,
    version bigint, created_at timestamptz, updated_at timestamptz, owner uuid
);
CREATE TEMP TABLE import_refused (line bigint PRIMARY KEY, faults jsonb);
CREATE TEMP TABLE import_matched (
    line bigint PRIMARY KEY, id uuid, version bigint, is_readable boolean, may_change boolean,
    done boolean NOT NULL DEFAULT false
);
CREATE TEMP TABLE import_changes (
    id uuid, version bigint, updated_at timestamptz, before jsonb
);
"""
PREPARE = f"CREATE INDEX ON pg_temp.{LINES} (line); ANALYZE pg_temp.{LINES}"
ANALYZE_MATCHED = "ANALYZE pg_temp.import_matched"
# Lines of which nothing is decided yet.
_OPEN = (
    "NOT l.refused"
    " AND NOT EXISTS (SELECT FROM pg_temp.import_refused AS r WHERE r.line = l.line)"
    " AND NOT EXISTS (SELECT FROM pg_temp.import_matched AS m WHERE m.line = l.line)"
    " AND NOT EXISTS"
    " (SELECT FROM pg_temp.import_changes AS c WHERE c.id = l.id AND c.before IS NULL)"
)


def _as_record(data: str, condition: str) -> str:
    """SQL of lines as rows that rules and keys can read."""
    return (
        "(SELECT line, id, coalesce(version, 1) AS version,"
        " coalesce(created_at, now()) AS created_at,"
        f" coalesce(updated_at, created_at, now()) AS updated_at, owner, {data} AS data"
        f" FROM pg_temp.{LINES} AS l WHERE {condition}) AS new"
    )


_NEW = _as_record("data", f"data IS NOT NULL AND {_OPEN}")


def _repeated(pointer: str, what: str) -> str:
    """SQL of the faults of a line that repeats what line `first` has."""
    return (
        f"jsonb_build_array(jsonb_build_object('pointer', '{pointer}', 'message',"
        f" 'has the same {what} as line ' || first, 'code', 'repeated_key'))"
    )


REFUSE_REPEATED_IDS = f"""
INSERT INTO pg_temp.import_refused (line, faults)
SELECT line, {_repeated("/id", "id")}
FROM (SELECT line, first_value(line) OVER (PARTITION BY id ORDER BY line) AS first
      FROM pg_temp.{LINES} WHERE chosen) AS numbered
WHERE line > first
"""
REFUSE_NO_RECORDS = f"""
INSERT INTO pg_temp.import_refused (line, faults)
SELECT line, faults FROM pg_temp.{LINES} AS l WHERE data IS NULL AND {_OPEN}
"""


class Statements:
    """The statements of one import; `index` is the unique index that tells which records are
    present, None for the id."""

    def __init__(self, access: Access, index: Index | None) -> None:
        self._rules = access.statements
        self._collection = access.collection
        self._table = access.statements.table
        self._index = index
        self._unique = access.collection.unique_indexes
        # Without a comparison, nobody can guess hidden fields.
        self._differs = (
            "true"
            if access.collection.annotations.write_only
            else f"NOT {SAME.format('given_data')}"
        )

    @cached_property
    def refuse_repeated_keys(self) -> str:
        """Refuses the lines with the key of an earlier line."""
        keys, columns = self._keys()
        names = ", ".join(columns)
        return (
            "INSERT INTO pg_temp.import_refused (line, faults)"
            f" SELECT line, {_repeated('', 'key')} FROM (SELECT line,"
            f" first_value(line) OVER (PARTITION BY {names} ORDER BY line) AS first"
            f" FROM ({keys}) AS keys) AS numbered WHERE line > first"
        )

    def _keys(self) -> tuple[str, list[str]]:
        """SQL of the open lines with the values of the unique key, and the names of the values."""
        assert self._index is not None
        assert self._index.key is not None
        values = self._index.key.values
        names = [f"k{number}" for number in range(len(values))]
        columns = ", ".join(f"{value} AS {name}" for value, name in zip(values, names, strict=True))
        lines = _as_record("coalesce(data, patch)", _OPEN)
        return f"SELECT line, {columns} FROM {lines} WHERE {self._index.key.condition}", names

    @cached_property
    def match(self) -> Statement:
        """Finds the records that are present, and whether the caller may change them."""
        params = Params(1)
        readable = self._rules.condition("read", params)
        changeable = self._rules.condition("update", params)
        found = (
            f"SELECT id AS found, version, coalesce({readable}, false) AS is_readable,"
            f" coalesce({changeable}, false) AS may_change FROM {self._table}"
        )
        if self._index is None:
            asked = f"SELECT line, id FROM pg_temp.{LINES} AS l WHERE chosen AND {_OPEN}"
            condition = "id = asked.id"
        else:
            assert self._index.key is not None
            asked, names = self._keys()
            values = ", ".join(self._index.key.values)
            wanted = ", ".join(f"asked.{name}" for name in names)
            condition = f"{self._index.key.condition} AND ({values}) = ({wanted})"
        return Statement(
            "INSERT INTO pg_temp.import_matched (line, id, version, is_readable, may_change)"
            " SELECT line, found, version, is_readable, may_change"
            f" FROM ({asked}) AS asked CROSS JOIN LATERAL ({found} WHERE {condition}) AS present",
            params,
        )

    @cached_property
    def lock_matched(self) -> str:
        """Locks the records that are present, in the order of ids. Lines whose record has changed
        since they were matched are open again."""
        return (
            f"WITH locked AS MATERIALIZED (SELECT id, version FROM {self._table} WHERE id IN"
            " (SELECT id FROM pg_temp.import_matched WHERE may_change AND NOT done) ORDER BY id"
            " FOR NO KEY UPDATE) DELETE FROM pg_temp.import_matched AS m"
            " WHERE may_change AND NOT done AND NOT EXISTS (SELECT FROM locked"
            " WHERE locked.id = m.id AND locked.version = m.version)"
        )

    @cached_property
    def matched(self) -> str:
        """$1 line, $2 number: of the next lines, line, record's id and what the line gives, with
        the data that is stored."""
        return (
            "SELECT m.line, m.id, coalesce(l.patch, l.data)::text AS given,"
            " present.data::text AS stored FROM pg_temp.import_matched AS m"
            f" JOIN pg_temp.{LINES} AS l USING (line)"
            f" JOIN {self._table} AS present ON present.id = m.id"
            " WHERE m.may_change AND NOT m.done AND m.line > $1 ORDER BY m.line LIMIT $2"
        )

    @cached_property
    def change(self) -> str:
        """$1 ids, $2 data: replaces the data where it differs; gives the number of changes."""
        return (
            "WITH given AS (SELECT * FROM unnest($1::uuid[], $2::jsonb[])"
            " AS given (given_id, given_data)),"
            " before AS (INSERT INTO pg_temp.import_changes (id, version, updated_at, before)"
            f" SELECT id, version + 1, now(), data FROM {self._table} JOIN given ON id = given_id"
            f" WHERE {self._differs}),"
            f" changed AS (UPDATE {self._table} SET data = given_data, version = version + 1,"
            f" updated_at = now() FROM given WHERE id = given_id AND {self._differs} RETURNING id)"
            " SELECT count(*) FROM changed"
        )

    @cached_property
    def insert(self) -> Statement:
        """Creates the records of the open lines from number $1 to $2, but those that the create
        rule, an id or a unique value of another record forbids."""
        params = Params(3)
        guard = self._rules.condition("create", params)
        return Statement(
            f"WITH changed AS (INSERT INTO {self._table}"
            " (id, version, created_at, updated_at, owner, data)"
            f" SELECT id, version, created_at, updated_at, owner, data FROM {_NEW}"
            f" WHERE {guard} AND line BETWEEN $1 AND $2 ORDER BY id ON CONFLICT DO NOTHING"
            " RETURNING id, version, updated_at)"
            " INSERT INTO pg_temp.import_changes (id, version, updated_at)"
            " SELECT id, version, updated_at FROM changed",
            params,
        )

    @cached_property
    def left(self) -> Statement:
        """$1 the most lines: of lines that were not done, the number, whether the create rule
        allows them, whether a record that the caller sees has their id, whether any record has
        it, and for each unique index whether another record has the values."""
        params = Params(2)
        guard = self._rules.condition("create", params)
        readable = self._rules.condition("read", params)
        same_id = f"SELECT FROM {self._table} WHERE id = new.id"
        taken, laterals = [], []
        for number, index in enumerate(self._unique):
            assert index.key is not None
            names = [f"u{number}_{each}" for each in range(len(index.key.values))]
            own = ", ".join(
                f"{value} AS {name}" for value, name in zip(index.key.values, names, strict=True)
            )
            laterals.append(
                f" LEFT JOIN LATERAL (SELECT {own} WHERE {index.key.condition}) AS u{number}"
                " ON true"
            )
            taken.append(
                f", EXISTS (SELECT FROM {self._table} WHERE {index.key.condition}"
                f" AND ({', '.join(index.key.values)}) = ({', '.join(names)}))"
            )
        return Statement(
            f"SELECT line, coalesce({guard}, false), EXISTS ({same_id} AND {readable}),"
            f" EXISTS ({same_id}){''.join(taken)}"
            f" FROM {_NEW}{''.join(laterals)} ORDER BY line LIMIT $1",
            params,
        )


REFUSE_LEFT = (
    f"INSERT INTO pg_temp.import_refused (line) SELECT line FROM {_NEW} ON CONFLICT DO NOTHING"
)
# $1 the faults of a record that the caller may not change, $2 of one that is out of sight.
REFUSE_MATCHED = """
INSERT INTO pg_temp.import_refused (line, faults)
SELECT line, CASE WHEN is_readable THEN $1::jsonb ELSE coalesce(l.faults, $2::jsonb) END
FROM pg_temp.import_matched AS m JOIN pg_temp.import_lines AS l USING (line)
WHERE NOT may_change AND NOT done
"""
# $1 lines, $2 their faults.
REFUSE = """
INSERT INTO pg_temp.import_refused (line, faults)
SELECT * FROM unnest($1::bigint[], $2::jsonb[]) ON CONFLICT DO NOTHING
"""
DONE = "UPDATE pg_temp.import_matched SET done = true WHERE NOT done"
# $1 the most lines.
REFUSED = """
SELECT line, faults::text FROM pg_temp.import_refused ORDER BY line LIMIT $1
"""
# The lines that are refused, as they came.
REJECTS = f"""
SELECT raw FROM pg_temp.{LINES} AS l
WHERE refused OR EXISTS (SELECT FROM pg_temp.import_refused AS r WHERE r.line = l.line)
ORDER BY line
"""
# $1 job.
KEEP_CHANGES = """
INSERT INTO listo.import_changes (job, record, version, updated_at, before)
SELECT $1, id, version, updated_at, before FROM pg_temp.import_changes
"""
