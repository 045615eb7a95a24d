"""The limit of requests in work: how it falls and rises, and the order of refusals."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import pytest

from app.overload.concurrency import (
    SHARES,
    TARGET_SECONDS,
    Concurrency,
    Importance,
    importance_of,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

MOST, LEAST = 200, 10
SLOW, FAST = TARGET_SECONDS * 2, TARGET_SECONDS / 2
PATIENCE = 20


def made(most: int = MOST, least: int = LEAST) -> Concurrency:
    return Concurrency(most, least, delay=lambda: 0.0, lingering=lambda _: 0)


def steps(concurrency: Concurrency, delays: Iterable[float], lingering: int = 0) -> None:
    for delay in delays:
        concurrency.adjust(delay, lingering)


def free_places(concurrency: Concurrency, importance: Importance) -> int:
    """The number of further requests of an importance that get in; they leave again."""
    entered = 0
    while concurrency.enter(importance):
        entered += 1
    for _ in range(entered):
        concurrency.leave(importance)
    return entered


def test_fast_requests_of_any_kind_fill_the_whole_limit() -> None:
    concurrency = made()
    steps(concurrency, [FAST] * 50)
    assert [free_places(concurrency, each) for each in Importance] == [MOST] * len(Importance)


def test_a_delay_lowers_the_limit_within_seconds_and_no_further_than_its_least() -> None:
    concurrency = made()
    steps(concurrency, [SLOW] * 30)
    assert concurrency.limit == LEAST
    steps(concurrency, [SLOW] * 500)
    assert concurrency.limit == LEAST


def test_the_limit_recovers_within_seconds_and_no_further_than_its_most() -> None:
    concurrency = made()
    steps(concurrency, [SLOW] * 100)
    steps(concurrency, [FAST] * 20)
    assert free_places(concurrency, Importance.ANONYMOUS) == MOST
    steps(concurrency, [FAST] * 500)
    assert concurrency.limit == MOST


def test_one_late_turn_costs_little() -> None:
    concurrency = made()
    steps(concurrency, [60.0])
    assert concurrency.limit >= MOST / 2


def test_a_hiccup_refuses_none_of_fifty() -> None:
    # A busy machine, a checkpoint or a pool that opens its connections takes two seconds at most.
    concurrency = made()
    steps(concurrency, [SLOW] * 10)
    assert free_places(concurrency, Importance.READ) >= 50


def test_the_limit_settles_at_the_target_delay() -> None:
    """At 1,000 requests a second, 250 requests in work wait for a quarter second."""
    concurrency = made(most=500)
    seen = []
    for _ in range(300):
        concurrency.adjust(concurrency.limit / 1000, 0)
        seen.append(concurrency.limit)
    assert min(seen[100:]) > 0.85 * TARGET_SECONDS * 1000
    assert max(seen[100:]) < 1.15 * TARGET_SECONDS * 1000


@pytest.mark.parametrize("strain", ["delayed", "lingering"])
def test_the_least_important_are_refused_first(strain: str) -> None:
    concurrency = made()
    if strain == "delayed":
        steps(concurrency, [SLOW, *[FAST] * 3, SLOW])
    else:
        steps(concurrency, [FAST], lingering=MOST // 2 + 1)
    places = [free_places(concurrency, each) for each in Importance]
    assert places == sorted(set(places))
    assert places == [int(concurrency.limit * share) for share in SHARES]
    # Places that other requests hold count for every importance.
    while concurrency.enter(Importance.ANONYMOUS):
        pass
    assert free_places(concurrency, Importance.ANONYMOUS) == 0
    assert free_places(concurrency, Importance.IDEMPOTENT_WRITE) == places[-1] - places[0]


@pytest.mark.parametrize(("most", "least"), [(1, 10), (2, 2), (1, 1)])
def test_the_smallest_limits_let_everybody_in(most: int, least: int) -> None:
    concurrency = made(most, least)
    steps(concurrency, [SLOW] * 50, lingering=most)
    assert all(free_places(concurrency, each) >= 1 for each in Importance)


def test_a_late_event_loop_lowers_the_limit() -> None:
    async def work() -> float:
        concurrency = made()
        running = asyncio.create_task(concurrency.run())
        deadline = time.monotonic() + PATIENCE
        while concurrency.limit == MOST:
            assert time.monotonic() < deadline
            await asyncio.sleep(0)
            # The blocking call is on purpose: it holds up the whole loop.
            time.sleep(2 * TARGET_SECONDS)  # noqa: ASYNC251
        lowered = concurrency.limit
        running.cancel()
        return lowered

    assert asyncio.run(work()) < MOST


@pytest.mark.parametrize(
    ("method", "path", "fields", "expected"),
    [
        ("GET", "/collections/a/records", {}, Importance.ANONYMOUS),
        ("OPTIONS", "/collections", {}, Importance.ANONYMOUS),
        ("HEAD", "/collections", {b"idempotency-key": b"x"}, Importance.ANONYMOUS),
        ("POST", "/auth/login", {}, Importance.LOGIN),
        ("POST", "/auth/register", {b"idempotency-key": b"x"}, Importance.LOGIN),
        ("GET", "/collections", {b"authorization": b"x"}, Importance.READ),
        ("POST", "/auth/refresh", {}, Importance.LOGIN),
        ("POST", "/collections/a/records", {b"idempotency-key": b"x"}, Importance.LOGIN),
        ("PATCH", "/collections/a/records/1", {b"authorization": b"x"}, Importance.WRITE),
        (
            "POST",
            "/collections/a/records",
            {b"authorization": b"x", b"idempotency-key": b"x"},
            Importance.IDEMPOTENT_WRITE,
        ),
    ],
)
def test_a_request_has_its_importance(
    method: str, path: str, fields: dict[bytes, bytes], expected: Importance
) -> None:
    assert importance_of({"method": method, "path": path}, fields) is expected


class Waiting:
    """Requests at a limit, by name, and the outcome of those that had to wait."""

    def __init__(self, concurrency: Concurrency) -> None:
        self.concurrency = concurrency
        self.began: list[str] = []
        self.refused: list[str] = []
        self.gone: set[str] = set()

    def come(self, name: str, importance: Importance) -> None:
        def begin() -> bool:
            if name in self.gone:
                return False
            self.began.append(name)
            return True

        def refuse() -> bool:
            self.refused.append(name)
            return True

        if self.concurrency.enter(importance):
            begin()
        elif not self.concurrency.wait(importance, begin, refuse):
            refuse()


def test_waiting_requests_enter_by_importance_and_then_in_order_of_arrival() -> None:
    scene = Waiting(made(1))
    scene.come("first", Importance.ANONYMOUS)
    for name, importance in (
        ("stranger", Importance.ANONYMOUS),
        ("read", Importance.READ),
        ("another read", Importance.READ),
        ("keyed", Importance.IDEMPOTENT_WRITE),
    ):
        scene.come(name, importance)
    scene.concurrency.leave(Importance.ANONYMOUS)
    # A late request does not pass those that wait.
    scene.come("late read", Importance.READ)
    for importance in (Importance.IDEMPOTENT_WRITE, *[Importance.READ] * 3):
        scene.concurrency.leave(importance)
    assert scene.began == ["first", "keyed", "read", "another read", "late read", "stranger"]


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time that the queue sees."""
    now = [100.0]
    monkeypatch.setattr("app.overload.queueing.time.monotonic", lambda: now[0])
    return now


def test_no_request_is_refused_because_others_were_slow(clock: list[float]) -> None:
    scene = Waiting(made(4))
    for _ in range(4 + 10):
        scene.come("read", Importance.READ)
    # A hiccup: at two requests a second, the last late request would wait for 15 seconds.
    for _ in range(10):
        clock[0] += 0.1
        scene.concurrency.expire()
    for _ in range(2):
        scene.concurrency.leave(Importance.READ)
    for _ in range(10):
        scene.come("late", Importance.READ)
    for _ in range(22):
        scene.concurrency.leave(Importance.READ)
    assert scene.began.count("late") == 10
    assert scene.refused == []


def test_a_request_that_has_waited_too_long_is_refused(clock: list[float]) -> None:
    scene = Waiting(made(1))
    scene.come("first", Importance.READ)
    scene.come("early", Importance.READ)
    clock[0] += 1
    scene.come("late", Importance.READ)
    clock[0] += 0.6
    scene.concurrency.expire()
    scene.concurrency.leave(Importance.READ)
    assert scene.began == ["first", "late"]
    assert scene.refused == ["early"]


def test_at_most_five_wait_and_the_least_important_make_room() -> None:
    scene = Waiting(made(1))
    scene.come("first", Importance.READ)
    for number in range(7):
        scene.come(f"stranger {number}", Importance.ANONYMOUS)
    scene.come("read", Importance.READ)
    scene.concurrency.leave(Importance.READ)
    assert scene.began == ["first", "read"]
    # Five may wait, so strangers 5 and 6 came too late; then the last waiting stranger makes room.
    assert scene.refused == ["stranger 5", "stranger 6", "stranger 4"]


def test_a_request_that_leaves_while_waiting_keeps_no_place() -> None:
    scene = Waiting(made(1))
    for name in ("first", "second", "third", "fourth"):
        scene.come(name, Importance.READ)
    scene.gone |= {"second", "third"}
    scene.concurrency.leave(Importance.READ)
    assert scene.began == ["first", "fourth"]
    scene.concurrency.leave(Importance.READ)
    assert scene.concurrency.in_work == [0] * len(Importance)
