"""The settings of the firewall: read from the environment and `.env`, refused in one line."""

import fnmatch
import ipaddress
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from infra.stack.compose import dotenv, production

INTERFACE = re.compile(r"[A-Za-z0-9_.@-]{1,14}[A-Za-z0-9_.@*-]")
PORTS = re.compile(r"(\d{1,5})(?:-(\d{1,5}))?")
DOCKER = "docker0 docker_gwbridge br-*"
ANYWHERE = "0.0.0.0/0 ::/0"


class BadSettingError(Exception):
    """One line for the operator."""


@dataclass(frozen=True)
class Settings:
    tcp_ports: list[str]
    udp_ports: list[str]
    ssh_ports: list[str]
    ssh_from4: list[str]
    ssh_from6: list[str]
    docker: list[str]
    trusted: list[str]
    rollback_seconds: int

    def sets(self) -> dict[str, list[str]]:
        """The elements of each set in listo.nft, by the set's name."""
        return {
            "tcp_ports": self.tcp_ports,
            "udp_ports": self.udp_ports,
            "ssh_ports": self.ssh_ports,
            "ssh_from4": self.ssh_from4,
            "ssh_from6": self.ssh_from6,
            "docker": [f'"{name}"' for name in self.docker],
            "trusted": [f'"{name}"' for name in self.trusted],
        }


def read(environ: Mapping[str, str], env_file: Path) -> Settings:
    """Settings of `environ`, then of the file.

    Raises:
        BadSettingError: naming the setting at fault.
    """
    given = {**_file(env_file), **{k: v for k, v in environ.items() if v.strip()}}

    def words(name: str, default: str, check: Callable[[str, str], str]) -> list[str]:
        text = given.get(name, default).replace(",", " ")
        if text.strip().lower() == "none":
            return []
        return list(dict.fromkeys(check(name, word) for word in text.split()))

    # The stack always publishes these ports in production.
    published = ["80", "443"]
    if not production(given.get("COMPOSE_FILE", "")):
        published = [
            *words("HTTP_PORT", "80", _published),
            *words("HTTPS_PORT", "443", _published),
        ]
    ports = [
        *published,
        *words("FIREWALL_OPEN_TCP", "", _ports),
    ]
    networks = words("FIREWALL_SSH_FROM", ANYWHERE, _network)
    if not networks:
        raise BadSettingError(
            "FIREWALL_SSH_FROM is empty: name networks, or FIREWALL_SSH_PORT=none."
        )
    return Settings(
        tcp_ports=list(dict.fromkeys(ports)),
        udp_ports=words("FIREWALL_OPEN_UDP", "", _ports),
        ssh_ports=words("FIREWALL_SSH_PORT", "22", _port),
        ssh_from4=[each for each in networks if ":" not in each],
        ssh_from6=[each for each in networks if ":" in each],
        docker=words("FIREWALL_DOCKER_INTERFACES", DOCKER, _interface),
        trusted=words("FIREWALL_TRUSTED_INTERFACES", "", _interface),
        rollback_seconds=_seconds(given.get("FIREWALL_ROLLBACK_SECONDS", "60")),
    )


def check_reachable(settings: Settings, uplinks: set[str], session: tuple[str, int] | None) -> None:
    """Refuse settings that filter nothing, or close the SSH session that this runs in.

    `session` is the client's address and the server's port.

    Raises:
        BadSettingError: saying what to set.
    """
    for name, patterns in (("DOCKER", settings.docker), ("TRUSTED", settings.trusted)):
        for uplink in sorted(uplinks):
            if any(fnmatch.fnmatchcase(uplink, pattern) for pattern in patterns):
                raise BadSettingError(
                    f"{uplink} carries the default route, and FIREWALL_{name}_INTERFACES matches "
                    "it: nothing would be filtered. Name the interfaces without it."
                )
    if session is None:
        return
    address, port = session
    if any(_within(port, each) for each in settings.tcp_ports):
        return
    if str(port) not in settings.ssh_ports:
        raise BadSettingError(
            f"You came in by SSH on port {port}, which would be closed: "
            f"set FIREWALL_SSH_PORT={port}."
        )
    client = ipaddress.ip_address(address.partition("%")[0])
    networks = settings.ssh_from4 if client.version == 4 else settings.ssh_from6  # noqa: PLR2004
    if not any(client in ipaddress.ip_network(each) for each in networks):
        raise BadSettingError(
            f"You came in by SSH from {client}, which would be shut out: "
            "add it to FIREWALL_SSH_FROM."
        )


def _file(path: Path) -> dict[str, str]:
    return {name: value for name, value in dotenv(path).items() if value}


def _within(port: int, ports: str) -> bool:
    low, _, high = ports.partition("-")
    return int(low) <= port <= int(high or low)


def _ports(name: str, word: str) -> str:
    match = PORTS.fullmatch(word)
    low, high = (int(match[1]), int(match[2] or match[1])) if match else (0, 0)
    if not 1 <= low <= high <= 65535:  # noqa: PLR2004
        raise BadSettingError(f"{name}: {word!r} is no port from 1 to 65535 and no range of ports.")
    return word if high > low else str(low)


def _port(name: str, word: str) -> str:
    port = _ports(name, word)
    if "-" in port:
        raise BadSettingError(f"{name}: {word!r} is a range; name the ports one by one.")
    return port


def _published(name: str, word: str) -> str:
    """Compose takes an address before the port, too."""
    return _port(name, word.rpartition(":")[2])


def _network(name: str, word: str) -> str:
    try:
        return str(ipaddress.ip_network(word))
    except ValueError:
        raise BadSettingError(
            f"{name}: {word!r} is no address and no network (10.0.0.0/8)."
        ) from None


def _interface(name: str, word: str) -> str:
    if not INTERFACE.fullmatch(word) or word == "lo":
        raise BadSettingError(f"{name}: {word!r} is no name of an interface (wg0, br-*).")
    return word


def _seconds(text: str) -> int:
    if not text.isascii() or not text.isdigit() or not 1 <= int(text) <= 3600:  # noqa: PLR2004
        raise BadSettingError(f"FIREWALL_ROLLBACK_SECONDS: {text!r} is no number from 1 to 3600.")
    return int(text)
