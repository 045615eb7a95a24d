"""Further stages beside a first: databases of their own in its PostgreSQL and its Redis."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench.stage import ROOT, Stage
from fixtures.cluster import execute

if TYPE_CHECKING:
    from pathlib import Path


def add_stage(
    first: Stage, number: int, *, tree: Path = ROOT, template: Stage | None = None
) -> Stage:
    """Another stage in the same PostgreSQL and Redis, each with data of its own.

    The database is empty, or a copy of the `template`'s, to which nothing may be connected.
    """
    name = f"beside_{number}"
    copied = "" if template is None else f' TEMPLATE "{_database(template)}" STRATEGY file_copy'
    execute(_url(first, "postgres"), f"CREATE DATABASE {name}{copied}")
    folder = first.folder / name
    folder.mkdir()
    made = Stage(_url(first, name), f"{first.redis_url}/{number}", folder, tree)
    own = ("DATABASE_URL", "REDIS_URL", "PYTHONPATH")
    made.environment = first.environment | {key: made.environment[key] for key in own}
    return made


def _database(stage: Stage) -> str:
    return stage.database_url.rpartition("@/")[2].partition("?")[0]


def _url(stage: Stage, database: str) -> str:
    before, _, after = stage.database_url.rpartition("@/")
    return f"{before}@/{database}?{after.partition('?')[2]}"
