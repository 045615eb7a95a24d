"""Which replicas get requests, and which requests go to another one: nginx of the stack in front of
replicas that refuse, hang, or break off."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest

from fixtures.nginx import SERVE, Box, box, wait

if TYPE_CHECKING:
    from collections.abc import Iterator

STAND_IN = (Path(__file__).parents[1] / "fixtures" / "stand_in.pl").read_text()
ONE, OTHER, NOBODY = "127.0.0.2", "127.0.0.3", "127.0.0.4"
# So that what waits for a replica is given up after 6 s.
SETTINGS = ("REQUEST_TIMEOUT=1",)


class Edge:
    """A box that serves, with stand-ins at ONE and OTHER."""

    def __init__(self, made: Box) -> None:
        self.box = made
        self.named: tuple[str, ...] = ()
        made.must(f"mkdir /tmp/seen && cat >/tmp/stand_in.pl <<'END'\n{STAND_IN}\nEND")
        for address in (ONE, OTHER):
            start = f"perl /tmp/stand_in.pl {address} /tmp/seen >/dev/null 2>&1"
            made.must(f"{start} & echo $! >/tmp/{address}")
        self.are(ONE, OTHER)

    def are(self, *addresses: str, answering: tuple[str, ...] | None = None) -> None:
        """The name stands for these, and requests go to those of them that answer."""
        if addresses != self.named:
            self.box.replicas(*addresses)
            self.named = addresses
        self.go_to(*(answering or addresses))

    def go_to(self, *addresses: str) -> None:
        wait(lambda: [line.partition(":")[0] for line in self.box.servers()] == list(addresses))

    def signal(self, name: str, address: str) -> None:
        self.box.must(f"kill -{name} $(cat /tmp/{address})")

    def ask(self, method: str, path: str, *options: str) -> str:
        """The status."""
        self.box.must("rm -f /tmp/seen/asked")
        return self.box.must(
            f"curl -s -k -m 60 -o /tmp/answer -w '%{{http_code}}' -X {method} {' '.join(options)} "
            f"https://127.0.0.1:8443{path}"
        )

    def asked_by(self, method: str, path: str) -> list[str]:
        """The replicas that such a request comes to."""
        self.ask(method, path)
        return self.asked()

    def answer(self) -> str:
        return self.box.must("cat /tmp/answer")

    def asked(self) -> list[str]:
        """The replicas that the last request came to."""
        return [line.split()[0] for line in self.box.run("cat /tmp/seen/asked").stdout.splitlines()]


@pytest.fixture(scope="module")
def _edge() -> Iterator[Edge]:
    with box(SERVE, *SETTINGS) as made:
        wait(made.serving)
        yield Edge(made)


@pytest.fixture
def edge(_edge: Edge) -> Iterator[Edge]:
    yield _edge
    _edge.box.must("rm -rf /tmp/seen/*")
    for address in (ONE, OTHER):
        _edge.signal("CONT", address)
    _edge.are(ONE, OTHER)
    # nginx passes by one that failed for a second.
    seen: set[str] = set()

    def both() -> bool:
        seen.update(_edge.asked_by("GET", "/x"))
        return seen == {ONE, OTHER}

    wait(both)


BODY = "--data-binary x"
KEY = "-H 'Idempotency-Key: 0123456789'"


@pytest.mark.parametrize(
    ("method", "path", "options", "times"),
    [
        ("GET", "/break", "", 2),
        ("OPTIONS", "/break", "", 2),
        ("GET", "/auth/break", "", 2),
        ("POST", "/break", BODY, 1),
        ("PATCH", "/break", BODY, 1),
        ("PUT", "/break", BODY, 1),
        ("DELETE", "/break", "", 1),
        ("POST", "/auth/break", BODY, 1),
        ("DELETE", "/auth/break", "", 1),
        ("POST", "/break", f"{BODY} {KEY}", 2),
        ("PATCH", "/break", f"{BODY} {KEY}", 2),
        ("PUT", "/break", f"{BODY} {KEY}", 2),
        ("DELETE", "/break", KEY, 2),
        ("POST", "/auth/break", f"{BODY} {KEY}", 2),
        ("DELETE", "/auth/break", KEY, 2),
        ("POST", "/auth/login?break", f"{BODY} {KEY}", 1),
        ("POST", "/auth/refresh?break", f"{BODY} {KEY}", 1),
    ],
)
def test_what_a_replica_breaks_off_is_sent_to_another_only_where_that_is_harmless(
    edge: Edge, method: str, path: str, options: str, times: int
) -> None:
    assert edge.ask(method, path, options) == "502"
    assert len(edge.asked()) == len(set(edge.asked())) == times
    assert json.loads(edge.answer())["code"] == "bad_gateway"


def test_a_replica_that_refuses_connections_gets_no_requests(edge: Edge) -> None:
    edge.are(ONE, OTHER, NOBODY, answering=(ONE, OTHER))
    for path in ("/x", "/auth/x", "/auth/login"):
        for method, options in (("GET", ""), ("POST", BODY), ("PUT", BODY), ("DELETE", "")):
            assert edge.ask(method, path, options) == "200", (method, path)


def test_a_replica_that_is_about_to_stop_gets_no_requests(edge: Edge) -> None:
    edge.box.must(f"echo {ONE} >/run/nginx/leaving")
    edge.go_to(OTHER)
    # Whoever wrote it was killed.
    edge.box.must("touch -d '3 minutes ago' /run/nginx/leaving")
    edge.go_to(ONE, OTHER)


def test_a_replica_that_hangs_gets_no_requests_while_another_answers(edge: Edge) -> None:
    edge.signal("STOP", ONE)
    edge.go_to(OTHER)
    edge.signal("STOP", OTHER)
    edge.go_to(ONE, OTHER)
    edge.signal("CONT", OTHER)
    edge.go_to(OTHER)


@pytest.mark.parametrize(
    ("method", "options", "status", "times"),
    [("GET", "", "200", 2), ("POST", f"{BODY} {KEY}", "200", 2), ("POST", BODY, "504", 1)],
)
def test_what_a_replica_hangs_over_is_done_by_another_where_that_is_harmless(
    edge: Edge, method: str, options: str, status: str, times: int
) -> None:
    assert edge.ask(method, f"/hang/{uuid4().hex}", options) == status
    assert len(edge.asked()) == len(set(edge.asked())) == times
    if status == "504":
        assert json.loads(edge.answer())["code"] == "gateway_timeout"


def test_what_says_so_is_handed_on_piece_by_piece(edge: Edge) -> None:
    edge.box.must("curl -s -k -N -m 60 https://127.0.0.1:8443/stream >/tmp/stream &")
    wait(lambda: edge.box.run("cat /tmp/stream").stdout == "first\n")
    edge.box.must("touch /tmp/seen/go-on")
    wait(lambda: edge.box.run("cat /tmp/stream").stdout == "first\nsecond\n")


@pytest.mark.parametrize("method", ["GET", "DELETE", "POST /auth"])
def test_a_body_that_is_not_needed_may_be_small_only(edge: Edge, method: str) -> None:
    name, _, path = method.partition(" ")
    for length, status in ((99_999, "200"), (100_000, "413")):
        body = f"-H 'Expect:' --data-binary @/tmp/{length}"
        edge.box.must(f"head -c {length} /dev/zero >/tmp/{length}")
        assert edge.ask(name, f"{path}/x", body) == status


@pytest.mark.parametrize(
    ("line", "status", "code"),
    [
        ("GET x HTTP/1.1", 400, "bad_request"),
        ("GET /x HTTP/9.9", 505, "http_version_not_supported"),
        (f"GET /x?{'a' * 17_000} HTTP/1.1", 414, "uri_too_long"),
        ("GET /.problems/400 HTTP/1.1", 404, "not_found"),
    ],
)
def test_what_cannot_be_read_is_a_problem(edge: Edge, line: str, status: int, code: str) -> None:
    edge.box.must(
        f"printf '%s\\r\\nHost: localhost\\r\\nConnection: close\\r\\n\\r\\n' '{line}' >/tmp/raw"
    )
    head, _, body = edge.box.must(
        "openssl s_client -quiet -connect 127.0.0.1:8443 2>/dev/null </tmp/raw"
    ).partition("\n\n")
    assert f" {status} " in head.splitlines()[0]
    assert "application/problem+json" in head
    assert json.loads(body)["code"] == code
