"""Try the new configuration beside the services that run, before any of them is touched."""

from __future__ import annotations

from typing import TYPE_CHECKING

from infra.stack.compose import STATE, CannotRun, compose, docker, error_output, setting

if TYPE_CHECKING:
    import subprocess

# The command that checks a service's files, before the service reads them again.
TESTS = {
    "nginx": ("nginx", "-t", "-q", "-c", "/etc/listo/nginx/nginx.conf"),
    "prometheus": ("promtool", "check", "config", "/etc/prometheus/prometheus.yml"),
    "blackbox-exporter": (
        "blackbox_exporter", "--config.check", "--config.file=/etc/prometheus/blackbox.yml",
    ),
}  # fmt: skip
_SECONDS = 300
# Only one container can have nginx' address; a trial does not serve, so it cannot become healthy.
_APART = """\
services:
  nginx: {networks: !reset {}, ports: !reset [], network_mode: none}
  api: {healthcheck: {disable: true}}
"""
_MADE = (" Container ", " Network ", " Volume ")


def api(*, database: bool = True) -> None:
    """Load settings, extensions and code as a replica of the new image does, and look at the
    database. Raises CannotRun."""
    more = () if database else ("--no-database",)
    result = _beside("api", "listo", "check", *more)
    if result.returncode:
        raise CannotRun(f"nothing was replaced, since it would not start: {_why(result)}")


def _beside(*arguments: str) -> subprocess.CompletedProcess[str]:
    file = STATE / "apart.yaml"
    file.write_text(_APART)
    return docker(
        "compose", "run", "--rm", "--no-deps", "--no-TTY", *arguments, timeout=_SECONDS,
        env={"COMPOSE_FILE": f"{setting('COMPOSE_FILE')}:{file}"},
    )  # fmt: skip


def _why(result: subprocess.CompletedProcess[str]) -> str:
    """The program's output in one line, without Compose's lines about the things that it makes."""
    lines = [line for line in result.stderr.splitlines() if not line.startswith(_MADE)]
    if not lines or any(line.startswith("Traceback") for line in lines):
        return error_output(result)
    return " ".join(" ".join(lines).split())


def files(anew: set[str]) -> None:
    """Have each service check its present files: in its container, or beside it if the service is
    to be made `anew`. Raises CannotRun."""
    for service, test in TESTS.items():
        if service not in anew:
            result = compose("exec", "--no-TTY", service, *test)
        elif service == "nginx":
            result = _beside(service, "check")
        else:
            result = _beside("--entrypoint", test[0], service, *test[1:])
        if result.returncode:
            raise CannotRun(
                f"{service} refuses its configuration, and goes on with the former one: "
                f"{_why(result)}"
            )
