"""The firewall from another network namespace: ports that answer, before and after."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from fixtures import needs, netns
from infra.firewall import settings

ROOT = Path(__file__).parents[2]
WATCHED = (22, 80, 443, 2222, 5432, 8443, 9090)
needs_network = needs.unless(netns.why_not())

Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="module")
def network() -> Iterator[netns.Network]:
    with netns.network() as made:
        yield made


@pytest.fixture
def firewall(network: netns.Network, tmp_path: Path) -> Iterator[Run]:
    """`firewall("apply", FIREWALL_SSH_PORT="2222")` on the host of the network; off at the end."""

    def run(
        command: str, stdin: int = subprocess.DEVNULL, **given: str
    ) -> "subprocess.CompletedProcess[str]":
        where = ["--state", str(tmp_path / "run"), "--etc", str(tmp_path / "etc")]
        return network.run(
            "host", sys.executable, "-m", "infra.firewall", command, *where,
            cwd=ROOT, env=_environ(**given), stdin=stdin,
        )  # fmt: skip

    yield run
    assert run("off").returncode == 0


def _environ(**given: str) -> dict[str, str]:
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("FIREWALL_", "SSH_"))}
    return {**kept, "HTTP_PORT": "80", "HTTPS_PORT": "443", **given}


def _done(run: "subprocess.CompletedProcess[str]") -> str:
    assert run.returncode == 0, run.stdout + run.stderr
    return run.stdout


@needs_network
@pytest.mark.parametrize("address", [netns.HOST4, netns.HOST6])
def test_only_http_https_and_ssh_answer(
    network: netns.Network, firewall: Run, address: str
) -> None:
    assert network.answering(*WATCHED, address=address) == set(WATCHED)
    _done(firewall("apply"))
    assert network.answering(*WATCHED, address=address) == {22, 80, 443}


@needs_network
@pytest.mark.parametrize("address", [netns.HOST4, netns.HOST6])
def test_without_ssh_only_the_stack_answers(
    network: netns.Network, firewall: Run, address: str
) -> None:
    _done(firewall("apply", FIREWALL_SSH_PORT="none"))
    assert network.answering(*WATCHED, address=address) == {80, 443}


@needs_network
def test_ssh_answers_on_another_port_to_one_network(network: netns.Network, firewall: Run) -> None:
    _done(firewall("apply", FIREWALL_SSH_PORT="2222", FIREWALL_SSH_FROM="10.201.0.0/24"))
    assert network.answering(*WATCHED) == {80, 443, 2222}
    assert network.answering(*WATCHED, address=netns.HOST6) == {80, 443}
    _done(firewall("confirm"))
    _done(firewall("apply", FIREWALL_SSH_FROM="10.9.0.0/16 fd01::/64"))
    assert network.answering(*WATCHED) == {80, 443}
    assert network.answering(*WATCHED, address=netns.HOST6) == {22, 80, 443}


@needs_network
def test_settings_open_other_ports(network: netns.Network, firewall: Run) -> None:
    _done(firewall("apply", HTTPS_PORT="8443", FIREWALL_OPEN_TCP="9000-9100,5432"))
    assert network.answering(*WATCHED) == {22, 80, 5432, 8443, 9090}


@needs_network
def test_a_trusted_interface_is_not_filtered(network: netns.Network, firewall: Run) -> None:
    refused = firewall("apply", FIREWALL_TRUSTED_INTERFACES="eth*")
    assert refused.returncode == 1
    assert "eth0 carries the default route" in refused.stderr
    for way in ("-4", "-6"):
        network.must("host", "ip", way, "route", "del", "default")
    try:
        _done(firewall("apply", FIREWALL_TRUSTED_INTERFACES="eth*"))
    finally:
        network.default("host", "10.202.0.1", "fd02::1")
    assert network.answering(*WATCHED) == set(WATCHED)


@needs_network
def test_containers_cannot_be_reached_past_published_ports(
    network: netns.Network, firewall: Run
) -> None:
    ways = [(netns.WEB4, 8080), (netns.WEB4, 5432), (netns.WEB6, 5432)]
    assert all(network.ask("outside", *ways).values())
    _done(firewall("apply"))
    assert not any(network.ask("outside", *ways).values())


@needs_network
def test_containers_and_the_host_reach_all_that_they_did(
    network: netns.Network, firewall: Run
) -> None:
    from_web = [
        (netns.DB4, 5432), (netns.DB6, 5432), ("172.30.0.1", 9090), (netns.HOST4, 9090),
        (netns.OUTSIDE4, 8080), (netns.OUTSIDE6, 8080),
    ]  # fmt: skip
    from_host = [(netns.OUTSIDE4, 8080), (netns.OUTSIDE6, 8080), (netns.WEB4, 5432)]
    from_host += [("127.0.0.1", 9090), ("::1", 9090)]
    _done(firewall("apply"))
    assert all(network.ask("web", *from_web).values())
    assert all(network.ask("host", *from_host).values())


@needs_network
@pytest.mark.parametrize("address", [netns.HOST4, netns.HOST6])
def test_news_of_the_path_mtu_gets_through(
    network: netns.Network, firewall: Run, address: str
) -> None:
    _done(firewall("apply"))
    network.must("host", "ip", "route", "flush", "cache")
    asked = network.ask("outside", (address, 443), seconds=5)
    assert str(asked[address, 443]).endswith(" 400008")


@needs_network
def test_ping_is_answered(network: netns.Network, firewall: Run) -> None:
    _done(firewall("apply"))
    for address in (netns.HOST4, netns.HOST6):
        network.must("outside", sys.executable, "-c", netns.PING, address)


@needs_network
def test_open_connections_survive_and_other_tables_stay(
    network: netns.Network, firewall: Run
) -> None:
    def others() -> str:
        return network.must("host", "nft", "-s", "list", "table", "ip", "nat") + network.must(
            "host", "nft", "-s", "list", "table", "ip", "filter"
        )

    before = others()
    _done(firewall("apply"))
    _done(firewall("confirm"))
    _done(firewall("apply"))
    assert others() == before
    _done(firewall("off"))
    assert others() == before
    assert network.answering(*WATCHED) == set(WATCHED)


@needs_network
def test_a_firewall_is_taken_back_unless_confirmed(network: netns.Network, firewall: Run) -> None:
    _done(firewall("apply", FIREWALL_SSH_PORT="none", FIREWALL_ROLLBACK_SECONDS="2"))
    assert network.answering(22, 9090) == set()
    _wait(lambda: network.answering(22, 9090) == {22, 9090})
    late = firewall("confirm")
    assert late.returncode == 1
    assert "taken back" in late.stderr


@needs_network
def test_the_former_firewall_comes_back(network: netns.Network, firewall: Run) -> None:
    _done(firewall("apply", FIREWALL_SSH_PORT="2222"))
    _done(firewall("confirm"))
    _done(firewall("apply", FIREWALL_SSH_PORT="none", FIREWALL_ROLLBACK_SECONDS="2"))
    assert network.answering(2222, 9090) == set()
    _wait(lambda: network.answering(2222, 9090) == {2222})


@needs_network
def test_a_confirmed_firewall_stays_and_is_kept(
    network: netns.Network, firewall: Run, tmp_path: Path
) -> None:
    _done(firewall("apply", FIREWALL_ROLLBACK_SECONDS="2"))
    second = firewall("apply")
    assert second.returncode == 1
    assert "waits to be confirmed" in second.stderr
    assert "The firewall stays" in _done(firewall("confirm"))
    time.sleep(2.5)
    assert network.answering(*WATCHED) == {22, 80, 443}
    assert "In force." in _done(firewall("status"))
    kept = tmp_path / "etc" / "listo" / "firewall.nft"
    network.must("host", "nft", "delete", "table", "inet", "listo_firewall")
    network.must("host", "nft", "-f", str(kept))
    assert network.answering(*WATCHED) == {22, 80, 443}
    _done(firewall("off"))
    assert not kept.exists()
    assert firewall("status").returncode == 3


@needs_network
@pytest.mark.parametrize(("answer", "stays"), [("yes\n", True), ("no\n", False), ("", False)])
def test_a_terminal_is_asked_for_confirmation(
    network: netns.Network, firewall: Run, answer: str, *, stays: bool
) -> None:
    ours, theirs = os.openpty()
    try:
        os.write(ours, answer.encode())
        done = firewall("apply", theirs, FIREWALL_ROLLBACK_SECONDS="2")
    finally:
        os.close(ours)
        os.close(theirs)
    assert done.returncode == (0 if stays else 1)
    assert ("The firewall stays" if stays else "Not confirmed") in done.stdout
    time.sleep(2.5)
    assert (network.answering(9090) == set()) is stays


@needs_network
def test_the_file_alone_lets_ssh_in(network: netns.Network, firewall: Run) -> None:
    for _ in range(2):
        network.must("host", "nft", "-f", str(ROOT / "infra/firewall/listo.nft"))
    assert network.answering(*WATCHED) == {22, 80, 443}


@needs_network
def test_a_dry_run_changes_nothing(network: netns.Network, firewall: Run) -> None:
    before = network.must("host", "nft", "-s", "list", "ruleset")
    told = _done(firewall("plan", FIREWALL_SSH_PORT="2222"))
    assert "Checked by nft" in told
    assert "SSH: port 2222 from 0.0.0.0/0, ::/0." in told
    assert network.must("host", "nft", "-s", "list", "ruleset") == before


@needs_network
def test_a_firewall_that_would_close_this_session_is_refused(
    network: netns.Network, firewall: Run
) -> None:
    session = "10.201.0.2 50000 10.202.0.2 2222"
    port = firewall("apply", SSH_CONNECTION=session)
    assert port.returncode == 1
    assert "set FIREWALL_SSH_PORT=2222" in port.stderr
    given = {"FIREWALL_SSH_PORT": "2222", "FIREWALL_SSH_FROM": "10.9.0.0/16"}
    address = firewall("apply", SSH_CONNECTION=session, **given)
    assert "from 10.201.0.2, which would be shut out" in address.stderr
    assert network.answering(*WATCHED) == set(WATCHED)
    _done(firewall("apply", SSH_CONNECTION=session, FIREWALL_SSH_PORT="22 2222"))


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("FIREWALL_SSH_PORT", "0", "'0' is no port"),
        ("FIREWALL_SSH_PORT", "ssh", "'ssh' is no port"),
        ("FIREWALL_SSH_PORT", "1-100", "is a range"),
        ("FIREWALL_SSH_FROM", "10.0.0.1/8", "no network"),
        ("FIREWALL_SSH_FROM", "home", "no network"),
        ("FIREWALL_SSH_FROM", "none", "FIREWALL_SSH_PORT=none"),
        ("FIREWALL_OPEN_TCP", "100-1", "no range"),
        ("FIREWALL_OPEN_UDP", "70000", "no port"),
        ("FIREWALL_TRUSTED_INTERFACES", 'wg0" }; flush ruleset', "no name of an interface"),
        ("FIREWALL_DOCKER_INTERFACES", "*", "no name of an interface"),
        ("FIREWALL_ROLLBACK_SECONDS", "0", "no number from 1 to 3600"),
        ("HTTPS_PORT", "https", "no port"),
    ],
)
def test_bad_settings_are_refused_in_one_line(name: str, value: str, said: str) -> None:
    with pytest.raises(settings.BadSettingError, match=name) as refused:
        settings.read({name: value}, Path("/nonexistent"))
    assert said in str(refused.value)
    assert "\n" not in str(refused.value)


def test_settings_come_from_the_environment_and_then_the_file(tmp_path: Path) -> None:
    file = tmp_path / ".env"
    file.write_text(
        "# FIREWALL_SSH_PORT=1\nFIREWALL_SSH_PORT='2200' # ours\n"
        "HTTP_PORT=0.0.0.0:8080\nHTTPS_PORT=\n"
    )
    read = settings.read({"FIREWALL_SSH_PORT": "2222", "FIREWALL_SSH_FROM": ""}, file)
    assert read.ssh_ports == ["2222"]
    assert read.tcp_ports == ["8080", "443"]
    assert read.ssh_from4 == ["0.0.0.0/0"]
    assert settings.read({}, file).ssh_ports == ["2200"]


def test_production_has_its_own_ports() -> None:
    given = {"HTTP_PORT": "8081", "HTTPS_PORT": "8444", "FIREWALL_OPEN_TCP": "9000"}
    files = {"COMPOSE_FILE": "compose.yaml:compose.prod.yaml"}
    nowhere = Path("/nonexistent")
    assert settings.read(given, nowhere).tcp_ports == ["8081", "8444", "9000"]
    assert settings.read(given | files, nowhere).tcp_ports == ["80", "443", "9000"]


def _wait(condition: Callable[[], bool], seconds: float = 10) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
