"""Docker's half of a line's way: the log driver, with the options of compose.yaml."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest
import yaml

from fixtures import needs
from fixtures.acme import BASE
from fixtures.forward_receiver import Receiver, listening, receiver, stop_with_lines_unread

if TYPE_CHECKING:
    from collections.abc import Iterator

COMPOSE = yaml.safe_load((Path(__file__).parents[2] / "compose.yaml").read_text())
LOGGING = COMPOSE["x-service"]["logging"]


def _missing() -> str | None:
    if shutil.which("docker") is None:
        return "no Docker here"
    found = subprocess.run(["docker", "image", "inspect", BASE], capture_output=True, check=False)
    return f"no engine, or no image {BASE}" if found.returncode else None


MISSING = _missing()
pytestmark = needs.unless(MISSING)


@pytest.fixture
def shipper() -> Iterator[Receiver]:
    with receiver() as one:
        yield one


def command(shipper: Receiver, script: str) -> list[str]:
    options = {**LOGGING["options"], "fluentd-address": f"unix://{shipper.path}"}
    return [
        "docker", "run", "--rm", "--network", "none", "--name", f"listo-test-{uuid4().hex[:12]}",
        "--label", "com.docker.compose.service=api", "--log-driver", LOGGING["driver"],
        *(f"--log-opt={name}={value}" for name, value in options.items()),
        BASE, "sh", "-c", script,
    ]  # fmt: skip


def log(shipper: Receiver, script: str) -> float:
    """Run a container that writes lines; return the seconds that it took."""
    started = time.monotonic()
    # The driver does not wait for lines that a container wrote right before its end.
    subprocess.run(
        command(shipper, f"{script}\nsleep 2"), check=True, capture_output=True, timeout=60
    )
    return time.monotonic() - started


def test_lines_come_with_their_service_and_time(shipper: Receiver) -> None:
    shipper.start()
    line = json.dumps({"level": "INFO", "message": "höchst 'eigen'"})
    before = time.time()
    log(shipper, f"cat <<'END'\n{line}\nEND")
    shipper.wait(1)
    ((tag, moment, record),) = shipper.records
    assert tag.startswith("listo.listo-test-")
    assert record["log"] == line
    assert record["com.docker.compose.service"] == "api"
    assert record["container_name"] == "/" + tag.removeprefix("listo.")
    assert int(before) <= moment <= time.time() + 1


@pytest.mark.skipif(
    LOGGING["options"].get("fluentd-sub-second-precision") != "true",
    reason="compose.yaml asks for whole seconds",
)
def test_times_are_finer_than_seconds(shipper: Receiver) -> None:
    shipper.start()
    log(shipper, "for n in 1 2 3 4 5; do echo $n; sleep 0.05; done")
    shipper.wait(5)
    moments = [moment for _, moment, _ in shipper.records]
    assert moments == sorted(moments)
    assert len(set(moments)) == 5


def test_none_of_many_lines_is_lost(shipper: Receiver) -> None:
    shipper.start()
    log(shipper, "seq 5000")
    shipper.wait(5000)
    assert [record["log"] for _, _, record in shipper.records] == [str(n + 1) for n in range(5000)]


def test_long_lines_come_in_marked_parts(shipper: Receiver) -> None:
    shipper.start()
    log(shipper, "head -c 40000 /dev/zero | tr '\\0' x; echo")
    shipper.wait(3)
    parts = [record for _, _, record in shipper.records]
    assert [len(part["log"]) for part in parts] == [16384, 16384, 7232]
    assert {part["partial_message"] for part in parts} == {"true"}
    assert [part["partial_last"] for part in parts] == ["false", "false", "true"]
    assert len({part["partial_id"] for part in parts}) == 1


def test_lines_that_the_shipper_did_not_take_are_sent_again(shipper: Receiver) -> None:
    script = "seq 3000; sleep 6"
    former = listening(shipper.path)
    with subprocess.Popen(command(shipper, script), stdout=subprocess.DEVNULL) as container:
        stop_with_lines_unread(former)
        shipper.start()
        shipper.wait(3000)
        container.wait(30)
    assert {record["log"] for _, _, record in shipper.records} == {str(n + 1) for n in range(3000)}


def test_no_service_waits_for_a_shipper_that_is_away(shipper: Receiver) -> None:
    seconds = log(shipper, "seq 1000")
    assert seconds < 30


def test_lines_wait_for_a_shipper_that_comes_back(shipper: Receiver) -> None:
    script = "seq 3000; sleep 6"
    with subprocess.Popen(command(shipper, script), stdout=subprocess.DEVNULL) as container:
        time.sleep(2)
        shipper.start()
        shipper.wait(3000, patience=20)
        container.wait(30)
    assert [record["log"] for _, _, record in shipper.records] == [str(n + 1) for n in range(3000)]
