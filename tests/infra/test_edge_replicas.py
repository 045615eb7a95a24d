"""Which replicas nginx sends requests to, and which requests it sends to a second replica after the
first refused the connection, hung, or broke off."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest

from fixtures.nginx import SERVE, Container, box, wait

if TYPE_CHECKING:
    from collections.abc import Iterator

STAND_IN = (Path(__file__).parents[1] / "fixtures" / "stand_in.pl").read_text()
ONE, OTHER, THIRD, NOBODY = "127.0.0.2", "127.0.0.3", "127.0.0.4", "127.0.0.5"
ALL = (ONE, OTHER, THIRD)
# With this, nginx gives a replica 6 s to answer: REQUEST_TIMEOUT + 5 s, see its entrypoint.sh.
SETTINGS = ("REQUEST_TIMEOUT=1",)
KILL = (
    "pid=$(cat /tmp/{0}); kill -KILL $pid 2>/dev/null; "
    "while kill -0 $pid 2>/dev/null; do sleep 0.01; done; "
)


class Edge:
    """A running nginx container, with stand-ins for replicas at the addresses ALL."""

    def __init__(self, made: Container) -> None:
        self.box = made
        self.addresses: tuple[str, ...] = ()
        made.must(f"mkdir /tmp/seen && cat >/tmp/stand_in.pl <<'END'\n{STAND_IN}\nEND")
        for address in ALL:
            self.start(address)
        self.settle()

    def settle(self) -> None:
        """Wait until all replicas get requests: nginx reloads late, and for a while sends nothing
        to a replica that failed."""
        self.set_replicas(*ALL)
        self.box.must(
            "for i in $(seq 300); do curl -s -k -o /dev/null https://127.0.0.1:8443/x; "
            f"[ $(cut -d ' ' -f 1 /tmp/seen/asked | sort -u | wc -l) = {len(ALL)} ] && exit; "
            "sleep 0.05; done; exit 1"
        )

    def kill(self, address: str) -> None:
        self.box.must(KILL.format(address))

    def start(self, address: str) -> None:
        start = f"perl /tmp/stand_in.pl {address} /tmp/seen >/dev/null 2>&1"
        self.box.must(f"{start} & echo $! >/tmp/{address}")

    def set_replicas(self, *addresses: str, answering: tuple[str, ...] | None = None) -> None:
        """Have the name `api` resolve to `addresses`, and wait until nginx sends requests to
        `answering`, by default to all of them."""
        if addresses != self.addresses:
            self.box.replicas(*addresses)
            self.addresses = addresses
        self.wait_for_replicas(*(answering or addresses))

    def wait_for_replicas(self, *addresses: str) -> None:
        wait(lambda: [line.partition(":")[0] for line in self.box.servers()] == list(addresses))

    def signal(self, name: str, address: str) -> None:
        self.box.must(f"kill -{name} $(cat /tmp/{address})")

    def ask(self, method: str, path: str, *options: str) -> str:
        """The status of the answer."""
        return self.box.must(
            "rm -f /tmp/seen/asked; "
            f"curl -s -k -m 60 -o /tmp/answer -w '%{{http_code}}' -X {method} {' '.join(options)} "
            f"https://127.0.0.1:8443{path}"
        )

    def answer(self) -> str:
        return self.box.must("cat /tmp/answer")

    def asked(self) -> list[str]:
        """The replicas that the last request came to."""
        seen = self.box.must("cat /tmp/seen/asked 2>/dev/null || true")
        return [line.split()[0] for line in seen.splitlines()]


@pytest.fixture(scope="module")
def _edge() -> Iterator[Edge]:
    with box(SERVE, *SETTINGS) as made:
        wait(made.serving)
        yield Edge(made)


@pytest.fixture
def edge(_edge: Edge) -> Iterator[Edge]:
    yield _edge
    # The remains of a failed test must not fail others.
    _edge.box.must("rm -rf /tmp/seen/* /run/nginx/leaving")
    for address in ALL:
        _edge.signal("CONT", address)
    _edge.settle()


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
def test_a_request_that_a_replica_breaks_off_is_retried_once_if_repeating_it_is_harmless(
    edge: Edge, method: str, path: str, options: str, times: int
) -> None:
    assert edge.ask(method, path, options) == "502"
    assert len(edge.asked()) == len(set(edge.asked())) == times
    assert json.loads(edge.answer())["code"] == "bad_gateway"


@pytest.mark.parametrize(
    ("method", "options"), [("GET", ""), ("POST", f"{BODY} {KEY}"), ("DELETE", KEY)]
)
def test_a_request_that_a_replica_breaks_off_late_is_not_retried(
    edge: Edge, method: str, options: str
) -> None:
    assert edge.ask(method, "/slow/break", options) == "502"
    assert len(edge.asked()) == 1


def test_the_other_replica_gets_all_of_a_large_body(edge: Edge) -> None:
    edge.box.must("head -c 300000 /dev/zero >/tmp/large")
    assert edge.ask("POST", "/break", "--data-binary @/tmp/large", KEY) == "502"
    lines = edge.box.must("cat /tmp/seen/asked").splitlines()
    assert [line.split()[-1] for line in lines] == ["300000"] * 2


@pytest.mark.parametrize("path", ["/break%20x", "/auth/break%20x"])
def test_a_blank_in_the_path_does_not_pass_for_an_idempotency_key(edge: Edge, path: str) -> None:
    assert edge.ask("POST", path, BODY) == "502"
    assert len(edge.asked()) == 1


def test_three_broken_requests_of_one_client_do_not_fail_requests_of_others(edge: Edge) -> None:
    for method, options in (("POST", BODY), ("GET", ""), ("PATCH", f"{BODY} {KEY}")):
        for _ in range(3):
            # The requests come before nginx tries a failed replica again.
            lines = edge.box.must(
                "for one in 1 2 3; do curl -s -k -o /dev/null "
                f"-w '%{{http_code}} ' -X {method} {options} https://127.0.0.1:8443/break; done; "
                "for one in GET POST PUT DELETE PATCH; do curl -s -k -o /dev/null "
                "-w '%{http_code} ' -X $one -d x https://127.0.0.1:8443/x; done"
            )
            assert lines.split() == ["502"] * 3 + ["200"] * 5


def test_broken_requests_fail_no_others_while_a_replica_is_gone_and_the_rest_are_busy(
    edge: Edge,
) -> None:
    """The replica that is gone has the fewest connections, so least_conn would keep choosing it."""
    ask = "curl -s -k -o /dev/null -w '%{http_code} ' https://127.0.0.1:8443"
    try:
        lines = edge.box.must(
            f"{KILL.format(ONE)}"
            f"for one in 1 2 3; do {ask}/break -d x; done; "
            f"for one in 1 2 3; do {ask}/stream >/dev/null & done; "
            "for i in $(seq 500); do "
            "[ $(grep -c /stream /tmp/seen/asked) = 3 ] && break; sleep 0.01; done; "
            f"for one in GET POST PUT DELETE PATCH; do {ask}/x -X $one -d x; done; "
            "touch /tmp/seen/go-on; wait"
        )
        assert lines.split() == ["502"] * 3 + ["200"] * 5
    finally:
        edge.start(ONE)


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "POST", "PATCH"])
def test_no_request_fails_in_the_moment_when_a_replica_is_killed(edge: Edge, method: str) -> None:
    """For a second nginx does not know yet which replica refuses connections."""
    try:
        for _ in range(3):
            edge.kill(ONE)
            assert [edge.ask(method, "/x", BODY) for _ in range(4)] == ["200"] * 4
            assert ONE not in edge.asked()
            edge.start(ONE)
            edge.wait_for_replicas(*ALL)
    finally:
        edge.kill(ONE)
        edge.start(ONE)


def test_a_replica_that_refuses_connections_gets_no_requests(edge: Edge) -> None:
    edge.set_replicas(*ALL, NOBODY, answering=ALL)
    for path in ("/x", "/auth/x", "/auth/login"):
        for method, options in (("GET", ""), ("POST", BODY), ("PUT", BODY), ("DELETE", "")):
            assert edge.ask(method, path, options) == "200", (method, path)


def test_a_replica_that_is_about_to_stop_gets_no_requests(edge: Edge) -> None:
    edge.box.must(f"echo {ONE} >/run/nginx/leaving")
    edge.wait_for_replicas(OTHER, THIRD)
    assert ONE not in edge.box.must("cat /run/nginx/upstream.read")
    # A file this old no longer counts: it was left by a `make up` that was killed.
    edge.box.must("touch -d '3 minutes ago' /run/nginx/leaving")
    edge.wait_for_replicas(*ALL)


def test_a_replica_that_hangs_gets_no_requests_while_another_answers(edge: Edge) -> None:
    edge.set_replicas(ONE, OTHER)
    edge.signal("STOP", ONE)
    edge.wait_for_replicas(OTHER)
    edge.signal("STOP", OTHER)
    edge.wait_for_replicas(ONE, OTHER)
    edge.signal("CONT", OTHER)
    edge.wait_for_replicas(OTHER)


@pytest.mark.parametrize(
    ("method", "options"), [("GET", ""), ("POST", f"{BODY} {KEY}"), ("POST", BODY)]
)
def test_a_request_that_a_replica_hangs_over_is_not_retried(
    edge: Edge, method: str, options: str
) -> None:
    assert edge.ask(method, f"/hang/{uuid4().hex}", options) == "504"
    assert len(edge.asked()) == 1
    assert json.loads(edge.answer())["code"] == "gateway_timeout"


def test_a_streamed_answer_is_handed_on_piece_by_piece(edge: Edge) -> None:
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
def test_a_request_that_cannot_be_read_is_answered_by_a_problem(
    edge: Edge, line: str, status: int, code: str
) -> None:
    edge.box.must(
        f"printf '%s\\r\\nHost: localhost\\r\\nConnection: close\\r\\n\\r\\n' '{line}' >/tmp/raw"
    )
    head, _, body = edge.box.must(
        "openssl s_client -quiet -connect 127.0.0.1:8443 2>/dev/null </tmp/raw"
    ).partition("\n\n")
    assert f" {status} " in head.splitlines()[0]
    assert "application/problem+json" in head
    assert json.loads(body)["code"] == code
