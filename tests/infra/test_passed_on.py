"""Every setting of the API reaches it in the stack: from `.env`, by a secret's file, or fixed."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, get_args

import pytest
import yaml
from pydantic import SecretStr

from app.core.settings import Settings

ROOT = Path(__file__).parents[2]
SERVICES: dict[str, Any] = yaml.safe_load((ROOT / "compose.yaml").read_text())["services"]
# Settings that compose.yaml fixes, each for its reason.
OF_THE_STACK = {
    "ENVIRONMENT": "the stack is production",
    "DEBUG": "production refuses it; LOG_LEVEL is passed on",
    "DATABASE_APP_ROLE": "infra/postgres/roles.sql makes that role",
    "DATABASE_MEMORY": "it is POSTGRES_MEMORY, the limit of PostgreSQL's container",
    "JSON_LOGGING": "Fluent Bit reads JSON",
    "WORKER_METRICS_ADDRESS": "Prometheus and the health check ask there",
}
FIELDS = {name.upper(): field for name, field in Settings.model_fields.items()}
SECRETS = {
    name
    for name, field in FIELDS.items()
    if SecretStr in (field.annotation, *get_args(field.annotation))
}
PASSED_ON = FIELDS.keys() - SECRETS - OF_THE_STACK.keys()
# The server makes a folder for this setting by itself.
OF_THE_SERVER = {"PROMETHEUS_MULTIPROC_DIR"}
# The worker and *migrate* make no admin, and read no tokens.
OF_THE_API_ALONE = {"ADMIN_EMAIL", "ADMIN_PASSWORD", "JWT_SECRET_PREVIOUS"}


def test_the_lists_here_name_settings_that_exist() -> None:
    assert OF_THE_STACK.keys() <= FIELDS.keys()
    assert FIELDS.keys() >= OF_THE_API_ALONE
    assert "JWT_SECRET" in SECRETS


@pytest.mark.parametrize("service", ["api", "worker", "migrate"])
def test_every_setting_is_passed_on(service: str) -> None:
    given = SERVICES[service]["environment"]
    for name in PASSED_ON - (set() if service == "api" else OF_THE_API_ALONE):
        assert f"${{{name}:-" in given.get(name, ""), f"compose.yaml: {service} lacks {name}"


@pytest.mark.parametrize("service", ["api", "worker"])
def test_every_secret_is_a_file(service: str) -> None:
    given = {one.upper() for one in SERVICES[service]["secrets"]}
    assert given == SECRETS - (set() if service == "api" else OF_THE_API_ALONE)


def test_settings_of_gunicorn_and_postgres_are_passed_on() -> None:
    read = re.findall(
        r'environ\.get\("(\w+)"\)', (ROOT / "services/api/gunicorn.conf.py").read_text()
    )
    assert "WEB_CONCURRENCY" in read
    assert set(read) - OF_THE_SERVER <= SERVICES["api"]["environment"].keys()
    assert SERVICES["postgres"]["environment"]["MAX_CONNECTIONS"] == "${POSTGRES_CONNECTIONS:-}"


def test_settings_that_the_stack_fixes_are_not_passed_on() -> None:
    for service in ("api", "worker", "migrate"):
        for name, value in SERVICES[service]["environment"].items():
            if name in OF_THE_STACK:
                assert f"${{{name}" not in str(value), f"{name} is passed on: take it off the list"


def test_the_page_lists_the_settings_that_are_not_passed_on() -> None:
    page = (ROOT / "docs/stack.md").read_text()
    section = page.partition("\n## Settings\n")[2].partition("\n\nEvery number")[0]
    own = section.partition("sets by itself: ")[2].partition(", which is")[0]
    assert set(re.findall(r"`([A-Z_]+)`", own)) == OF_THE_STACK.keys()
