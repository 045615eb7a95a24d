"""Imports through the edge: as they arrive, whole or not at all, and jobs that the worker does."""

from __future__ import annotations

import gzip
import json
import subprocess
from typing import TYPE_CHECKING

import httpx
import pytest

from fixtures.stack import again

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fixtures.stack import Stack

RECORDS = 20_000
CONTENT = b"".join([b'{"n":%d,"title":"%s"}\n' % (n, b"lorem ipsum " * 60) for n in range(RECORDS)])
NDJSON = {"Content-Type": "application/x-ndjson"}


@pytest.fixture
def path(stack: Stack) -> Iterator[str]:
    schema = {"properties": {"n": {"type": "integer"}, "title": {"type": "string"}}}
    with stack.collection(indexes=[], schema=schema) as name:
        yield f"/collections/{name}"


def number(admin: httpx.Client, path: str) -> int:
    answer = again(lambda: admin.get(f"{path}/records", params={"count": "exact", "limit": 1}))
    total: int = answer.json()["total"]
    return total


def test_a_file_larger_than_a_body_comes_in(stack: Stack, path: str) -> None:
    assert len(CONTENT) > 10_485_760
    with stack.admin() as admin:
        refused = admin.post(f"{path}/records", content=CONTENT)
        assert refused.status_code == 413
        answer = again(lambda: admin.post(f"{path}/import", content=CONTENT, headers=NDJSON))
        assert answer.json()["inserted"] == RECORDS, answer.text
        assert number(admin, path) == RECORDS


def test_an_import_whose_replica_is_killed_leaves_nothing(stack: Stack, path: str) -> None:
    lines = iter(CONTENT.splitlines(keepends=True))

    def parts() -> Iterator[bytes]:
        for _ in range(RECORDS // 2):
            yield next(lines)
        for one in stack.containers("api"):
            subprocess.run(["docker", "kill", one["Name"]], check=True, capture_output=True)
        yield from lines

    with stack.admin() as admin:
        try:
            answer = admin.post(f"{path}/import", content=parts(), headers=NDJSON)
            assert answer.status_code in (502, 504)
        except httpx.TransportError:
            pass
        finally:
            stack.up()
        assert number(admin, path) == 0
        answer = again(lambda: admin.post(f"{path}/import", content=CONTENT, headers=NDJSON))
        assert answer.json()["inserted"] == RECORDS


def test_the_worker_does_jobs(stack: Stack, path: str) -> None:
    with stack.admin() as admin:
        later = {**NDJSON, "Prefer": "respond-async"}
        packed = gzip.compress(CONTENT)
        begun = again(lambda: admin.post(f"{path}/import", content=packed, headers=later))
        assert begun.status_code == 202, begun.text
        job = begun.headers["location"]

        def state() -> str:
            return str(again(lambda: admin.get(job)).json()["state"])

        stack.wait(lambda: state() not in ("waiting", "running"), "the job does not end")
        assert (state(), number(admin, path)) == ("succeeded", RECORDS)
        begun = again(lambda: admin.post(f"{path}/exports"))
        job = begun.headers["location"]
        stack.wait(lambda: state() not in ("waiting", "running"), "the job does not end")
        result = again(lambda: admin.get(f"{job}/result"))
        assert len([json.loads(line) for line in result.iter_lines()]) == RECORDS
        found = again(lambda: admin.get(f"{job}/result", headers={"Range": "bytes=0-99"}))
        assert found.status_code == 206
