"""Every setting: its name, default, meaning and check. The documents are generated from here."""

from __future__ import annotations

import ipaddress
import re
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import ByteSize, Field, SecretStr, ValidationError, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict
from pydantic_settings import SettingsError as UnreadableSource

from app.core import emails, passwords
from app.core.env_file import SettingsError, find_env_file, settings_error
from app.core.rates import Rate, parse_rates

# Where containers get secrets: one file per setting, named like it in lower case.
SECRETS = Path("/run/secrets")
MIN_SECRET = 32
MIN_DISTINCT = 10

CommaSeparated = Annotated[tuple[str, ...], NoDecode]


class Settings(BaseSettings):
    """Read from the environment, then from `.env`, then from files of secrets; the first wins."""

    model_config = SettingsConfigDict(
        env_file=".env",
        env_ignore_empty=True,
        extra="ignore",
        frozen=True,
        hide_input_in_errors=True,
    )

    # The first field, since the checks of the others depend on it.
    environment: Literal["development", "production"] = Field(
        "development",
        description="`production` refuses weak secrets, `*` in CORS_ORIGINS, debug and default "
        "passwords, and closes registration unless told otherwise.",
        examples=["production"],
    )
    debug: bool = Field(False, description="Log at DEBUG, SQL included.", examples=["false"])
    database_url: SecretStr = Field(
        description="Where PostgreSQL is (17 or newer).",
        examples=["postgresql://app:PASSWORD@localhost:5432/listo"],
    )
    database_app_role: str | None = Field(
        None,
        description="The role of the API and the worker, for `listo migrate` as another role: it "
        "grants what they need. Unset: one role does all.",
        examples=["listo_app"],
    )
    database_pool_size: int = Field(
        10,
        ge=3,
        le=200,
        description="Connections per process, of which two in five are for lists.",
        examples=["10"],
    )
    database_statement_timeout: float = Field(
        20.0,
        gt=0,
        le=3600,
        description="Seconds until PostgreSQL gives up on one statement.",
        examples=["20"],
    )
    list_timeout: float = Field(
        5.0,
        gt=0,
        le=3600,
        description="Seconds until PostgreSQL gives up on a list, 503 `query_too_slow`.",
        examples=["5"],
    )
    database_memory: ByteSize = Field(
        ByteSize(768_000_000),
        ge=128_000_000,
        description="PostgreSQL's memory: bounds how many large records are in work at once.",
        examples=["768m"],
    )
    redis_url: SecretStr | None = Field(
        None,
        description="Where Redis is. Needed as soon as more than one process serves requests.",
        examples=["redis://localhost:6379/0"],
    )
    jwt_secret: SecretStr = Field(
        description=f"Signs access tokens and cursors; at least {MIN_SECRET} characters.",
        examples=["$(openssl rand -hex 32)"],
    )
    jwt_secret_previous: SecretStr | None = Field(
        None,
        description="The secret before the present one: what it signed stays valid, so that "
        "changing JWT_SECRET logs nobody out.",
        examples=["the former JWT_SECRET"],
    )
    access_token_ttl: int = Field(
        900,
        ge=30,
        le=86_400,
        description="Seconds that an access token is valid.",
        examples=["900"],
    )
    refresh_token_ttl: int = Field(
        30 * 86_400,
        ge=300,
        le=366 * 86_400,
        description="Seconds that a session lives without being refreshed.",
        examples=["2592000"],
    )
    registration: Literal["open", "closed"] | None = Field(
        None,
        description="Whether anybody may register. Unset: open in development, closed in "
        "production.",
        examples=["closed"],
    )
    admin_email: str | None = Field(
        None,
        description="The first admin, made at start if there is no such user. Needs "
        "ADMIN_PASSWORD.",
        examples=["admin@example.com"],
    )
    admin_password: SecretStr | None = Field(
        None,
        validate_default=True,
        description=f"The first admin's password; at least {passwords.MIN_LENGTH} characters. "
        "Needs ADMIN_EMAIL.",
        examples=["correct horse battery staple"],
    )
    password_hash_concurrency: int = Field(
        2,
        ge=1,
        le=64,
        description="Passwords hashed at once per process, 35 MB each.",
        examples=["2"],
    )
    cors_origins: CommaSeparated = Field(
        (),
        description="Origins whose pages may call the API, comma-separated; in development "
        "localhost, 127.0.0.1 and [::1] on any port as well.",
        examples=["https://app.example.com,https://admin.example.com"],
    )
    cors_headers: CommaSeparated = Field(
        (),
        description="Header fields that those pages may send beside the usual ones, "
        "comma-separated.",
        examples=["sentry-trace,x-tenant"],
    )
    trusted_proxies: CommaSeparated = Field(
        (),
        description="Networks (CIDR, comma-separated) of the proxies whose X-Forwarded-For is "
        "believed. Nobody's by default.",
        examples=["10.0.0.0/8"],
    )
    rate_limit_anonymous: str = Field(
        "120/minute",
        description="Per client address (IPv6: per /64). `off` lifts it.",
        examples=["120/minute"],
    )
    rate_limit_user: str = Field(
        "1200/minute", description="Per user.", examples=["20/second, 1200/minute"]
    )
    rate_limit_api_key: str = Field("6000/minute", description="Per API key.", examples=["off"])
    api_keys_per_user: int = Field(
        20,
        ge=1,
        le=10_000,
        description="Valid API keys that a user may have at once, since each has its own limit.",
        examples=["20"],
    )
    rate_limit_login: str = Field(
        "10/minute",
        description="Logins, registrations and password changes, per client address and per "
        "account.",
        examples=["10/minute"],
    )
    max_body_bytes: int = Field(
        10_485_760,
        ge=1024,
        le=1_073_741_824,
        description="Largest request body; larger ones get 413.",
        examples=["10485760"],
    )
    max_record_bytes: int = Field(
        1_048_576,
        ge=1024,
        le=16_777_216,
        description="Largest record, at most MAX_BODY_BYTES; larger ones get 422.",
        examples=["1048576"],
    )
    max_import_bytes: int = Field(
        1_073_741_824,
        ge=1024,
        le=1_099_511_627_776,
        description="Largest file of an import, as sent and once it is decompressed; larger ones "
        "get 413.",
        examples=["1073741824"],
    )
    request_timeout: float = Field(
        30.0,
        gt=0,
        le=3600,
        description="Seconds until a request is given up with 503.",
        examples=["30"],
    )
    max_concurrent_requests: int = Field(
        200,
        ge=1,
        le=100_000,
        description="Requests in work at once per process, fewer while it is overloaded; more "
        "wait, and get 503 with Retry-After where that is for over 1.2 s.",
        examples=["200"],
    )
    worker_metrics_address: str | None = Field(
        None,
        pattern=r"^[^\s:]+:[0-9]{1,5}$",
        description="Where the worker serves its metrics, `host:port`. Unset: nowhere.",
        examples=["127.0.0.1:9101"],
    )
    event_retention_days: int = Field(
        7, ge=1, le=3650, description="Days that events are kept.", examples=["7"]
    )
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"] = Field(
        "INFO", description="Least severe level that is logged.", examples=["INFO"]
    )
    json_logging: bool | None = Field(
        None,
        description="One JSON object a line. Unset: colours on a terminal, JSON elsewhere.",
        examples=["true"],
    )
    otel_exporter_otlp_endpoint: str | None = Field(
        None,
        description="Where traces go (OTLP over HTTP). Unset: nowhere.",
        examples=["http://localhost:4318"],
    )
    listo_extensions: CommaSeparated = Field(
        (),
        description="Your own routers, `module:router`, comma-separated.",
        examples=["shop.api:router"],
    )

    @field_validator(
        "cors_origins", "cors_headers", "trusted_proxies", "listo_extensions", mode="before"
    )
    @classmethod
    def _split(cls, value: Any) -> Any:
        if isinstance(value, str):
            return tuple(part for part in (item.strip() for item in value.split(",")) if part)
        return value

    @field_validator("log_level", mode="before")
    @classmethod
    def _upper(cls, value: Any) -> Any:
        return value.upper() if isinstance(value, str) else value

    @field_validator("debug")
    @classmethod
    def _no_debug(cls, value: bool, info: ValidationInfo) -> bool:  # noqa: FBT001
        if value and _production(info):
            raise ValueError("must be off in production")
        return value

    @field_validator("database_url")
    @classmethod
    def _database_url(cls, value: SecretStr, info: ValidationInfo) -> SecretStr:
        text = value.get_secret_value()
        if not text.startswith(("postgresql://", "postgres://")):
            raise ValueError("must be a postgresql:// URL")
        _check_passwords(text, info)
        return value

    @field_validator("redis_url")
    @classmethod
    def _redis_url(cls, value: SecretStr | None, info: ValidationInfo) -> SecretStr | None:
        if value:
            text = value.get_secret_value()
            if not text.startswith(("redis://", "rediss://", "unix://")):
                raise ValueError("must be a redis://, rediss:// or unix:// URL")
            _check_passwords(text, info)
        return value

    @field_validator("jwt_secret", "jwt_secret_previous")
    @classmethod
    def _secret(cls, value: SecretStr | None, info: ValidationInfo) -> SecretStr | None:
        # The file of an unset secret exists and is empty; an empty variable is ignored already.
        if value is None or (info.field_name == "jwt_secret_previous" and not value):
            return None
        text = value.get_secret_value()
        if len(text) < MIN_SECRET:
            raise ValueError(f"must have at least {MIN_SECRET} characters, has {len(text)}")
        if _production(info) and (len(set(text)) < MIN_DISTINCT or text in (text + text)[1:-1]):
            raise ValueError("is too regular to be a secret")
        return value

    @field_validator("admin_email")
    @classmethod
    def _admin_email(cls, value: str | None) -> str | None:
        return value and emails.normal(value.strip())

    @field_validator("admin_password")
    @classmethod
    def _admin_password(cls, value: SecretStr | None, info: ValidationInfo) -> SecretStr | None:
        # ADMIN_EMAIL is None if unset, and absent if wrong.
        email = info.data.get("admin_email", "")
        if value is None:
            if email:
                raise ValueError("is missing beside ADMIN_EMAIL")
            return None
        text = value.get_secret_value()
        if _production(info) and text.lower() in passwords.DEFAULTS:
            raise ValueError("must not be a default password in production")
        passwords.checked(text)
        if email is None:
            raise ValueError("needs ADMIN_EMAIL beside it")
        return value

    @field_validator("cors_origins")
    @classmethod
    def _origins(cls, value: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        if "*" in value and _production(info):
            raise ValueError("must name each origin in production, not *")
        for origin in value:
            if origin != "*" and not re.fullmatch(r"https?://[^/\s?#]+", origin):
                raise ValueError(f"{origin!r} is not an origin (scheme://host[:port], no path)")
        return value

    @field_validator("cors_headers")
    @classmethod
    def _fields(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for name in value:
            # `*` is refused: with it, browsers let no page send Authorization.
            if not re.fullmatch(r"[A-Za-z0-9!#$%&'+.^_`|~-]+", name):
                raise ValueError(f"{name!r} is not a field's name")
        return value

    @field_validator("trusted_proxies")
    @classmethod
    def _networks(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for network in value:
            ipaddress.ip_network(network)
        return value

    @field_validator(
        "rate_limit_anonymous", "rate_limit_user", "rate_limit_api_key", "rate_limit_login"
    )
    @classmethod
    def _rates(cls, value: str) -> str:
        parse_rates(value)
        return value

    @field_validator("listo_extensions")
    @classmethod
    def _extensions(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for name in value:
            if not re.fullmatch(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*", name):
                raise ValueError(f"{name!r} is not of the form module:router")
        return value

    @property
    def registration_open(self) -> bool:
        return (self.registration or ("closed" if self.production else "open")) == "open"

    @property
    def production(self) -> bool:
        return self.environment == "production"

    def rates(self, policy: Literal["anonymous", "user", "api_key", "login"]) -> tuple[Rate, ...]:
        return parse_rates(getattr(self, f"rate_limit_{policy}"))

    @classmethod
    def load(cls) -> Self:
        """The settings of this process. Raises SettingsError, which lists every error."""
        try:
            return cls(  # type: ignore[call-arg]
                _env_file=find_env_file(),
                _secrets_dir=SECRETS if SECRETS.is_dir() else None,
            )
        except ValidationError as error:
            raise settings_error(cls, error) from None
        except UnreadableSource as error:
            # A secret's file cannot be read; the cause says why, but not always which file.
            raise SettingsError(f"{error}: {error.__cause__}") from None


def _check_passwords(url: str, info: ValidationInfo) -> None:
    """Refuse default passwords in production, wherever clients look for a password."""
    if passwords.default_in_url(url) and _production(info):
        raise ValueError("must not hold a default password in production")


def _production(info: ValidationInfo) -> bool:
    return info.data.get("environment") == "production"
