"""Requests go to every replica, and each has metrics of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import uuid4

from fixtures.stack import of_request

if TYPE_CHECKING:
    from fixtures.stack import Stack


def test_every_replica_serves(stack: Stack) -> None:
    ids = {uuid4().hex for _ in range(60)}
    with stack.client() as client:
        for one in ids:
            assert client.get("/health", headers={"X-Request-ID": one}).status_code == 200
    lines = of_request(stack, ids, ["nginx"], len(ids))
    upstreams = [line["upstream"] for line in lines]
    assert len(upstreams) == len(ids)
    assert len(set(upstreams)) == len(stack.containers("api"))


def test_prometheus_sees_each_replica_by_itself(stack: Stack) -> None:
    def seen() -> bool:
        # For five minutes Prometheus still reports targets from before its restart.
        up = stack.query('up{job="api"} == 1 and timestamp(up{job="api"}) > time() - 30')
        return len({one["metric"]["instance"] for one in up}) == len(stack.containers("api"))

    stack.wait(seen, "every replica in Prometheus")
