"""`make up` brings a serving stack up to date: in a copy of this checkout, with a fake engine.
tests/stack/test_renewal.py does it with clients."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from fixtures.checkout import Checkout

ONE_SHOTS = ["volumes", "authority", "replicas", "migrate"]
# Services in order as they are started, restarted or stopped.
DONE = re.compile(r"^(?:compose (up|restart) .*?([\w-]+)|(stop) listo-([\w-]+))$")


def steps(checkout: Checkout) -> list[str]:
    found = [DONE.match(line) for line in checkout.asked()]
    words = [tuple(word for word in one.groups() if word) for one in found if one]
    return [" ".join(one) for one in words if one[1] not in ONE_SHOTS]


def roll(service: str, first: int, last: int) -> list[str]:
    """The steps of a roll: each container is started before its forerunner is stopped."""
    numbers = range(first, last + 1)
    return [word for old in numbers for word in (f"up {service}", f"stop {service}-{old}")]


EVERY_REPLICA = [*roll("api", 1, 3), *roll("worker", 1, 1)]


def test_no_service_starts_again_without_a_reason(checkout: Checkout) -> None:
    checkout.up()
    checkout.up()
    assert steps(checkout) == []
    checkout.change(checkout.secrets / "postgres_monitor_password", "x" * 64)
    checkout.up()
    assert steps(checkout) == ["restart postgres-exporter"]
    checkout.up()
    assert steps(checkout) == []


def test_the_first_start_is_one_call(checkout: Checkout) -> None:
    checkout.up()
    assert checkout.asked("^compose up") == ["compose up --detach --no-build --remove-orphans"]


@pytest.mark.parametrize("changed", ["api", "worker", "nginx", "grafana", "prometheus"])
def test_another_definition_makes_that_service_anew_and_no_other(
    checkout: Checkout, changed: str
) -> None:
    checkout.up()
    checkout.has(changed=[changed])
    checkout.up()
    expected = {"api": roll("api", 1, 3), "worker": roll("worker", 1, 1)}
    assert steps(checkout) == expected.get(changed, [f"up {changed}"])
    checkout.up()
    assert steps(checkout) == []


def test_another_image_replaces_all_containers_that_run_it(checkout: Checkout) -> None:
    checkout.up()
    checkout.has(changed=["listo/api:0.1.0"])
    checkout.up()
    assert steps(checkout) == EVERY_REPLICA


@pytest.mark.parametrize(
    ("secret", "expected"),
    [
        ("jwt_secret", EVERY_REPLICA),
        # Redis accepts both passwords until no service needs the former one.
        ("redis_listo_password", ["restart redis", "up redis", *EVERY_REPLICA, "restart redis",
                                  "up redis"]),
        ("grafana_secret_key", ["restart grafana"]),
        # These passwords count only at the first start.
        ("admin_password", []),
        ("grafana_admin_password", []),
        # PostgreSQL takes these while it runs, and no other service has them.
        ("postgres_owner_password", []),
        ("postgres_backup_password", []),
    ],
)  # fmt: skip
def test_only_services_with_a_changed_secret_start_again(
    checkout: Checkout, secret: str, expected: list[str]
) -> None:
    checkout.up()
    checkout.change(checkout.secrets / secret, "x" * 64)
    checkout.up()
    assert steps(checkout) == expected


def test_more_and_fewer_replicas_leave_the_others_alone(checkout: Checkout) -> None:
    checkout.up()
    checkout.up(REPLICAS="5")
    assert steps(checkout) == ["up api"]
    assert checkout.asked("--scale api=5")
    checkout.up(REPLICAS="2")
    assert steps(checkout) == ["stop api-5", "stop api-4", "stop api-3"]


def test_a_replica_leaves_nginx_before_it_stops(checkout: Checkout) -> None:
    checkout.up()
    checkout.up(REPLICAS="2")
    asked = checkout.asked(r"leaving|^stop|^rm")
    assert [line.split()[0] for line in asked] == ["exec", "stop", "rm", "exec"]
    assert "! grep -q 'server 10.0.0.1:'" in asked[0]


@pytest.mark.parametrize(
    ("answers", "why"),
    [
        (
            {"compose run": [4, "1 setting is wrong:\n  RATE_LIMIT_USER: 'foo' is no rate\n"]},
            "it would not start: 1 setting is wrong: RATE_LIMIT_USER: 'foo' is no rate",
        ),
        ({"wait": [0, "1\n"]}, "volumes ended with status 1"),
        ({"compose pull": [1, "no such image\n"]}, "images pulled failed"),
        ({"compose up --detach --no-deps --no-build --no-recreate": [1, "no room\n"]}, "no room"),
    ],
)
def test_what_serves_goes_on_when_the_new_one_fails(
    checkout: Checkout, answers: dict[str, list[object]], why: str
) -> None:
    checkout.up()
    (checkout.engine / "calls").unlink()
    checkout.has(answers=answers, changed=["api", "migrate"])
    failed = checkout.run("up")
    assert failed.returncode == 1
    assert why in failed.stderr.splitlines()[-1]
    assert not checkout.asked(
        r"^(stop|kill|rm --force listo-api-[123]$|compose (stop|down|restart))"
    )
    checkout.has(answers={})
    checkout.up()
    assert steps(checkout) == roll("api", 1, 3)


def test_a_store_that_was_stopped_is_started_before_it_is_asked(checkout: Checkout) -> None:
    checkout.up()
    checkout.has(containers=[
        {**one, "State": "exited"} if one["Service"] == "postgres" else one
        for one in checkout.containers()
    ])  # fmt: skip
    checkout.up()
    asked = checkout.asked("^compose (run|up) .*(api listo check|postgres)$")
    assert [line.split()[-1] for line in asked][:3] == ["postgres", "postgres", "check"]


def test_replicas_that_are_too_busy_for_their_health_check_stay_up(checkout: Checkout) -> None:
    checkout.up()
    checkout.has(answers={"stop": [1, "nobody is to be stopped\n"]})
    checkout.has(containers=[
        {**one, "Busy": one["Service"] == "api"} for one in checkout.containers()
    ])  # fmt: skip
    checkout.up()
    assert steps(checkout) == []


@pytest.mark.parametrize("service", ["prometheus", "blackbox-exporter"])
def test_a_removed_service_is_started_again(checkout: Checkout, service: str) -> None:
    checkout.up()
    checkout.has(
        containers=[one for one in checkout.containers() if one["Service"] != service],
        answers={f"compose exec --no-TTY {service}": [1, "service is not running\n"]},
    )
    checkout.up()
    assert steps(checkout) == [f"up {service}"]


def test_the_container_of_an_interrupted_run_is_removed_first(checkout: Checkout) -> None:
    """Compose would find its own name for that container taken, and fail."""
    checkout.up()
    redis = next(one for one in checkout.containers() if one["Service"] == "redis")
    name = f"0123456789ab_{redis['Name']}"
    checkout.has(containers=[*checkout.containers(), {**redis, "Name": name, "State": "created"}])
    checkout.up()
    assert checkout.asked("^(rm|compose (run|up))")[0] == f"rm --force {name}"
    assert steps(checkout) == []


def test_a_service_that_the_files_no_longer_have_is_removed(checkout: Checkout) -> None:
    checkout.up()
    former = {**checkout.containers()[0], "Name": "listo-promtail-1", "Service": "promtail"}
    checkout.has(containers=[*checkout.containers(), former])
    checkout.up()
    assert checkout.asked("^rm") == ["rm --force listo-promtail-1"]
