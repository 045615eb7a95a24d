"""The statement of a page: candidates by the index, ranked by their own text.

A word that a third of all records has must not have a third of all records ranked. So candidates
are taken level by level, the heaviest first and the newest first within a level, until there are
enough; then the rest without levels. If these are all, the answer is exact.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final
from uuid import UUID

from app.db.pool.pooled import LONGEST_PREPARED
from app.filters.paths import SYSTEM_TYPES, plain_sql
from app.records.search import highlights

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from app.collections.declared_search import Boost, SearchIndex
    from app.filters.params import Params
    from app.records.lists.listing import Plan
    from app.records.search.wording import Wanted

# The matches up to which a first page is exact, of a single word and of other queries. Further
# pages take as many more as records were given before, up to a limit, which holds from the first
# page on for phrases: they are looked for in the texts of candidates.
MOST_OF_A_WORD = 100
MOST = 500
MOST_OF_ALL = 1000
# Bytes of candidates at their heaviest.
MOST_BYTES = 64 << 20
_LEAST: Final = 25
# Seconds after which a record's recency counts for about a third.
_RECENT: Final = 30 * 86_400.0


@dataclass(frozen=True, slots=True)
class Position:
    """The last record of a page, and the time of the first page: newer records are not met."""

    rank: float
    id: UUID
    began: datetime
    # How many records were given until here.
    given: int


def planned_each_time(sql: str) -> str:
    """The statement, too long to be prepared: a plan that serves all words alike would read each
    record with a frequent one."""
    return sql.ljust(LONGEST_PREPARED + 1)


@dataclass(frozen=True, slots=True)
class Bounds:
    """The number of matches up to which a page is exact, and of candidates that are ranked if there
    are more matches."""

    most: int
    ranked: int


def bounds(
    index: SearchIndex, wanted: Wanted, largest: int, limit: int, position: Position | None
) -> Bounds:
    """For a page of `limit` records that weigh `largest` at most."""
    given = 0 if position is None else position.given
    # The level of a single word is nearly its rank.
    by_level = wanted.is_single and index.spec.boost is None and index.spec.recency is None
    if not wanted.is_exact:
        most = MOST_OF_ALL
    else:
        most = min((MOST_OF_A_WORD if by_level else MOST) + given, MOST_OF_ALL)
    most = max(limit, min(most, max(_LEAST, MOST_BYTES // largest)))
    # A candidate that comes by its level may come once more without.
    enough = 2 * (given + limit + 1)
    return Bounds(most, min(enough, 2 * most + 1) if by_level and wanted.is_exact else 2 * most + 1)


class Search:
    """The SQL of one search, for any page of it."""

    def __init__(self, index: SearchIndex, plan: Plan, wanted: Wanted) -> None:
        self.index = index
        self.plan = plan
        self.wanted = wanted
        self.params = plan.params.copy()
        self._query = f"{self.params.add(wanted.query, 'text')}::tsquery"

    def matching(self, columns: Sequence[str], limit: int | None = None) -> tuple[str, Params]:
        """These columns of all matches, or of some if there are more than `limit`."""
        bound = "" if limit is None else f" LIMIT {limit}"
        where = f"{self.index.marked} @@ {self._query} AND {self.plan.where}"
        return (
            f"SELECT {', '.join(columns)} FROM {self.plan.table} WHERE {where}{bound}",
            self.params,
        )

    def page(self, limit: int, within: Bounds, position: Position | None) -> tuple[str, Params]:
        """Rows of head, own fields and id, then `_rank`, `_now`, `_approximate`, and a text with
        marks for each searchable field. Without any record there is a row with `_approximate`."""
        params, most = self.params.copy(), within.most
        began = None if position is None else position.began
        now = f"coalesce({params.add(began, 'timestamptz')}, now())"
        found = self._candidates(params, most, now if position else None)
        rank = f"{self._rank(now)} AS _rank"
        after = ""
        if position is not None:
            after = (
                f" WHERE (_rank, id) < ({params.add(position.rank, 'float8')},"
                f" {params.add(position.id, 'uuid')})"
            )
        table = self.plan.table
        marked = [highlights.column(self.index, name, self._query) for name in self.index.fields]
        columns = ", ".join([
            self.plan.columns,
            "_rank",
            f"{now} AS _now",
            "_approximate",
            *(f"{text} AS _text{number}" for number, text in enumerate(marked)),
        ])  # fmt: skip
        return planned_each_time(
            f"WITH _found AS MATERIALIZED ({found}), _counted AS MATERIALIZED ("
            f"SELECT count(*) > {2 * most} OR count(*) FILTER (WHERE _rest) > {most}"
            " AS _approximate FROM _found), _ids AS (SELECT id FROM _found LIMIT"
            f" (SELECT CASE WHEN _approximate THEN {within.ranked} END FROM _counted)),"
            " _page AS MATERIALIZED ("
            f"SELECT id, _rank FROM (SELECT id, {rank} FROM ("
            f"SELECT *, {self.index.vector} AS _words FROM {table}"
            " WHERE id = ANY (ARRAY(SELECT id FROM _ids)) OFFSET 0) AS _candidates"
            f" WHERE _words @@ {self._query}) AS _ranked"
            f"{after} ORDER BY _rank DESC, id DESC LIMIT {params.add(limit + 1, 'bigint')}"
            f") SELECT {columns}"
            f" FROM _counted LEFT JOIN (_page JOIN {table} USING (id)) ON true"
            " ORDER BY _rank DESC, id DESC"
        ), params

    def parts_of_rank(self, id_: str) -> tuple[str, list[object]]:
        """A row of a record's lexemes with their weights as JSON, and of the factors of its rank,
        1 where there is none."""
        vector, query = self.index.vector, "$2::text::tsquery"
        boost = "1::float8" if self.index.boost is None else _boosted(self.index.boost)
        words = "SELECT jsonb_agg(jsonb_build_array(lexeme, weights)) FROM unnest"
        return (
            f"SELECT ({words}({vector}))::text AS words, ts_rank_cd({vector}, {query}) AS text,"
            f" {boost} AS boost, {self._recency('now()')} AS recency"
            f" FROM {self.plan.table} WHERE id = $1"
        ), [UUID(id_), self.wanted.query]

    def _candidates(self, params: Params, most: int, before: str | None) -> str:
        """SQL of the candidates' ids, some of them twice; `_rest` where they came without level."""
        levels = f"{params.add(list(self.wanted.levels), 'text[]')}::tsquery[]"
        older = "" if before is None else f" AND created_at <= {before}"
        table, where = self.plan.table, f"{self.plan.where}{older}"
        loose = self._query
        if not self.wanted.is_exact:
            loose = f"{params.add(self.wanted.loose, 'text')}::tsquery"
        newest = f"ORDER BY id DESC LIMIT {most + 1}"
        # PostgreSQL begins an arm when the arms before it have not given enough.
        return (
            f"SELECT id, _rest FROM ((SELECT _one.id, false AS _rest FROM unnest({levels}) AS _of"
            f" (_level) CROSS JOIN LATERAL (SELECT id FROM {table}"
            f" WHERE {self.index.marked} @@ _level AND {where} {newest}) AS _one)"
            f" UNION ALL (SELECT id, true FROM {table} WHERE {self.index.marked} @@ {loose}"
            f" AND {where} {newest})) AS _arms LIMIT {2 * most + 1}"
        )

    def _rank(self, now: str) -> str:
        rank = f"listo.search_rank(_words, {self._query})"
        if self.index.boost is not None:
            rank += f" * {_boosted(self.index.boost)}"
        if self.index.spec.recency is not None:
            rank += f" * {self._recency(now)}"
        return rank

    def _recency(self, now: str) -> str:
        """SQL of the factor: 2 for a record of now, going down to 1."""
        if self.index.spec.recency is None:
            return "1::float8"
        age = f"greatest(extract(epoch FROM {now} - {self.index.spec.recency}), 0)::float8"
        return f"(1 + exp(-least({age} / {_RECENT}, 50)))"


def _boosted(boost: Boost) -> str:
    """SQL of the factor: 1 where there is no number above 0, bounded where it is very large."""
    if boost.path[0] in SYSTEM_TYPES:
        number = f"{boost.path[0]}::float8"
    else:
        value = plain_sql(boost.path)
        number = (
            f"CASE jsonb_typeof({value}) WHEN 'number'"
            f" THEN least(greatest(({value})::numeric, 0), 1e15)::float8 ELSE 0 END"
        )
    match boost.function:
        case "log":
            return f"(1 + ln(1 + {number}))"
        case "sqrt":
            return f"(1 + sqrt({number}))"
        case _:
            return f"(1 + {number})"
