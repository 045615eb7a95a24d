"""Lists that take long: they end, they cost their caller, and they hold up nobody else."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from fixtures.cluster import database, execute, fetch
from fixtures.open_transactions import open_transaction
from fixtures.server import serving, settings
from fixtures.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    import httpx

    from fixtures.server import Server

SLOW, QUICK = "/collections/slow/records", "/collections/quick/records"
# In place of records that take long to look through.
SLEEP = """
ALTER TABLE records.slow RENAME TO kept;
CREATE VIEW records.slow AS SELECT * FROM records.kept WHERE pg_sleep(600) IS NOT NULL;
"""
SLEEPING = (
    "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND wait_event = 'PgSleep'"
)


@pytest.fixture
def url(cluster_url: str) -> Iterator[str]:
    with database(cluster_url) as made:
        yield made


def filled(server: Server, url: str) -> httpx.Client:
    admin = server.admin()
    for name in ("slow", "quick"):
        rules = dict.fromkeys(("list", "read", "create"), "")
        fields = {"properties": {"title": {"type": "string"}}}
        made = admin.put(f"/collections/{name}", json={"schema": fields, "rules": rules})
        assert made.status_code == 201, made.text
        for _ in range(3):
            assert admin.post(f"/collections/{name}/records", json={"title": "x"}).is_success
    execute(url, SLEEP)
    return admin


def sleeping(url: str, number: int) -> list[int]:
    """The backends that sleep, once they are `number`."""
    found: list[int] = []

    def asleep() -> bool:
        found[:] = [row[0] for row in fetch(url, SLEEPING)]
        return len(found) == number

    wait_until(asleep)
    return found


def test_a_list_is_ended_in_postgres_and_told_what_would_help(url: str) -> None:
    with serving(settings(url, list_timeout=0.5)) as server:
        filled(server, url)
        asked = {"filter": 'not title ilike "a%"', "sort": "title", "count": "exact"}
        answer = server.client().get(SLOW, params=asked)
        assert answer.status_code == 503
        problem = answer.json()
        assert problem["code"] == "query_too_slow"
        for help_ in ("an index", "a smaller filter", "count=none"):
            assert help_ in problem["detail"]
        sleeping(url, 0)
        assert server.client().get(QUICK).status_code == 200


def test_a_list_that_waits_for_a_lock_is_not_told_to_be_slow(url: str) -> None:
    with serving(settings(url, list_timeout=0.5)) as server:
        filled(server, url)
        with open_transaction(url, "LOCK TABLE records.quick IN ACCESS EXCLUSIVE MODE"):
            answer = server.client().get(QUICK)
        assert (answer.status_code, answer.json()["code"]) == (503, "request_timeout")


@pytest.mark.parametrize("counted", [1, 10])
def test_what_a_list_took_is_charged_and_the_next_requests_wait(url: str, counted: int) -> None:
    limits = {"rate_limit_anonymous": "14/hour", "rate_limit_user": "off"}
    with serving(settings(url, list_timeout=1.25, **limits)) as server:
        filled(server, url)
        stranger = server.client()
        params = {"count": "exact"} if counted > 1 else {}
        first = stranger.get(SLOW, params=params)
        assert first.json()["code"] == "query_too_slow"
        # Ten requests for each second; the request itself is among them.
        left = int(first.headers["ratelimit"].split(";r=")[1].split(";")[0])
        assert left in (1, 2)
        second = stranger.get(SLOW)
        assert second.json()["code"] == "query_too_slow"
        assert ";r=0;" in second.headers["ratelimit"]
        assert stranger.get(QUICK).status_code == 429


def test_one_caller_keeps_nobody_from_the_database(url: str) -> None:
    with serving(settings(url, list_timeout=120, database_pool_size=10)) as server:
        admin = filled(server, url)
        record = admin.get(QUICK).json()["items"][0]["id"]
        with ThreadPoolExecutor(20) as pool:
            stranger = server.client()
            slow = [pool.submit(stranger.get, SLOW) for _ in range(20)]
            # A caller without a history may have two lists in work at the same time.
            pids = sleeping(url, 2)
            # Another caller is served meanwhile.
            for _ in range(20):
                assert admin.get(QUICK).status_code == 200
                assert admin.get(f"{QUICK}/{record}").status_code == 200
                assert admin.post(QUICK, json={"title": "y"}).status_code == 201
            assert sorted(sleeping(url, 2)) == sorted(pids)

            # Lists that waited in vain have not begun.
            def ended() -> bool:
                for row in fetch(url, SLEEPING):
                    fetch(url, "SELECT pg_cancel_backend($1)", row[0])
                return all(each.done() for each in slow)

            wait_until(ended)
            codes = [each.result().json()["code"] for each in slow]
            assert codes.count("query_too_slow") >= 2
            assert set(codes) <= {"query_too_slow", "overloaded"}
