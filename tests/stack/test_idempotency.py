"""50 clients, one idempotency key, and a replica that is killed meanwhile: one write.

`make test-keys ROUNDS=200` is the long run.
"""

from __future__ import annotations

import os
import random
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import httpx

from fixtures.stack import PATIENCE, again, trust

if TYPE_CHECKING:
    from fixtures.stack import Stack

ROUNDS = int(os.environ.get("ROUNDS", "3"))
CLIENTS = 50
BATCH = 200


class Sender:
    """Sends its request until an answer is final."""

    def __init__(self, stack: Stack, api_key: str) -> None:
        self.outcomes: list[str] = []
        self._http = httpx.Client(
            base_url=stack.url, verify=trust(), timeout=PATIENCE, trust_env=False,
            headers={"Authorization": f"Bearer {api_key}"},
            limits=httpx.Limits(max_connections=CLIENTS),
        )  # fmt: skip

    def send_until_final(self, path: str, body: Any, key: str) -> httpx.Response:
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                answer = self._http.post(path, json=body, headers={"Idempotency-Key": f'"{key}"'})
            except httpx.TransportError as error:
                self.outcomes.append(type(error).__name__)
                pause = 0.05
            else:
                replayed = answer.headers.get("Idempotency-Replayed") == "true"
                self.outcomes.append(f"{answer.status_code}{' replayed' if replayed else ''}")
                if answer.is_success:
                    return answer
                assert answer.status_code == 409, answer.text
                assert answer.json()["code"] == "idempotency_key_in_progress"
                pause = float(answer.headers["Retry-After"])
            assert time.monotonic() < deadline, Counter(self.outcomes)
            time.sleep(pause)

    def close(self) -> None:
        self._http.close()


def test_one_key_is_one_write_whoever_is_killed(stack: Stack, collection: str) -> None:
    replicas = len(stack.containers("api"))
    assert replicas > 1
    outcomes: Counter[str] = Counter()
    with (
        stack.keys(1, rate_limit="off") as (api_key,),
        ThreadPoolExecutor(CLIENTS + 1) as pool,
    ):
        for round_ in range(ROUNDS):
            victim = stack.containers("api")[round_ % replicas]["Name"]
            sender = Sender(stack, api_key)
            try:
                one_round(stack, pool, sender, collection, victim, batch=round_ % 2 == 1)
            finally:
                sender.close()
            outcomes.update(sender.outcomes)
            stack.wait_healthy("api", replicas)
    print(f"\n{ROUNDS} rounds: {dict(outcomes)}")  # noqa: T201 - what the long run is for
    assert sum(count for outcome, count in outcomes.items() if outcome in ("200", "201")) <= ROUNDS


def one_round(
    stack: Stack,
    pool: ThreadPoolExecutor,
    sender: Sender,
    collection: str,
    victim: str,
    *,
    batch: bool,
) -> None:
    title, number = uuid4().hex, BATCH if batch else 1
    body: Any = {"n": 1, "title": title}
    path = f"/collections/{collection}/records"
    if batch:
        path, body = f"{path}:batch", {"operations": [{"op": "create", "data": body}] * number}
    started = _start_time(stack, victim)
    killing = pool.submit(stack.kill_main_process, victim)
    # The kill meets the requests at another moment in each round.
    time.sleep(random.uniform(0, 0.4))
    key = str(uuid4())
    sent = [pool.submit(sender.send_until_final, path, body, key) for _ in range(CLIENTS)]
    answers = [each.result(2 * PATIENCE) for each in sent]
    killing.result(PATIENCE)
    stack.wait(lambda: _start_time(stack, victim) != started, f"{victim} is started anew")

    # The first answer is lost if its replica died before sending it; all others are replays.
    firsts = [one for one in answers if "Idempotency-Replayed" not in one.headers]
    assert len(firsts) <= 1
    assert len({one.content for one in answers}) == 1
    body = answers[0].json()
    ids = {one["id"] for one in body.get("results", [body])}
    assert len(ids) == number
    assert _ids_of(stack, collection, title) == ids


def _ids_of(stack: Stack, collection: str, title: str) -> set[str]:
    query: dict[str, str | int] = {"filter": f'title = "{title}"', "fields": "id", "limit": 500}
    with stack.admin() as admin:
        page = again(lambda: admin.get(f"/collections/{collection}/records", params=query)).json()
    assert page["next"] is None
    return {item["id"] for item in page["items"]}


def _start_time(stack: Stack, container: str) -> str:
    return stack.docker("inspect", "--format", "{{.State.StartedAt}}", container)
