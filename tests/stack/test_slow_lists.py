"""One address asks for slow lists, and other clients notice little."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from typing import TYPE_CHECKING
from urllib.parse import urlencode

import httpx
import pytest

from fixtures.stack import again, trust

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fixtures.stack import Stack

RECORDS = 100_000
LISTS, AT_ONCE = 60, 30
TERMS = 99
# The seconds between reads of a record of another collection, by another client.
PAUSE = 0.05
FILL = """
INSERT INTO records."{name}" (id, data)
SELECT gen_random_uuid(), jsonb_build_object('title', repeat('lorem ipsum ' || i, 4))
FROM generate_series(1, {count}) i
"""
UNDER_WAY = (
    "SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND pid <> pg_backend_pid()"
    " AND query LIKE '%records.\"{name}\"%'"
)


def sql(stack: Stack, statement: str) -> str:
    return stack.compose(
        "exec", "-T", "postgres", "psql", "-U", "postgres", "-d", "listo", "-qtAc", statement,
    ).strip()  # fmt: skip


@pytest.fixture
def large(stack: Stack) -> Iterator[str]:
    fields = {"type": "object", "properties": {"title": {"type": "string"}}}
    with stack.collection(schema=fields, indexes=[]) as name:
        sql(stack, FILL.format(name=name, count=RECORDS))
        yield name


def test_slow_lists_of_one_address_keep_nobody_else(
    stack: Stack, large: str, collection: str
) -> None:
    records = f"/collections/{collection}/records"
    with stack.admin() as admin:
        one = again(lambda: admin.post(records, json={"n": 1})).json()["id"]
        token = admin.headers["Authorization"]
    # PostgreSQL evaluates all terms for each record, and finds none.
    terms = [f'not title ilike "%zq{number}x%"' for number in range(TERMS - 1)]
    filter_ = " and ".join([*terms, 'not title ilike "%lorem%"'])

    async def attack() -> Counter[str]:
        """The statuses of slow lists from another address, which is charged for them."""
        asking = await asyncio.create_subprocess_exec(
            "docker", "exec", "--interactive", stack.containers("blackbox-exporter")[0]["Name"],
            "curl", "--parallel", "--parallel-max", str(AT_ONCE), "--http1.1", "--insecure",
            "--silent", "--write-out", "%{http_code}\n", "--config", "-",
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
        )  # fmt: skip
        query = urlencode({"filter": filter_, "limit": 500})
        url = f"https://nginx:8443/collections/{large}/records?{query}"
        config = f'url = "{url}"\noutput = "/dev/null"\n' * LISTS
        printed, _ = await asyncio.wait_for(asking.communicate(config.encode()), 120)
        return Counter(printed.decode().split())

    async def probe(until: asyncio.Task[Counter[str]]) -> list[tuple[int, float]]:
        noticed = []
        async with httpx.AsyncClient(
            base_url=stack.url, verify=trust(), timeout=60, trust_env=False,
            headers={"Authorization": token},
        ) as client:  # fmt: skip

            async def read() -> None:
                began = time.monotonic()
                answer = await client.get(f"{records}/{one}")
                noticed.append((answer.status_code, time.monotonic() - began))

            reads = []
            while not until.done():
                reads.append(asyncio.create_task(read()))
                await asyncio.sleep(PAUSE)
            await asyncio.gather(*reads)
        return noticed

    async def both() -> tuple[Counter[str], list[tuple[int, float]]]:
        attacking = asyncio.create_task(attack())
        noticed = await probe(attacking)
        return await attacking, noticed

    answers, noticed = asyncio.run(both())
    seconds = sorted(taken for _, taken in noticed)
    p99 = seconds[int(len(seconds) * 0.99)]
    fine = sum(status == 200 for status, _ in noticed) / len(noticed)
    print(  # noqa: T201
        f"\n{dict(answers)}; {len(noticed)} reads by others: {fine:.3f} 200, p50 "
        f"{seconds[len(seconds) // 2]:.3f} s, p99 {p99:.3f} s, at most {seconds[-1]:.3f} s"
    )
    assert answers.total() == LISTS
    assert set(answers) <= {"200", "429", "503"}
    # Few lists are in work at the same time, and their time is charged to later lists.
    assert answers["503"] + answers["429"] >= LISTS - AT_ONCE - 10
    assert answers["429"]
    assert fine >= 0.9
    assert sql(stack, UNDER_WAY.format(name=large)) == "0"
