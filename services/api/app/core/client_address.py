"""Whose request this is: the peer's address, or what a trusted proxy says of it."""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from starlette.types import Scope


class ClientAddress:
    """Believes `X-Forwarded-For` from the named networks only, and only its last untrusted hop."""

    def __init__(self, trusted: Sequence[str]) -> None:
        self._trusted = [ipaddress.ip_network(network) for network in trusted]

    def of(self, scope: Scope) -> str:
        """The client's address as text, empty where the transport has none (a Unix socket)."""
        peer: str = (scope.get("client") or ("", 0))[0]
        if not self._trusted or not self._is_trusted(peer):
            return peer
        # From the right: each hop was written by the one after it.
        forwarded = b",".join(
            value for name, value in scope["headers"] if name == b"x-forwarded-for"
        )
        for hop in reversed(forwarded.decode("latin-1").split(",")):
            address = hop.strip()
            if not _is_address(address):
                return peer
            if not self._is_trusted(address):
                return address
            peer = address
        return peer

    def _is_trusted(self, address: str) -> bool:
        try:
            parsed = ipaddress.ip_address(address)
        except ValueError:
            return False
        return any(parsed in network for network in self._trusted)


def rate_key(address: str) -> str:
    """What anonymous requests are counted by: the address, for IPv6 its /64 (one subscriber)."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address
    if isinstance(parsed, ipaddress.IPv6Address):
        if parsed.ipv4_mapped is not None:
            return str(parsed.ipv4_mapped)
        return str(ipaddress.ip_network((parsed, 64), strict=False))
    return address


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True
