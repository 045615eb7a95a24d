"""The Compose files, as Compose itself reads them, in every combination; nothing is started."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from functools import cache
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
import yaml

from fixtures import needs

ROOT = Path(__file__).parents[2]
IMAGES = yaml.safe_load((ROOT / "infra/images/list.yaml").read_text())
REGISTRY = ("compose.yaml",)
DEBIAN = ("compose.yaml", "compose.debian.yaml")
PRODUCTION = ("compose.yaml", "compose.prod.yaml")
DEBIAN_PRODUCTION = ("compose.yaml", "compose.debian.yaml", "compose.prod.yaml")
STACKS = (REGISTRY, DEBIAN, PRODUCTION, DEBIAN_PRODUCTION)
LEFT_OUT = {"grafana", "loki", "fluent-bit"}
# These services run until their work is done.
ONE_SHOTS = {"volumes", "authority", "migrate", "replicas"}
# The only program of this image cannot check itself. Prometheus checks it.
WITHOUT_HEALTH_CHECK = {"fluent-bit"}
SETTING = re.compile(r"\$\{(\w+)")
REQUIRED = {
    "ADMIN_EMAIL": "ops@listo.test", "DOMAIN": "api.listo.test", "ACME_EMAIL": "acme@listo.test",
    "SECRETS_DIR": "/nowhere/secrets",
}  # fmt: skip
PLAIN = {
    **{name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ},
    "PWD": str(ROOT),
}


def _missing() -> str | None:
    if shutil.which("docker") is None:
        return "no `docker` here"
    found = subprocess.run(["docker", "compose", "version"], capture_output=True, check=False)
    return None if found.returncode == 0 else "`docker` here has no `compose`"


MISSING = _missing()
pytestmark = needs.unless(MISSING)


def compose(
    files: tuple[str, ...], *arguments: str, **settings: str
) -> subprocess.CompletedProcess[str]:
    """The answer of `docker compose config`, with these settings and none of this machine's."""
    named = [word for name in files for word in ("--file", name)]
    return subprocess.run(
        ["docker", "compose", "--env-file", "/dev/null", *named, "--profile", "acme", "config",
         *arguments],
        cwd=ROOT, env={**PLAIN, **settings}, capture_output=True, text=True, check=False,
    )  # fmt: skip


@cache
def config(files: tuple[str, ...]) -> dict[str, Any]:
    settings = REQUIRED if "compose.prod.yaml" in files else {}
    done = compose(files, "--format", "json", **settings)
    assert done.returncode == 0, done.stderr
    # Compose warns of a missing setting here, and takes it as empty.
    assert not done.stderr, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def services(files: tuple[str, ...]) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = config(files)["services"]
    return found


def names(files: tuple[str, ...]) -> str:
    return "+".join(name.removesuffix(".yaml") for name in files)


every_stack = pytest.mark.parametrize("files", STACKS, ids=names)


@every_stack
def test_compose_accepts_the_files(files: tuple[str, ...]) -> None:
    assert config(files)["name"] == "listo"


@every_stack
def test_services_without_a_debian_package_are_left_out(files: tuple[str, ...]) -> None:
    debian = "compose.debian.yaml" in files
    assert LEFT_OUT & set(services(files)) == (set() if debian else LEFT_OUT)


@pytest.mark.parametrize("files", [REGISTRY, PRODUCTION], ids=names)
def test_images_are_those_of_the_list(files: tuple[str, ...]) -> None:
    listed = {
        service: f"{image['name']}:{image['version']}"
        for image in (*IMAGES["pulled"], *IMAGES["built"])
        for service in image["services"]
    }
    assert {name: one["image"] for name, one in services(files).items()} == listed
    built = {service for image in IMAGES["built"] for service in image["services"]}
    assert {name for name, one in services(files).items() if "build" in one} == built


@pytest.mark.parametrize("files", [REGISTRY, PRODUCTION], ids=names)
def test_bases_are_those_of_the_list(files: tuple[str, ...]) -> None:
    listed = {
        image: f"{base['name']}:{base['version']}"
        for base in IMAGES["bases"]
        for image in base["images"]
    }
    found = {
        one["image"].partition(":")[0]: one["build"]["args"]["BASE"]
        for one in services(files).values()
        if "build" in one
    }
    assert found == listed


@pytest.mark.parametrize("files", [DEBIAN, DEBIAN_PRODUCTION], ids=names)
def test_without_a_registry_all_is_built(files: tuple[str, ...]) -> None:
    listed = {
        service: f"{image['name']}:debian13"
        for image in IMAGES["debian"]
        for service in image["services"]
    }
    assert {name: one["image"] for name, one in services(files).items()} == listed
    for name, one in services(files).items():
        assert one["build"].get("args", {}).get("BASE", "listo/debian:13") == "listo/debian:13", (
            name
        )


def test_versions_are_exact() -> None:
    for image in (*IMAGES["pulled"], *IMAGES["bases"], *IMAGES["built"]):
        assert re.match(r"v?\d+\.\d+|trixie-\d{8}-slim$", image["version"]), image
    for image in (*IMAGES["pulled"], *IMAGES["bases"]):
        assert image["why"], image


@every_stack
def test_every_service_is_hardened(files: tuple[str, ...]) -> None:
    for name, one in services(files).items():
        assert one["read_only"] is True, name
        assert one["cap_drop"] == ["ALL"], name
        assert one["security_opt"] == ["no-new-privileges:true"], name
        assert not one.get("privileged"), name
        assert one.get("network_mode") in {None, "none"}, name
        assert one.get("pid") is None, name
        assert one.get("ipc") is None, name
        assert one["pids_limit"] > 0, name
        user, _, group = one["user"].partition(":")
        if name == "volumes":
            assert set(one["cap_add"]) == {"CHOWN", "DAC_OVERRIDE", "FOWNER"}
            assert one["network_mode"] == "none"
            assert not one.get("secrets")
        else:
            assert not one.get("cap_add"), name
            assert int(user) > 0, name
            assert int(group) > 0, name


@every_stack
def test_no_service_writes_to_the_host(files: tuple[str, ...]) -> None:
    """The shipper writes its socket; no service sees the engine's socket."""
    for name, one in services(files).items():
        for volume in one.get("volumes", ()):
            assert "docker.sock" not in volume["source"], name
            if volume["type"] == "bind" and volume["target"] != "/socket":
                assert volume["read_only"] is True, f"{name}: {volume['source']}"


@every_stack
def test_every_service_has_limits_and_a_time_to_end(files: tuple[str, ...]) -> None:
    for name, one in services(files).items():
        assert 64 << 20 <= int(one["mem_limit"]) <= 4 << 30, name
        assert 0 < float(one["cpus"]) <= 4, name
        assert one["stop_grace_period"], name
        assert one["logging"]["driver"] in {"fluentd", "local"}, name


@every_stack
def test_every_long_running_service_has_a_health_check(files: tuple[str, ...]) -> None:
    for name, one in services(files).items():
        if name in ONE_SHOTS:
            assert one["restart"] == "no", name
        elif name in WITHOUT_HEALTH_CHECK:
            assert "healthcheck" not in one, f"{name} has one: take it off the list"
        else:
            assert one["healthcheck"]["test"][0] in {"CMD", "CMD-SHELL"}, name
            assert one["restart"] == ("always" if production(files) else "unless-stopped"), name


def production(files: tuple[str, ...]) -> bool:
    return "compose.prod.yaml" in files


@every_stack
def test_logs_are_bounded(files: tuple[str, ...]) -> None:
    for name, one in services(files).items():
        logging = one["logging"]
        if "compose.debian.yaml" in files or name in {"loki", "fluent-bit"}:
            # The shipper cannot take its own lines.
            assert logging["driver"] == "local", name
            assert set(logging["options"]) == {"max-size", "max-file"}, name
        else:
            assert logging["driver"] == "fluentd", name
            bounds = {"fluentd-buffer-limit", "cache-max-size", "cache-max-file"}
            assert bounds <= set(logging["options"]), name
            assert logging["options"]["fluentd-async"] == "true", name


@every_stack
def test_only_nginx_is_published_beyond_this_host(files: tuple[str, ...]) -> None:
    found = {
        (name, port.get("host_ip", ""), port["published"])
        for name, one in services(files).items()
        for port in one.get("ports", ())
    }
    # By IPv6 every client would have the engine's address, and all would share a limit.
    expected = {("nginx", "0.0.0.0", "80"), ("nginx", "0.0.0.0", "443")}  # noqa: S104
    if not production(files):
        expected |= {
            ("prometheus", "127.0.0.1", "9090"), ("alertmanager", "127.0.0.1", "9093"),
            ("grafana", "127.0.0.1", "3000"),
        }  # fmt: skip
    if "compose.debian.yaml" in files:
        expected.discard(("grafana", "127.0.0.1", "3000"))
    assert found == expected
    inside = {address for name, address, _ in found if name != "nginx"}
    assert all(ip_address(address).is_loopback for address in inside)


@every_stack
def test_ports_of_the_host_are_fixed_in_production_alone(files: tuple[str, ...]) -> None:
    other_ports = {"HTTP_PORT": "8081", "HTTPS_PORT": "8444", "GRAFANA_PORT": "8082"}
    done = compose(files, "--format", "json", **REQUIRED, **other_ports)
    nginx = json.loads(done.stdout)["services"]["nginx"]
    ports = {port["published"] for port in nginx["ports"]}
    assert ports == ({"80", "443"} if production(files) else {"8081", "8444"})
    assert nginx["environment"]["HTTPS_PORT"] == ("443" if production(files) else "8444")


@every_stack
def test_the_stores_are_reached_from_one_network(files: tuple[str, ...]) -> None:
    assert config(files)["networks"]["data"]["internal"] is True
    for name in ("postgres", "redis"):
        assert list(services(files)[name]["networks"]) == ["data"], name
    assert services_on(files, "data") == {
        "api", "worker", "migrate", "postgres", "redis", "postgres-exporter", "redis-exporter",
    }  # fmt: skip
    assert services_on(files, "edge") == {"nginx", "api", "blackbox-exporter"}


@every_stack
def test_a_database_elsewhere_can_be_reached(files: tuple[str, ...]) -> None:
    networks = config(files)["networks"]
    for name in ("api", "worker", "migrate"):
        found = services(files)[name]["networks"]
        assert any(not networks[one].get("internal") for one in found), name


@pytest.mark.parametrize(
    ("settings", "proxies", "upstream"),
    [
        ({}, "10.213.240.10/32", ""),
        ({"EDGE_ADDRESS": "10.9.0.10"}, "10.9.0.10/32", ""),
        ({"TRUSTED_PROXIES": "192.0.2.0/24"}, "10.213.240.10/32,192.0.2.0/24", ""),
        # UPSTREAM may belong to another program on this host.
        ({"UPSTREAM": "shop:80"}, "10.213.240.10/32", ""),
        ({"API_UPSTREAM": "replicas:8000"}, "10.213.240.10/32", "replicas:8000"),
    ],
)
def test_replicas_and_proxies_elsewhere_are_passed_on(
    settings: dict[str, str], proxies: str, upstream: str
) -> None:
    found = json.loads(compose(REGISTRY, "--format", "json", **settings).stdout)["services"]
    assert found["api"]["environment"]["TRUSTED_PROXIES"] == proxies
    assert found["nginx"]["environment"]["UPSTREAM"] == upstream


def services_on(files: tuple[str, ...], network: str) -> set[str]:
    return {name for name, one in services(files).items() if network in one.get("networks", ())}


@every_stack
def test_start_order_waits_for_health(files: tuple[str, ...]) -> None:
    for name, one in services(files).items():
        for other, how in one.get("depends_on", {}).items():
            expected = {"service_healthy", "service_started"}
            if other in ONE_SHOTS:
                expected = {"service_completed_successfully"}
            assert how["condition"] in expected, f"{name}: {other}"
        # No service waits for the shipper, which may be away.
        assert "fluent-bit" not in one.get("depends_on", {}), name


@every_stack
def test_the_engine_writes_where_the_shipper_listens(files: tuple[str, ...]) -> None:
    if "compose.debian.yaml" in files:
        return
    done = compose(files, "--format", "json", **REQUIRED, RUN_DIR="/run/of/listo")
    found = json.loads(done.stdout)["services"]
    (socket,) = (one for one in found["fluent-bit"]["volumes"] if one["target"] == "/socket")
    assert socket["source"] == "/run/of/listo"
    # A folder that the engine made would be root's, closed to the shipper.
    assert not socket["bind"].get("create_host_path")
    address = found["api"]["logging"]["options"]["fluentd-address"]
    assert address == "unix:///run/of/listo/fluent-bit.sock"
    shipper = yaml.safe_load((ROOT / "infra/fluent-bit/fluent-bit.yaml").read_text())
    (listening,) = shipper["pipeline"]["inputs"]
    assert listening["unix_path"] == "/socket/fluent-bit.sock"
    unset = config(files)["services"]["api"]["logging"]["options"]["fluentd-address"]
    assert unset == f"unix://{ROOT}/.listo/stack/run/fluent-bit.sock"


def test_mounted_folders_exist() -> None:
    for name, one in services(REGISTRY).items():
        for volume in one.get("volumes", ()):
            source = Path(volume["source"])
            if volume["type"] == "bind" and source.is_relative_to(ROOT / "infra"):
                assert source.is_dir(), f"{name}: {source}"


def test_the_pages_name_every_setting() -> None:
    told = "".join(
        (ROOT / "docs" / f"{name}.md").read_text() for name in ("stack", "tls", "settings")
    )
    used = {
        name for file in DEBIAN_PRODUCTION for name in SETTING.findall((ROOT / file).read_text())
    }
    assert {name for name in used - {"PWD"} if f"`{name}`" not in told} == set()


def test_grafana_gets_the_secrets_that_it_reads() -> None:
    read = re.findall(r"/run/secrets/(\w+)", (ROOT / "infra/grafana/grafana.ini").read_text())
    given = {one["target"].rpartition("/")[2] for one in services(REGISTRY)["grafana"]["secrets"]}
    assert set(read) == given


@pytest.mark.parametrize("files", [PRODUCTION, DEBIAN_PRODUCTION], ids=names)
@pytest.mark.parametrize("setting", REQUIRED)
def test_production_does_not_start_without_its_settings(
    files: tuple[str, ...], setting: str
) -> None:
    others = {name: value for name, value in REQUIRED.items() if name != setting}
    for missing in (others, {**others, setting: ""}):
        done = compose(files, "--quiet", **missing)
        assert done.returncode != 0
        assert setting in done.stderr


@every_stack
def test_only_the_api_gets_address_and_password_of_the_first_admin(files: tuple[str, ...]) -> None:
    told = {
        name for name, one in services(files).items() if "ADMIN_EMAIL" in one.get("environment", {})
    }
    trusted = {
        name
        for name, one in services(files).items()
        if "admin_password" in {secret["source"] for secret in one.get("secrets", ())}
    }
    assert told == trusted == {"api"}


@every_stack
def test_secrets_are_files_and_nowhere_else(files: tuple[str, ...], tmp_path: Path) -> None:
    """Mark every secret, have all rendered, and look for the marks."""
    marks = {}
    for name, one in config(files)["secrets"].items():
        assert set(one) == {"name", "file"}, name
        marks[name] = f"mark-of-{name}"
        (tmp_path / name).write_text(marks[name])
    rendered = compose(files, "--format", "json", **{**REQUIRED, "SECRETS_DIR": str(tmp_path)})
    assert rendered.returncode == 0, rendered.stderr
    assert not any(mark in rendered.stdout for mark in marks.values())
    found = json.loads(rendered.stdout)
    for name, one in found["secrets"].items():
        if name not in {"ca", "pip"}:  # secrets of the build
            assert one["file"] == str(tmp_path / name)
    for service, one in found["services"].items():
        for variable, value in (one.get("environment") or {}).items():
            if re.search(r"PASS|SECRET|KEY|TOKEN|_URL$|URI$", variable):
                harmless = variable.endswith(("_FILE", "_TTL", "DIRECTORY_URL"))
                harmless |= value in {"", None} or variable == "DATA_SOURCE_URI"
                harmless |= variable.startswith("RATE_LIMIT_")
                assert harmless, f"{service}: {variable}={value}"
        assert not re.search(r"://[^/@\s]*:[^/@\s]+@", json.dumps(one)), service
