"""Settings: every error in one list without secrets, and strict rules in production."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from app.core.env_file import SettingsError
from app.core.settings import Settings
from app.dev.settings_docs import env_example

if TYPE_CHECKING:
    from collections.abc import Callable

GOOD = {
    "DATABASE_URL": "postgresql://app:s3cr3t-and-long@db/listo",
    "JWT_SECRET": "0a1b2c3d4e5f60718293a4b5c6d7e8f9",
}


@pytest.fixture
def load(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Settings]:
    def load(**changes: str) -> Settings:
        monkeypatch.setenv("LISTO_ENV_FILE", os.devnull)
        for name, value in {**GOOD, **changes}.items():
            monkeypatch.setenv(name, value)
        return Settings.load()

    return load


def test_registration_is_open_by_default_but_in_production(load: Callable[..., Settings]) -> None:
    settings = load()
    assert settings.registration_open
    assert settings.max_body_bytes == 10_485_760
    assert not load(ENVIRONMENT="production").registration_open


def test_all_faults_come_in_one_list(load: Callable[..., Settings]) -> None:
    with pytest.raises(SettingsError) as raised:
        load(JWT_SECRET="short-secret", LOG_LEVEL="loud", RATE_LIMIT_USER="many",
             DATABASE_URL="mysql://x", MAX_BODY_BYTES="-1")  # fmt: skip
    lines = str(raised.value).splitlines()
    assert lines[0] == "5 settings are wrong:"
    names = [line.split(":")[0].strip() for line in lines[1:]]
    assert sorted(names) == [
        "DATABASE_URL", "JWT_SECRET", "LOG_LEVEL", "MAX_BODY_BYTES", "RATE_LIMIT_USER",
    ]  # fmt: skip
    assert all("example: " in line for line in lines[1:])
    assert "short-secret" not in str(raised.value)


def test_a_missing_setting_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LISTO_ENV_FILE", os.devnull)
    with pytest.raises(SettingsError, match="DATABASE_URL: is missing"):
        Settings.load()


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({"JWT_SECRET": "a" * 40}, "JWT_SECRET"),
        ({"JWT_SECRET": "abcd" * 10}, "JWT_SECRET"),
        ({"JWT_SECRET_PREVIOUS": "ab" * 20}, "JWT_SECRET_PREVIOUS"),
        ({"CORS_ORIGINS": "*"}, "CORS_ORIGINS"),
        ({"CORS_ORIGINS": "https://a.example,*"}, "CORS_ORIGINS"),
        ({"DEBUG": "true"}, "DEBUG"),
        ({"ADMIN_EMAIL": "a@example.com", "ADMIN_PASSWORD": "password1"}, "ADMIN_PASSWORD"),
        ({"DATABASE_URL": "postgresql://postgres:postgres@db/x"}, "DATABASE_URL"),
        ({"DATABASE_URL": "postgresql://postgres:p%6Fstgres@a,b:5433/x"}, "DATABASE_URL"),
        ({"DATABASE_URL": "postgresql://db/x?user=postgres&password=Postgres"}, "DATABASE_URL"),
        ({"REDIS_URL": "redis://:password@cache:6379/0"}, "REDIS_URL"),
        ({"REDIS_URL": "rediss://listo:changeme@cache"}, "REDIS_URL"),
        ({"REDIS_URL": "unix:///run/redis.sock?password=secret"}, "REDIS_URL"),
    ],
)
def test_production_refuses_weak_settings(
    load: Callable[..., Settings], changes: dict[str, str], name: str
) -> None:
    with pytest.raises(SettingsError, match=f"  {name}: "):
        load(ENVIRONMENT="production", **changes)


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"ADMIN_EMAIL": "not an address", "ADMIN_PASSWORD": "long enough"}, "ADMIN_EMAIL: "),
        ({"ADMIN_EMAIL": "not an address"}, "ADMIN_EMAIL: "),
        ({"ADMIN_EMAIL": "a@example.com"}, "ADMIN_PASSWORD: is missing beside ADMIN_EMAIL"),
        ({"ADMIN_PASSWORD": "long enough"}, "ADMIN_PASSWORD: needs ADMIN_EMAIL beside it"),
        ({"DATABASE_URL": "postgresql://app:hunter2]@db/x"}, "DATABASE_URL: is no URL"),
        ({"DATABASE_URL": "postgresql://app:hunter2\u2100@db/x"}, "DATABASE_URL: is no URL"),
        ({"REDIS_URL": "rediss://:hunter2]@cache"}, "REDIS_URL: is no URL"),
        ({"REDIS_URL": "http://cache"}, "REDIS_URL: must be a redis://"),
    ],
)
def test_wrong_settings_are_refused_everywhere(
    load: Callable[..., Settings], changes: dict[str, str], fault: str
) -> None:
    with pytest.raises(SettingsError) as raised:
        load(**changes)
    first, line = str(raised.value).splitlines()
    assert first == "1 setting is wrong:"
    assert line.startswith(f"  {fault}")
    assert "hunter2" not in line


@pytest.mark.parametrize(
    "changes",
    [
        {"DATABASE_URL": "postgres://postgres@/listo?host=/run/postgresql"},
        {"DATABASE_URL": "postgresql://app:a%40b@db1:5432,db2:5433/listo?sslmode=require"},
        {"DATABASE_URL": "postgresql:///listo"},
        {"REDIS_URL": "redis://listo:s3cr3t-and-long@[::1]:6379/0"},
        {"REDIS_URL": "unix:///run/redis.sock?db=1"},
        {"ADMIN_EMAIL": " Ada@Example.com", "ADMIN_PASSWORD": "correct horse battery staple"},
    ],
)
def test_production_takes_strong_settings(
    load: Callable[..., Settings], changes: dict[str, str]
) -> None:
    load(ENVIRONMENT="production", **changes)


def test_lists_are_split_at_commas(load: Callable[..., Settings]) -> None:
    settings = load(CORS_ORIGINS=" https://a.example, http://localhost:3000 ,")
    assert settings.cors_origins == ("https://a.example", "http://localhost:3000")


def test_secrets_do_not_show(load: Callable[..., Settings]) -> None:
    text = repr(load(ADMIN_EMAIL="a@example.com", ADMIN_PASSWORD="hunter2hunter2"))
    assert "hunter2" not in text
    assert "s3cr3t" not in text
    assert GOOD["JWT_SECRET"] not in text


def test_the_environment_wins_over_the_file(
    load: Callable[..., Settings], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    del load
    monkeypatch.chdir(tmp_path)
    lines = [f"{name}={value}" for name, value in GOOD.items()]
    (tmp_path / ".env").write_text("\n".join([*lines, "LOG_LEVEL=error", "EVENT_RETENTION_DAYS=3"]))
    monkeypatch.setenv("LOG_LEVEL", "debug")
    settings = Settings.load()
    assert settings.log_level == "DEBUG"
    assert settings.event_retention_days == 3


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (None, "No such file or directory"),
        (b"LOG_LEVEL=info\nSHOP=caf\xe9\n", "line 2 is not UTF-8"),
        ("LOG_LEVEL=info\n".encode("utf-16"), "line 1 is not UTF-8"),
        (bytes(512), "it is no text"),
    ],
)
def test_an_unreadable_file_is_named_with_the_reason(
    load: Callable[..., Settings],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    content: bytes | None,
    why: str,
) -> None:
    load()
    path = tmp_path / ".env"
    if content is not None:
        path.write_bytes(content)
    monkeypatch.setenv("LISTO_ENV_FILE", str(path))
    with pytest.raises(SettingsError) as raised:
        Settings.load()
    assert str(raised.value) == f"{path} cannot be read: {why}."


def test_an_unreadable_secret_is_named(
    load: Callable[..., Settings], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.core.settings.SECRETS", tmp_path)
    (tmp_path / "jwt_secret").write_bytes(b"\xff" * 40)
    with pytest.raises(SettingsError, match=r'"jwt_secret".*: .*utf-8.*decode'):
        load(JWT_SECRET="")


def test_secrets_come_from_files(
    load: Callable[..., Settings], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.core.settings.SECRETS", tmp_path)
    (tmp_path / "jwt_secret").write_text(f"{'from-file' * 8}\n")
    # The stack makes an empty file until there is a former secret.
    (tmp_path / "jwt_secret_previous").touch()
    settings = load(JWT_SECRET="")
    assert settings.jwt_secret.get_secret_value() == "from-file" * 8
    assert settings.jwt_secret_previous is None


def test_a_copy_of_the_example_sets_nothing() -> None:
    lines = env_example().splitlines()
    assert "# JWT_SECRET=" in "\n".join(lines)
    assert [line for line in lines if line and not line.startswith("# ")] == []
