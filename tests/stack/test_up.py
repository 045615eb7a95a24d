"""`make up` on a stack that runs already."""

from __future__ import annotations

from typing import TYPE_CHECKING

from infra.stack.compose import ROOT

if TYPE_CHECKING:
    from fixtures.stack import Stack


def started(stack: Stack) -> dict[str, str]:
    """When each container started, by its name."""
    names = [one["Name"] for one in stack.containers("redis") + stack.containers("postgres")]
    lines = stack.docker("inspect", "--format", "{{.Name}} {{.State.StartedAt}}", *names)
    return dict(line.removeprefix("/").split() for line in lines.splitlines())


def test_what_changed_is_read_and_all_else_goes_on(stack: Stack) -> None:
    # Whatever has changed until now.
    stack.up()
    before = started(stack)
    stack.up()
    assert started(stack) == before
    (ROOT / "infra" / "redis" / "redis.conf").touch()
    stack.up()
    after = started(stack)
    changed = [name for name in before if after[name] != before[name]]
    assert changed == [stack.containers("redis")[0]["Name"]]
    with stack.admin() as admin:
        assert admin.get("/health/ready").json()["checks"]["redis"]["ok"]
