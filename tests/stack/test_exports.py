"""Exports through the edge: whole, at the client's pace, and seen to be cut."""

from __future__ import annotations

import gzip
import hashlib
import json
from typing import TYPE_CHECKING

import httpx
import pytest

from fixtures.stack import again

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fixtures.stack import Stack

RECORDS = 100_000
PLAIN = {"Accept-Encoding": "identity"}
FILL = """
INSERT INTO records."{name}" (id, data)
SELECT gen_random_uuid(), jsonb_build_object('n', i, 'text', repeat('lorem ipsum ', 80))
FROM generate_series(1, {count}) i
"""
READERS = """
SELECT count(*) FROM pg_locks WHERE relation = 'records."{name}"'::regclass
"""


def sql(stack: Stack, statement: str) -> str:
    return stack.compose(
        "exec", "-T", "postgres", "psql", "-U", "postgres", "-d", "listo", "-qtAc", statement,
    ).strip()  # fmt: skip


@pytest.fixture(scope="module")
def filled(stack: Stack) -> Iterator[str]:
    with stack.collection(indexes=[]) as name:
        sql(stack, FILL.format(name=name, count=RECORDS))
        yield name


def test_an_export_comes_whole(stack: Stack, filled: str) -> None:
    with stack.admin() as admin:
        path = f"/collections/{filled}/export"
        response = again(lambda: admin.get(path, params={"trailer": "true"}, headers=PLAIN))
        assert response.status_code == 200, response.text
        *records, last = response.content.splitlines(keepends=True)
        digest = hashlib.sha256(b"".join(records)).hexdigest()
        assert json.loads(last) == {"_end": {"count": RECORDS, "sha256": digest}}
        with admin.stream("GET", path, headers={"Accept-Encoding": "gzip"}) as compressed:
            assert compressed.headers["content-encoding"] == "gzip"
            assert gzip.decompress(b"".join(compressed.iter_raw())) == b"".join(records)


def test_a_slow_client_sets_the_pace_and_one_that_leaves_ends_it(stack: Stack, filled: str) -> None:
    with stack.admin() as admin:
        path = f"/collections/{filled}/export"
        with admin.stream("GET", path, headers=PLAIN) as response:
            assert response.status_code == 200
            parts = response.iter_raw()
            next(parts)
            # The rest fits into no buffer, so PostgreSQL waits with it.
            assert sql(stack, READERS.format(name=filled)) != "0"
        stack.wait(lambda: sql(stack, READERS.format(name=filled)) == "0", "the export goes on")


def test_an_export_that_postgres_ends_is_not_a_whole_one(stack: Stack, filled: str) -> None:
    with (
        stack.admin() as admin,
        admin.stream("GET", f"/collections/{filled}/export", headers=PLAIN) as response,
    ):
        assert response.status_code == 200
        parts = response.iter_raw()
        next(parts)
        sql(
            stack,
            "SELECT pg_terminate_backend(pid) FROM pg_locks"
            f" WHERE relation = 'records.\"{filled}\"'::regclass",
        )
        with pytest.raises(httpx.HTTPError):
            list(parts)
