"""The address of a request's client: the peer's, or the address that a trusted proxy names."""

from __future__ import annotations

import ipaddress
import re
from functools import lru_cache, partial
from typing import TYPE_CHECKING

import uvicorn.config

if TYPE_CHECKING:
    from collections.abc import Sequence

    from starlette.types import ASGIApp, Scope

    Network = ipaddress.IPv4Network | ipaddress.IPv6Network

# The number of remembered addresses: parsing takes longer than all other work here.
_KEPT = 4096
# The longest address with its zone; the memory for addresses must be bounded.
_LONGEST = 64
# An address as some balancers write it: `203.0.113.20:5555`, `[2001:db8::1]:443`, `[2001:db8::1]`.
# An IPv6 address with a port has brackets, since the end of a bare address looks like a port.
_WITH_PORT = re.compile(r"(?:\[([^]]*:[^]]*)\]|([0-9.]+))(?::[0-9]{1,5})?")


def keep_peer_address() -> None:
    """Have uvicorn, also under gunicorn, leave the peer's address in the scope.

    By default uvicorn overwrites the address with the `X-Forwarded-For` of any local process,
    whatever TRUSTED_PROXIES says; an application can neither notice nor prevent that.
    """

    def as_it_is(app: ASGIApp, **_: object) -> ASGIApp:
        return app

    uvicorn.config.ProxyHeadersMiddleware = as_it_is  # type: ignore[assignment, attr-defined]


class ClientAddress:
    """Believes `X-Forwarded-For` from trusted networks only, and only its last untrusted hop."""

    def __init__(self, trusted: Sequence[str]) -> None:
        networks = [ipaddress.ip_network(network) for network in trusted]
        # Remembered, since the same few proxies and clients send many requests.
        self._is_trusted = lru_cache(_KEPT)(partial(_is_within, networks))

    def address_of(self, scope: Scope) -> str:
        """The client's address as text, empty if the transport has no address (a Unix socket)."""
        peer = _without_mapping((scope.get("client") or ("", 0))[0])
        if not self._is_trusted(peer):
            return peer
        # Read from the right: each hop is an address that the proxy to its right has seen.
        forwarded = b",".join(
            value for name, value in scope["headers"] if name == b"x-forwarded-for"
        )
        for hop in reversed(forwarded.decode("latin-1").split(",")):
            address = _without_port(hop.strip())
            if len(address) > _LONGEST or not _is_address(address):
                return peer
            address = _without_mapping(address)
            if not self._is_trusted(address):
                return address
            peer = address
        return peer


def _without_port(hop: str) -> str:
    if ":" not in hop:
        return hop
    match = _WITH_PORT.fullmatch(hop)
    return hop if match is None else match[1] or match[2]


def _without_mapping(address: str) -> str:
    """The address, in its IPv4 form if an IPv6 socket has mapped it (`::ffff:192.0.2.1`)."""
    if ":" not in address or not _is_address(address):
        return address
    mapped = ipaddress.IPv6Address(address).ipv4_mapped
    return address if mapped is None else str(mapped)


def _is_within(networks: Sequence[Network], address: str) -> bool:
    if not networks or not _is_address(address):
        return False
    parsed = ipaddress.ip_address(address)
    return any(parsed in network for network in networks)


@lru_cache(_KEPT)
def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True
