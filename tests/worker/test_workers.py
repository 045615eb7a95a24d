"""Two workers on one database: one of them does each duty, and the other takes over from it.

A trigger notes a worker's work in a table, in the very transaction of the work.
"""

from __future__ import annotations

import signal
import sys
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from app.worker import LOOPS
from fixtures.background_program import Program
from fixtures.cluster import database, execute, fetch
from fixtures.open_transactions import open_transaction
from fixtures.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

EVENTS = 2500  # the worker deletes at most 1000 in a transaction, so it needs three
# Each worker's DATABASE_URL sets `test.worker` to its name, see `worker`.
TRACE = """
CREATE TABLE listo.done (worker text, events bigint[]);
CREATE FUNCTION listo.note_done() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    INSERT INTO listo.done SELECT current_setting('test.worker'), array_agg(id) FROM gone
        HAVING count(*) > 0;
    RETURN NULL;
END $$;
CREATE TRIGGER done AFTER DELETE ON listo.events REFERENCING OLD TABLE AS gone
    FOR EACH STATEMENT EXECUTE FUNCTION listo.note_done();
"""
OLD = f"""
INSERT INTO listo.events (type, occurred_at)
SELECT 'old', now() - interval '1 year' FROM generate_series(1, {EVENTS})
"""
HOLD = "SELECT FROM listo.events WHERE id = (SELECT min(id) FROM listo.events) FOR UPDATE"
AT_WORK = """
SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND state = 'active'
   AND wait_event_type = 'Lock' AND query LIKE 'DELETE FROM listo.events%'
"""


@pytest.fixture
def url(cluster_url: str) -> Iterator[str]:
    with database(cluster_url) as made:
        execute(made, TRACE, OLD)
        yield made


@contextmanager
def worker(url: str, name: str) -> Iterator[Program]:
    program = Program(
        [str(Path(sys.executable).parent / "listo"), "worker"],
        {"DATABASE_URL": f"{url}&test.worker={name}", "LOG_LEVEL": "INFO",
         "JWT_SECRET": "0123456789abcdefghijklmnopqrstuv"},
    )  # fmt: skip
    try:
        yield program
    finally:
        if program.process.poll() is None:
            program.send(signal.SIGCONT)
            program.stop(signal.SIGKILL)


def value(url: str, query: str) -> Any:
    return fetch(url, query)[0][0]


def has_the_duty(url: str, program: Program) -> bool:
    holder = fetch(url, "SELECT holder FROM listo.leases WHERE name = 'purge_events'")
    return bool(holder) and str(holder[0][0]).endswith(f":{program.process.pid}")


def at_work(url: str) -> int:
    count: int = value(url, AT_WORK)
    return count


def wait_until_done(url: str) -> set[str]:
    """The workers that purged the events, each event once."""
    wait_until(lambda: value(url, "SELECT count(*) FROM listo.events") == 0)
    done = fetch(url, "SELECT worker, events FROM listo.done")
    purged = [event for row in done for event in row["events"]]
    assert len(purged) == len(set(purged)) == EVENTS
    return {row["worker"] for row in done}


def test_each_duty_is_done_by_one(url: str) -> None:
    with worker(url, "one") as one, worker(url, "other") as other:
        with open_transaction(url, HOLD):
            for program in (one, other):
                program.wait_for("worker started")
            wait_until(lambda: at_work(url) == 1)
            # A lease lasts for 6 s, so this one was renewed at least 6 s after `began`. Workers
            # look for due duties every 2 s, so both have looked by then.
            began = value(url, "SELECT now()")
            wait_until(
                lambda: (
                    fetch(
                        url,
                        "SELECT FROM listo.leases WHERE name = 'purge_events' AND"
                        " expires_at > $1::timestamptz + interval '12 s'",
                        began,
                    )
                    != []
                )
            )
            assert at_work(url) == 1
            assert has_the_duty(url, one) or has_the_duty(url, other)
        assert len(wait_until_done(url)) == 1
        all_idle = "SELECT count(*) FROM listo.leases WHERE holder IS NULL AND due_at > now()"
        wait_until(lambda: value(url, all_idle) == len(LOOPS))
        # Each duty was due once, and one of the two did it once.
        # Jobs are looked for all the time.
        tokens = "SELECT array_agg(DISTINCT token) FROM listo.leases WHERE name <> 'run_jobs'"
        assert value(url, tokens) == [1]
        for program in (one, other):
            assert program.stop(signal.SIGTERM) == 0


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
def test_a_duty_is_taken_over(url: str, number: signal.Signals) -> None:
    with worker(url, "one") as one, ExitStack() as stack:
        with open_transaction(url, HOLD):
            wait_until(lambda: at_work(url) == 1)
            other = stack.enter_context(worker(url, "other"))
            other.wait_for("worker started")
            one.send(number)
            seconds = wait_until(lambda: has_the_duty(url, other))
            print(f"taken over {seconds:.1f} s after {number.name}")  # noqa: T201
            # A worker paused by SIGSTOP stays in PostgreSQL's queue for the rows, and gets them
            # first. A killed worker leaves the queue.
            waiting = 2 if number == signal.SIGSTOP else 1
            wait_until(lambda: at_work(url) == waiting)
        if number == signal.SIGSTOP:
            one.send(signal.SIGCONT)
        assert wait_until_done(url) == {"other"}
        assert other.stop(signal.SIGTERM) == 0
        if number == signal.SIGSTOP:
            # The former worker lives on, and has its turn again.
            execute(url, OLD, "UPDATE listo.leases SET due_at = now()")
            wait_until(lambda: value(url, "SELECT count(*) FROM listo.events") == 0)
            assert one.stop(signal.SIGTERM) == 0


def test_a_worker_that_stops_gives_back_what_it_has(url: str) -> None:
    with worker(url, "one") as one, open_transaction(url, HOLD):
        wait_until(lambda: at_work(url) == 1)
        assert one.stop(signal.SIGTERM) == 0
        free = "SELECT holder IS NULL AND greatest(expires_at, due_at) <= now() FROM listo.leases"
        assert value(url, f"{free} WHERE name = 'purge_events'") is True
    assert value(url, "SELECT count(*) FROM listo.events") == EVENTS
