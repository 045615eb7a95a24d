"""A request's client address, from the peer's address and the fields of trusted proxies."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.core.context import rate_key
from app.http.client_address import ClientAddress

if TYPE_CHECKING:
    from collections.abc import Sequence

PROXIES = ("10.0.0.0/8", "2001:db8:a::/48")


def client(peer: str | None, *fields: str, trusted: Sequence[str] = PROXIES) -> str:
    headers = [(b"x-forwarded-for", field.encode("latin-1")) for field in fields]
    scope = {"client": None if peer is None else (peer, 4711), "headers": headers}
    return ClientAddress(trusted).address_of(scope)


@pytest.mark.parametrize(
    ("peer", "fields", "address"),
    [
        ("192.0.2.1", (), "192.0.2.1"),
        ("192.0.2.1", ("198.51.100.1",), "192.0.2.1"),
        ("10.0.0.1", ("198.51.100.1",), "198.51.100.1"),
        ("::ffff:10.0.0.1", ("198.51.100.1",), "198.51.100.1"),
        ("2001:db8:a::1", ("198.51.100.1",), "198.51.100.1"),
        ("10.0.0.1", ("203.0.113.5, 198.51.100.1",), "198.51.100.1"),
        ("10.0.0.1", ("203.0.113.5", "198.51.100.1"), "198.51.100.1"),
        ("10.0.0.1", ("198.51.100.1, 10.0.0.2,2001:db8:a::9",), "198.51.100.1"),
        ("10.0.0.1", ("10.0.0.3, 10.0.0.2",), "10.0.0.3"),
        ("10.0.0.1", ("::ffff:198.51.100.1",), "198.51.100.1"),
        ("10.0.0.1", ("evil, 10.0.0.2",), "10.0.0.2"),
        ("10.0.0.1", ("198.51.100.1,",), "10.0.0.1"),
        ("10.0.0.1", ("fe80::1%" + "z" * 100,), "10.0.0.1"),
        ("10.0.0.1", ("",), "10.0.0.1"),
        ("10.0.0.1", (), "10.0.0.1"),
        ("10.0.0.1", ("203.0.113.20:5555",), "203.0.113.20"),
        ("10.0.0.1", ("[2001:db8::1]:443",), "2001:db8::1"),
        ("10.0.0.1", ("[2001:db8::1]",), "2001:db8::1"),
        ("10.0.0.1", ("[::ffff:198.51.100.1]:443",), "198.51.100.1"),
        ("10.0.0.1", ("2001:db8::1:443",), "2001:db8::1:443"),
        ("10.0.0.1", ("198.51.100.1:1, 10.0.0.2:8080, [2001:db8:a::9]:9",), "198.51.100.1"),
        ("10.0.0.1", ("203.0.113.5, 198.51.100.1:https",), "10.0.0.1"),
        ("10.0.0.1", ("203.0.113.5, 198.51.100.1:123456",), "10.0.0.1"),
        ("10.0.0.1", ("203.0.113.5, [198.51.100.1]:1",), "10.0.0.1"),
        ("10.0.0.1", ("203.0.113.5, [2001:db8::1",), "10.0.0.1"),
        ("10.0.0.1", ("203.0.113.5, [2001:db8::1]443",), "10.0.0.1"),
        (None, ("198.51.100.1",), ""),
        ("", ("198.51.100.1",), ""),
    ],
)
def test_only_trusted_proxies_tell_the_client_address(
    peer: str | None, fields: tuple[str, ...], address: str
) -> None:
    assert client(peer, *fields) == address


@pytest.mark.parametrize("peer", ["127.0.0.1", "::1", "10.0.0.1", "198.51.100.1"])
def test_no_proxy_is_trusted_by_default(peer: str) -> None:
    assert client(peer, "192.0.2.1", trusted=()) == peer


addresses = st.ip_addresses().map(str)


@given(
    claims=st.lists(addresses | st.text(st.characters(codec="latin-1"), max_size=20), max_size=4),
    real=st.ip_addresses(v=4, network="192.0.2.0/24").map(str),
    hops=st.lists(st.ip_addresses(v=4, network="10.0.0.0/8").map(str), max_size=3),
)
def test_no_claim_changes_what_the_outermost_proxy_saw(
    claims: list[str], real: str, hops: list[str]
) -> None:
    assert client("10.0.0.1", ", ".join([*claims, real, *hops])) == real


@pytest.mark.parametrize(
    ("address", "key"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("", ""),
    ],
)
def test_an_ipv6_subscriber_is_one_caller(address: str, key: str) -> None:
    assert rate_key(address) == key
