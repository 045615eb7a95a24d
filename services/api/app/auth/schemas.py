"""Users, sessions and API keys on the wire."""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Literal
from uuid import UUID

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field, StrictBool

from app.core import emails, passwords
from app.core.actor import COLLECTION_NAME, Scope
from app.core.rates import parse_rates

if TYPE_CHECKING:
    from app.auth.models import ApiKey, User


def _in_utc(time: datetime) -> datetime:
    try:
        return time.astimezone(UTC)
    except OverflowError:
        raise ValueError("is out of range") from None


def _rates(text: str) -> str:
    rates = parse_rates(text)
    if len(rates) > 3 or any(rate.window > 86_400 for rate in rates):  # noqa: PLR2004
        # Redis keeps a count for each of a key's rates, for as long as its window.
        raise ValueError("takes at most three rates, none over more than a day")
    return text


Email = Annotated[
    str,
    Field(max_length=254, examples=["ada@example.com"], json_schema_extra={"format": "email"}),
    AfterValidator(emails.normal),
]
Password = Annotated[
    str,
    Field(
        min_length=passwords.MIN_LENGTH,
        max_length=1024,
        examples=["correct horse battery staple"],
    ),
    AfterValidator(passwords.checked),
]
Name = Annotated[str, Field(min_length=1, max_length=200, examples=["Ada Lovelace"])]
Role = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_-]{0,31}$", examples=["editor"])]
CollectionName = Annotated[str, Field(pattern=f"^{COLLECTION_NAME}$")]


class _In(BaseModel):
    model_config = ConfigDict(extra="forbid")


class RegisterIn(_In):
    email: Email
    password: Password
    name: Name | None = None


class LoginIn(_In):
    email: Annotated[str, Field(max_length=254, examples=["ada@example.com"])]
    password: Annotated[str, Field(max_length=1024, examples=["correct horse battery staple"])]


class RefreshIn(_In):
    refresh_token: Annotated[str, Field(max_length=128)]


class PasswordIn(_In):
    current_password: Annotated[str, Field(max_length=1024)]
    new_password: Password


class ApiKeyIn(_In):
    name: Name
    scopes: Annotated[list[Scope], Field(min_length=1, max_length=10)]
    collections: Annotated[list[CollectionName], Field(min_length=1, max_length=100)] | None = None
    expires_at: Annotated[AwareDatetime, AfterValidator(_in_utc)] | None = None
    rate_limit: (
        Annotated[
            str,
            Field(
                max_length=100,
                examples=["10/second, 600/minute"],
                description="In place of RATE_LIMIT_API_KEY, which only admins may exceed. At most "
                "three rates, each over a day at most.",
            ),
            AfterValidator(_rates),
        ]
        | None
    ) = None


class UserIn(_In):
    email: Email
    password: (
        Annotated[
            Password,
            Field(description="Required, but from an API key, which cannot give one."),
        ]
        | None
    ) = None
    name: Name | None = None
    roles: Annotated[list[Role], Field(max_length=20)] = ["member"]


class UserPatch(_In):
    """Only the members that are sent are changed."""

    name: Name | None = None
    roles: Annotated[list[Role], Field(max_length=20)] | None = None
    disabled: StrictBool | None = None
    password: (
        Annotated[Password, Field(description="The first one of a user that an API key made.")]
        | None
    ) = None


class TokensOut(BaseModel):
    access_token: str
    token_type: Literal["bearer"] = "bearer"  # noqa: S105 - RFC 6749's name for it
    expires_in: int
    refresh_token: str


class UserOut(BaseModel):
    id: UUID
    email: str
    name: str | None
    roles: list[str]
    disabled: bool
    created_at: datetime
    updated_at: datetime

    @classmethod
    def from_user(cls, user: User) -> UserOut:
        disabled = user.disabled_at is not None
        return cls(**{**asdict(user), "roles": sorted(user.roles), "disabled": disabled})


class RemovalOut(BaseModel):
    """How far the records of a deleted user are deleted."""

    user: UUID
    requested_at: datetime
    deleted: Annotated[int, Field(description="Records until now.")]
    finished_at: datetime | None


class UsersOut(BaseModel):
    items: list[UserOut]
    next: str | None


class ApiKeyOut(BaseModel):
    id: UUID
    name: str
    prefix: str
    scopes: list[str]
    collections: list[str] | None
    created_at: datetime
    expires_at: datetime | None
    last_used_at: datetime | None
    rate_limit: str | None

    @classmethod
    def from_api_key(cls, key: ApiKey) -> ApiKeyOut:
        collections = None if key.collections is None else sorted(key.collections)
        return cls(**{**asdict(key), "scopes": sorted(key.scopes), "collections": collections})


class NewApiKeyOut(ApiKeyOut):
    key: Annotated[str, Field(description="Shown this once.")]


class ApiKeysOut(BaseModel):
    items: list[ApiKeyOut]
