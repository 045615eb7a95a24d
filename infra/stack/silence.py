"""Silence the alerts that a deployment causes, while it runs."""

from __future__ import annotations

from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from infra.stack.compose import CannotRun, compose

if TYPE_CHECKING:
    from collections.abc import Iterator

# Alerts about services that stop while they are replaced, and about the consequences.
ALERTS = (
    "DatabaseDown", "DatabaseUnreachable", "EdgeDown", "NoReplicaReady", "NotificationsLost",
    "RedisDown", "RedisFallbacks", "ReplicaDown", "ReplicaNotReady", "ReplicasMissing",
    "RestartLoop", "TargetDown", "TargetMissing", "WorkerLoopStalled",
)  # fmt: skip
# A silence ends after this time if the deployment or Alertmanager was killed meanwhile.
LONGEST = "15m"
# The time until Prometheus has seen that all is well again.
AFTERWARDS = "1m"


@contextmanager
def silenced(command: str) -> Iterator[None]:
    """Hold back ALERTS within the block, and print that.

    If Alertmanager does not run, nothing is done: it would send no alert anyway.
    """
    number = _silence(
        "add", "--author", command, "--duration", LONGEST,
        "--comment", "this command stops services", f"alertname=~{'|'.join(ALERTS)}",
    )  # fmt: skip
    if not number:
        yield
        return
    print(f"  alerts about services that it stops are silenced, for {LONGEST} at the most")
    try:
        yield
    finally:
        with suppress(CannotRun):
            _silence("update", "--duration", AFTERWARDS, number)


def _silence(*words: str) -> str:
    """The number of the silence; empty if there is no Alertmanager."""
    amtool = ("amtool", "--alertmanager.url=http://127.0.0.1:9093", "silence")
    done = compose("exec", "--no-TTY", "alertmanager", *amtool, *words, timeout=30)
    return "" if done.returncode else done.stdout.strip()
