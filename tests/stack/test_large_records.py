"""Many large records at the same time: PostgreSQL survives, and other clients are served.

The records have the stack's own limit; `make test-large` raises the limit to its maximum.
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from infra.stack import compose

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from fixtures.stack import Stack

# The suite takes the settings of the API out of its environment.
MOST = int(os.environ.get("RECORD_BYTES") or compose.setting("MAX_RECORD_BYTES", "1048576"))
AT_ONCE = 12
# A text that tests can cut out, and a list whose values are costly to hold in memory.
KINDS = {"text": '{"text":"%s"}', "values": '{"list":[%s0]}'}


def body(kind: str, octets: int = MOST) -> bytes:
    if kind == "text":
        return (KINDS[kind] % ("Lorem ipsum, " * octets)[: octets - 11]).encode()
    # PostgreSQL adds a few spaces between the values.
    return (KINDS[kind] % ("1," * min(240_000, (octets - 20) // 2))).encode()


def start_times(stack: Stack) -> str:
    """The start times of PostgreSQL and its helpers; after a kill the helpers start anew."""
    (postgres,) = stack.containers("postgres")
    since = "SELECT pg_postmaster_start_time(), min(backend_start) FROM pg_stat_activity"
    return stack.docker(
        "exec", postgres["Name"], "psql", "--user=postgres", "--dbname=listo", "--tuples-only",
        f"--command={since} WHERE backend_type IN ('checkpointer', 'background writer')",
    )  # fmt: skip


@pytest.fixture(autouse=True)
def _unharmed(stack: Stack, others: None) -> Iterator[None]:
    """Meanwhile no process of PostgreSQL is killed."""
    before = start_times(stack)
    yield
    assert start_times(stack) == before


@contextmanager
def many_clients(stack: Stack) -> Iterator[Callable[..., list[httpx.Response]]]:
    with stack.admin() as client, ThreadPoolExecutor(AT_ONCE) as pool:
        client.headers["Content-Type"] = "application/json"

        def ask(method: str, path: str, **more: Any) -> list[httpx.Response]:
            return list(pool.map(lambda _: client.request(method, path, **more), range(AT_ONCE)))

        yield ask


def statuses(answers: list[httpx.Response]) -> set[int]:
    return {answer.status_code for answer in answers}


@pytest.mark.parametrize("kind", KINDS)
def test_many_at_once(stack: Stack, collection: str, kind: str) -> None:
    # The record leaves room for the patch.
    path, large = f"/collections/{collection}/records", body(kind, MOST - 100)
    with many_clients(stack) as ask:
        made = ask("POST", path, content=large)
        # If room is missing for long, the answer is 503; created records are whole.
        assert 201 in statuses(made)
        assert statuses(made) <= {201, 503}
        one = next(each.headers["location"] for each in made if each.status_code == 201)
        read = ask("GET", one)
        assert 200 in statuses(read)
        assert statuses(read) <= {200, 503}
        assert len({each.content for each in read if each.status_code == 200}) == 1
        patched = ask("PATCH", one, json={"n": 1})
        assert 200 in statuses(patched)
        # 412 is for a patch during which the others changed the record too often.
        assert statuses(patched) <= {200, 412, 503}
        listed = ask("GET", path)
        assert 200 in statuses(listed)
        assert statuses(listed) <= {200, 503}


def test_a_record_that_patches_grow(stack: Stack, collection: str) -> None:
    with stack.admin() as client:
        made = client.post(f"/collections/{collection}/records", json={})
        part = body("text", MOST * 95 // 100)[9:-2].decode()
        answers = [
            client.patch(made.headers["location"], json={f"part{number}": part})
            for number in range(5)
        ]
    assert [each.status_code for each in answers] == [200, 422, 422, 422, 422]
    assert answers[1].json()["code"] == "record_too_large"


def test_a_record_over_the_limit_is_refused(stack: Stack, collection: str) -> None:
    with stack.admin() as client:
        answer = client.post(
            f"/collections/{collection}/records",
            content=body("text", MOST + 1),
            headers={"Content-Type": "application/json"},
        )
    assert (answer.status_code, answer.json()["code"]) == (422, "record_too_large")


def test_a_page_of_large_records_ends_early(stack: Stack, collection: str) -> None:
    path, large, found = f"/collections/{collection}/records", body("text"), []
    with stack.admin() as client:
        client.headers["Content-Type"] = "application/json"
        ids = [client.post(path, content=large).json()["id"] for _ in range(9)]
        cursor: str | None = ""
        while cursor is not None:
            page = client.get(path, params={"limit": 500, **({"cursor": cursor} if cursor else {})})
            assert len(page.content) < (4 << 20) + MOST + 10_000
            found += [record["id"] for record in page.json()["items"]]
            cursor = page.json()["next"]
    assert found == ids
