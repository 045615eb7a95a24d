"""The secrets that `make up` makes, and those that it leaves alone."""

from __future__ import annotations

import hashlib
import json
import os
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

import pytest

from infra.stack import credentials
from infra.stack.compose import CannotRun

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def secrets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("STATE", "SECRETS", "BUILD", "RUN", "UNTOLD"):
        monkeypatch.setattr(credentials, name, tmp_path / name.lower())
    return tmp_path / "secrets"


def test_the_way_to_the_database_follows_its_password(secrets: Path) -> None:
    credentials.ensure()
    (secrets / "postgres_app_password").chmod(0o600)
    (secrets / "postgres_app_password").write_text("another")
    credentials.ensure()
    url = "postgresql://listo_app:another@postgres:5432/listo"
    assert (secrets / "database_url").read_text() == url


def test_the_url_of_a_database_elsewhere_stays(secrets: Path) -> None:
    credentials.ensure()
    url = "postgresql://listo_app:secret@db.example.org:5432/listo?sslmode=verify-full"
    (secrets / "database_url").chmod(0o600)
    (secrets / "database_url").write_text(url)
    credentials.ensure()
    assert (secrets / "database_url").read_text() == url
    owner = (secrets / "database_owner_url").read_text()
    assert owner.startswith("postgresql://listo_owner:")


@pytest.mark.parametrize(
    ("text", "password"),
    [("plain\n", "plain"), ("p@ss:w/o#rd %41", "p@ss:w/o#rd %41"), ("grün", "grün")],
)
def test_passwords_of_another_tool_are_used_and_left_alone(
    secrets: Path, text: str, password: str
) -> None:
    secrets.mkdir()
    given = ("postgres_app_password", "postgres_owner_password", "redis_listo_password",
             "redis_monitor_password")  # fmt: skip
    for name in given:
        (secrets / name).write_text(text)
        (secrets / name).chmod(0o600)
    credentials.ensure()
    for name in ("database_url", "database_owner_url", "redis_url"):
        url = urlsplit((secrets / name).read_text())
        assert unquote(url.password or "") == password
        assert url.hostname in {"postgres", "redis"}
    assert list(json.loads((secrets / "redis_exporter").read_text()).values()) == [password]
    hashed = hashlib.sha256(password.encode()).hexdigest()
    assert (secrets / "redis_users").read_text().count(f"#{hashed} ") == len(("listo", "monitor"))
    # The file stays as it was, for that tool to find.
    assert (secrets / given[0]).read_text() == text


@pytest.mark.parametrize(
    ("name", "content", "why"),
    [
        ("postgres_app_password", b"", "is empty"),
        ("postgres_app_password", b"\n", "is empty"),
        ("postgres_monitor_password", b"one\ntwo\n", "is not one line of text"),
        ("postgres_backup_password", b"one\n\n", "is not one line of text"),
        ("redis_listo_password", b" one", "is not one line of text"),
        ("jwt_secret", b"one\r\n", "is not one line of text"),
        ("jwt_secret_previous", b"\t", "is not one line of text"),
        ("grafana_secret_key", b"caf\xe9", "is not one line of text"),
        ("database_url", b"postgresql://a\nb", "is not one line of text"),
    ],
)
def test_a_secret_that_no_service_could_use_is_told(
    secrets: Path, name: str, content: bytes, why: str
) -> None:
    secrets.mkdir()
    (secrets / name).write_bytes(content)
    with pytest.raises(CannotRun, match=rf"/{name} {why}"):
        credentials.ensure()


def test_services_can_read_the_files_and_nobody_else_gets_to_them(secrets: Path) -> None:
    secrets.mkdir(0o755)
    (secrets / "jwt_secret").write_text("x" * 64)
    (secrets / "jwt_secret").chmod(0o600)
    before = os.umask(0)
    try:
        credentials.ensure()
    finally:
        os.umask(before)
    assert {f"{path.stat().st_mode & 0o777:o}" for path in secrets.iterdir()} == {"444"}
    assert f"{secrets.stat().st_mode & 0o777:o}" == "700"
    assert f"{(secrets.parent / 'state').stat().st_mode & 0o777:o}" == "700"
