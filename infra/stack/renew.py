"""Bring a serving stack up to date, without failing requests meanwhile."""

from __future__ import annotations

from infra.stack import credentials, outdated, roles, trial
from infra.stack.compose import CannotRun, compose, containers, docker_output, error_output
from infra.stack.roll import roll

# Other services log in to these, so these get changed passwords first.
STORES = ("postgres", "redis")
# These may have more than one container at a time.
ROLLED = ("api", "worker")
# These run in this order, each until its work is done.
_ONE_SHOTS = ("volumes", "authority", "replicas", "migrate")
_SECONDS = 300
# The seconds for requests in work; clients have to send longer requests again.
_EDGE_GRACE = "1"
_COSTS = {
    "postgres": ", with seconds of 503",
    "redis": "; meanwhile each process limits by itself",
    "nginx": "; connections are refused for about a second",
}


def all_services(pending: set[str]) -> None:
    """`pending`: the roles of PostgreSQL whose passwords are left to change (roles.py).

    Raises CannotRun; then former containers that are not yet replaced continue to serve.
    """
    outdated.wanted.cache_clear()
    _start_missing_stores()
    trial.api()
    trial.files({*trial.TESTS} - _up_to_date())
    _remove_orphans()
    _refresh(*STORES)
    for service in _ONE_SHOTS:
        _run_to_its_end(service)
    # nginx comes first, since its entry point has to learn which replicas leave.
    renewed = _refresh("nginx")
    replicas(pending)
    renewed |= _others()
    # Compose does not notice changes of files that these services mount.
    if kept := [one for one in trial.TESTS if one not in renewed]:
        docker_output("compose", "kill", "--signal", "HUP", *kept)


def replicas(pending: set[str]) -> None:
    """Bring API and worker up to date, and end passwords that only their former containers need."""
    _roll()
    if roles.APP in pending:
        roles.set_password(roles.APP)
        credentials.log_in_as(roles.APP)
        _roll()
    if pending:
        roles.dismiss_next()
    if credentials.forget_former():
        _refresh(*STORES)


def restart_outdated(among: tuple[str, ...] | None = None) -> bool:
    """Restart services whose mounted files changed (Compose ignores that); whether any did."""
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


def _up_to_date() -> set[str]:
    """The services that run, and need not be started anew."""
    return {one.service for one in outdated.look() if one.running and not one.outdated}


def _start_missing_stores() -> None:
    """Start stores that are down, and so serve no client: the trial needs PostgreSQL."""
    running = {one["Service"] for one in containers() if one["State"] == "running"}
    for service in STORES:
        if service not in running:
            _up(service)


def _roll() -> None:
    services = outdated.wanted().stack["services"]
    for service in ROLLED:
        roll(service, int(services[service].get("deploy", {}).get("replicas", 1)))


def _others() -> set[str]:
    """Renew the services that no other function renews; returns those started anew."""
    special = {*STORES, *ROLLED, *_ONE_SHOTS, "nginx"}
    others = [one for one in outdated.wanted().stack["services"] if one not in special]
    missing = {*others} - {one["Service"] for one in containers()}
    for service in sorted(missing):
        _up(service)
    return missing | _refresh(*others)


def _refresh(*services: str) -> set[str]:
    """Make anew or restart the services that are outdated or down; returns their names."""
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
    """Wait for a store; `make up` waits for the other services at its end. Raises CannotRun."""
    if service in STORES:
        docker_output(
            "compose", "up", "--detach", "--no-deps", "--no-build", "--no-recreate", "--wait",
            service, timeout=1800,
        )  # fmt: skip


def _run_to_its_end(service: str) -> None:
    """Run a one-shot service to its end. Raises CannotRun with its last line if it fails."""
    docker_output("compose", "up", "--detach", "--no-deps", "--no-build", service, timeout=_SECONDS)
    (name,) = (one["Name"] for one in containers() if one["Service"] == service)
    if (status := docker_output("wait", name, timeout=1800).strip()) != "0":
        result = compose("logs", "--no-log-prefix", "--tail", "1", service)
        raise CannotRun(
            f"what ran goes on, since {service} ended with status {status}: {error_output(result)}"
        )


def _remove_orphans() -> None:
    """Remove containers of services that are no longer in the Compose files."""
    services = outdated.wanted().stack["services"]
    for one in containers():
        if one["Service"] not in services:
            docker_output("rm", "--force", one["Name"])
