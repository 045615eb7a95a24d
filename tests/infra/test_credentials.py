"""The secrets that `make up` makes, and those that it leaves alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from infra.stack import credentials

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def secrets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("STATE", "SECRETS", "BUILD", "RUN", "PROJECTS"):
        monkeypatch.setattr(credentials, name, tmp_path / name.lower())
    return tmp_path / "secrets"


def test_the_way_to_the_database_follows_its_password(secrets: Path) -> None:
    assert credentials.ensure()
    (secrets / "postgres_app_password").chmod(0o600)
    (secrets / "postgres_app_password").write_text("another")
    assert not credentials.ensure()
    url = "postgresql://listo_app:another@postgres:5432/listo"
    assert (secrets / "database_url").read_text() == url


def test_a_database_elsewhere_stays_the_one_that_is_used(secrets: Path) -> None:
    credentials.ensure()
    url = "postgresql://listo_app:secret@db.example.org:5432/listo?sslmode=verify-full"
    (secrets / "database_url").chmod(0o600)
    (secrets / "database_url").write_text(url)
    credentials.ensure()
    assert (secrets / "database_url").read_text() == url
    owner = (secrets / "database_owner_url").read_text()
    assert owner.startswith("postgresql://listo_owner:")
