"""Bounds of the stack's settings: a wrong value is refused before anything is changed or kept."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from app.core.settings import Settings
from infra.stack import bounds

if TYPE_CHECKING:
    from fixtures.checkout import Checkout

ROOT = Path(__file__).parents[2]
# Settings for the API, which checks them before replicas are replaced.
OF_THE_API = {name.upper() for name in Settings.model_fields}
ADDRESSES = {"EDGE_ADDRESS", "EDGE_SUBNET", "EDGE_RANGE"}
COUNTED = re.compile(
    r"(REPLICAS|CONCURRENCY|CONNECTIONS|PORT|MEMORY|CPUS|GRACE|RETENTION|SIZE|FILES|SECONDS|BYTES|TIMEOUT|TTL"
    r"|REQUESTS|DAYS)$"
)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        *(("REPLICAS", text) for text in ("0", "101", "-1", "2.5", "many", "٣", "1e1")),
        *(("HTTPS_PORT", text) for text in ("0", "65536", "https")),
        *(("API_MEMORY", text) for text in ("6m", "384", "much", "1x")),
        *(("API_CPUS", text) for text in ("0", "9", "1,5")),
        ("POSTGRES_MEMORY", "0"),
        ("REDIS_MAXMEMORY", "12gib"),
        *(("STOP_GRACE", text) for text in ("5s", "70", "2h")),
        ("METRICS_RETENTION", "0d"),
        ("METRICS_SIZE", "4gb"),
        *(("LOG_RETENTION", text) for text in ("23h", "336")),
        ("LOG_FILE_SIZE", "1"),
        ("LOG_FILES", "0"),
        ("WEB_CONCURRENCY", "0"),
        ("GUNICORN_MAX_REQUESTS", "never"),
        ("POSTGRES_CONNECTIONS", "49"),
        ("ACME_CHECK_SECONDS", "0"),
        ("EDGE_ADDRESS", "10.213.240.200"),
        ("EDGE_SUBNET", "8x"),
    ],
)
def test_a_value_out_of_bounds_is_told_and_not_kept(
    checkout: Checkout, name: str, text: str
) -> None:
    done = checkout.run("up", **{name: text})
    assert done.returncode == 1
    (line,) = [line for line in done.stdout.splitlines() if " setting " in line]
    assert name in line
    assert text in line
    assert "nothing was changed" in done.stderr
    assert not checkout.asked("^compose (up|run|build|pull)")
    assert not (checkout.path / ".env").exists()
    assert not checkout.secrets.exists()


@pytest.mark.parametrize(
    ("name", "texts"),
    [
        ("REPLICAS", ("1", "100")),
        ("API_MEMORY", ("384m", "1g", "1.5g", "512MiB", "402653184")),
        ("API_CPUS", ("0.5", "2")),
        ("GUNICORN_MAX_REQUESTS", ("0", "500000")),
        ("POSTGRES_CONNECTIONS", ("50", "200")),
        ("REDIS_MAXMEMORY", ("192mb", "1g")),
        ("STOP_GRACE", ("70s", "1m10s", "2m")),
        ("METRICS_RETENTION", ("31d", "1y", "12h")),
        ("METRICS_SIZE", ("512MB", "4GB")),
        ("LOG_RETENTION", ("336h", "2w")),
        ("LOG_FILE_SIZE", ("10m", "1g")),
    ],
)
def test_a_value_within_bounds_is_taken(
    monkeypatch: pytest.MonkeyPatch, name: str, texts: tuple[str, ...]
) -> None:
    for text in texts:
        monkeypatch.setenv(name, text)
        assert bounds.faults(ports=[], cores=None) == [], text


def test_all_faults_are_told_at_once(checkout: Checkout) -> None:
    done = checkout.run("up", REPLICAS="0", HTTPS_PORT="0", LOG_FILES="x")
    assert len(re.findall("✗ setting", done.stdout)) == 3


def test_two_services_cannot_have_one_port(checkout: Checkout) -> None:
    done = checkout.run("up", HTTP_PORT="8443", HTTPS_PORT="8443")
    assert "HTTPS_PORT and HTTP_PORT are both 8443" in done.stdout


def test_the_data_of_redis_must_fit_into_its_memory(checkout: Checkout) -> None:
    done = checkout.run("up", REDIS_MEMORY="1g", REDIS_MAXMEMORY="1gb")
    assert "REDIS_MAXMEMORY=1gb does not fit into REDIS_MEMORY=1g" in done.stdout


def test_large_records_need_memory(checkout: Checkout) -> None:
    done = checkout.run("up", MAX_RECORD_BYTES="16777216", API_MEMORY="768m")
    assert "MAX_RECORD_BYTES=16777216 takes an API_MEMORY of 984m, not 768m" in done.stdout
    assert "takes an API_MEMORY of 984m, not 384m" in (
        checkout.run("up", MAX_RECORD_BYTES="16777216").stdout
    )


@pytest.mark.parametrize(
    ("settings", "fault"),
    [
        ({"PASSWORD_HASH_CONCURRENCY": "5"}, None),
        ({"PASSWORD_HASH_CONCURRENCY": "6"}, "6 takes an API_MEMORY of 390m, not 384m"),
        ({"PASSWORD_HASH_CONCURRENCY": "6", "API_MEMORY": "390m"}, None),
        ({"PASSWORD_HASH_CONCURRENCY": "4", "API_CPUS": "2"}, "4 takes an API_MEMORY of 580m"),
        ({"PASSWORD_HASH_CONCURRENCY": "4", "API_CPUS": "2", "WEB_CONCURRENCY": "1"}, None),
        ({"PASSWORD_HASH_CONCURRENCY": "10", "COMPOSE_FILE": "compose.prod.yaml"}, None),
        ({"PASSWORD_HASH_CONCURRENCY": "many"}, None),  # the API refuses it
    ],
)
def test_passwords_need_memory(
    monkeypatch: pytest.MonkeyPatch, settings: dict[str, str], fault: str | None
) -> None:
    for name in ("API_MEMORY", "API_CPUS", "WEB_CONCURRENCY", "COMPOSE_FILE"):
        monkeypatch.delenv(name, raising=False)
    for name, text in settings.items():
        monkeypatch.setenv(name, text)
    found = bounds.faults(ports=[], cores=None)
    assert found == [] if fault is None else fault in found[0]


def test_other_addresses_than_those_of_the_network_are_refused(checkout: Checkout) -> None:
    there = "10.9.0.0/24 10.9.0.128/25"
    checkout.has(answers={"network inspect": [0, f"{there}\n"]})
    checkout.up(EDGE_SUBNET="10.9.0.0/24", EDGE_RANGE="10.9.0.128/25", EDGE_ADDRESS="10.9.0.10")
    (checkout.engine / "calls").unlink()
    refused = checkout.run("up")
    assert refused.returncode == 1
    assert "(10.9.0.0/24, 10.9.0.128/25): `make down` first" in refused.stdout
    assert not checkout.asked("compose (run|up|down)")


def test_every_number_of_the_compose_files_has_bounds() -> None:
    text = "".join(path.read_text() for path in ROOT.glob("compose*.yaml"))
    named = {*re.findall(r"\$\{(\w+)", text), "WEB_CONCURRENCY"}
    numbers = {name for name in named if COUNTED.search(name)}
    assert numbers - OF_THE_API == set(bounds.BOUNDS)
    assert named >= ADDRESSES
