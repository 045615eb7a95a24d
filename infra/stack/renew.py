"""Bring a stack that serves up to date, without failing what is asked of it meanwhile."""

from __future__ import annotations

from infra.stack import credentials, outdated, roles, trial
from infra.stack.compose import CannotRun, compose, containers, docker_output, error_output
from infra.stack.roll import roll

# Others log in there, so these know a changed password first.
STORES = ("postgres", "redis")
# These may have more than one container at a time.
ROLLED = ("api", "worker")
# These do one thing and end; each after those before it.
_ONE_SHOTS = ("volumes", "authority", "replicas", "migrate")
_SECONDS = 300
# Requests that end within this time are done; clients of the others have to send again.
_EDGE_GRACE = "1"
_COSTS = {
    "postgres": ", with seconds of 503",
    "redis": "; meanwhile each process limits by itself",
    "nginx": "; connections are refused for about a second",
}


def all_services(behind: set[str]) -> None:
    """`behind`: what is left to do for PostgreSQL's roles (roles.py).

    Raises CannotRun. The former containers serve on then, as far as they were not replaced.
    """
    outdated.wanted.cache_clear()
    _start_missing_stores()
    trial.api()
    trial.files({*trial.TESTS} - _as_they_should_be())
    _remove_orphans()
    _refresh(*STORES)
    for service in _ONE_SHOTS:
        _once(service)
    # nginx first, since its entry point is told of the replicas that leave.
    renewed = _refresh("nginx")
    replicas(behind)
    renewed |= _others()
    # Compose does not see that files changed which these have mounted.
    if former := [one for one in trial.TESTS if one not in renewed]:
        docker_output("compose", "kill", "--signal", "HUP", *former)


def replicas(behind: set[str]) -> None:
    """Have API and worker be as they should be now, and forget what the former ones needed."""
    _roll()
    if roles.APP in behind:
        roles.set_password(roles.APP)
        credentials.log_in_as(roles.APP)
        _roll()
    if behind:
        roles.dismiss_next()
    if credentials.forget_former():
        _refresh(*STORES)


def restart_outdated(among: tuple[str, ...] | None = None) -> bool:
    """Compose does not see that files changed which a service has mounted."""
    services = sorted({
        one.service
        for one in outdated.look()
        if one.running and one.restarted and (among is None or one.service in among)
    })  # fmt: skip
    for service in services:
        _say_restarted(service)
    if services:
        docker_output("compose", "restart", *services, timeout=_SECONDS)
    return bool(services)


def _as_they_should_be() -> set[str]:
    """The services that run, and need not be started anew."""
    return {one.service for one in outdated.look() if one.running and not one.outdated}


def _start_missing_stores() -> None:
    """The trial asks PostgreSQL, and a store that is gone already serves no client."""
    running = {one["Service"] for one in containers() if one["State"] == "running"}
    for service in STORES:
        if service not in running:
            _up(service)


def _roll() -> None:
    services = outdated.wanted().stack["services"]
    for service in ROLLED:
        roll(service, int(services[service].get("deploy", {}).get("replicas", 1)))


def _others() -> set[str]:
    """All but those that are looked after elsewhere; which of them was started anew."""
    special = {*STORES, *ROLLED, *_ONE_SHOTS, "nginx"}
    others = [one for one in outdated.wanted().stack["services"] if one not in special]
    missing = {*others} - {one["Service"] for one in containers()}
    for service in sorted(missing):
        _up(service)
    return missing | _refresh(*others)


def _refresh(*services: str) -> set[str]:
    """Have each be made anew, or start again, where it has to; which of them had to."""
    done = set()
    for one in outdated.look():
        if one.service not in services or (one.running and not one.outdated):
            continue
        if one.made_anew or not one.running:
            print(f"  {one.service} is made anew{_COSTS.get(one.service, '')}", flush=True)
            _up(one.service)
        else:
            _say_restarted(one.service)
            docker_output("compose", "restart", *_grace(one.service), one.service, timeout=_SECONDS)
            _wait_up(one.service)
        done.add(one.service)
    return done


def _say_restarted(service: str) -> None:
    cost = _COSTS.get(service, "")
    print(f"  {service} is restarted: its configuration changed{cost}", flush=True)


def _up(service: str) -> None:
    docker_output(
        "compose", "up", "--detach", "--no-deps", "--no-build", *_grace(service), service,
        timeout=_SECONDS,
    )  # fmt: skip
    _wait_up(service)


def _grace(service: str) -> tuple[str, ...]:
    return ("--timeout", _EDGE_GRACE) if service == "nginx" else ()


def _wait_up(service: str) -> None:
    """Raises CannotRun where a store does not come back; others are waited for at the end."""
    if service in STORES:
        docker_output(
            "compose", "up", "--detach", "--no-deps", "--no-build", "--no-recreate", "--wait",
            service, timeout=1800,
        )  # fmt: skip


def _once(service: str) -> None:
    """Raises CannotRun with its last words where it fails."""
    docker_output("compose", "up", "--detach", "--no-deps", "--no-build", service, timeout=_SECONDS)
    (name,) = (one["Name"] for one in containers() if one["Service"] == service)
    if (status := docker_output("wait", name, timeout=1800).strip()) != "0":
        result = compose("logs", "--no-log-prefix", "--tail", "1", service)
        raise CannotRun(
            f"what ran goes on, since {service} ended with status {status}: {error_output(result)}"
        )


def _remove_orphans() -> None:
    """Remove services that the Compose files have no more."""
    services = outdated.wanted().stack["services"]
    for one in containers():
        if one["Service"] not in services:
            docker_output("rm", "--force", one["Name"])
