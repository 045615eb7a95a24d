"""Authentication over HTTP."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Request, Response

from app.auth import api_keys, repository, schemas, service
from app.auth.dependencies import (
    AuthDep,
    CurrentActor,
    SessionDep,
    no_store,
    password_try,
    throttle_login,
)
from app.auth.models import ApiKey, User
from app.auth.service import Grant
from app.core.body import body_of, request_body
from app.core.errors import Unauthorized
from app.core.openapi import PUBLIC, problems

router = APIRouter(prefix="/auth", tags=["auth"], dependencies=[Depends(no_store)])


async def own_session(actor: CurrentActor) -> None:
    """A dependency of a route, so that others are refused before its body is read."""
    service.own_session(actor)


@router.post(
    "/register",
    operation_id="register",
    status_code=201,
    responses=problems(403, 409, 415, 422),
    openapi_extra={**request_body(schemas.RegisterIn), **PUBLIC},
)
async def register(
    request: Request,
    auth: AuthDep,
    given: Annotated[schemas.RegisterIn, body_of(schemas.RegisterIn)],
) -> schemas.UserOut:
    """Make an account, where registration is open."""
    await throttle_login(request, given.email)
    return user_out(await service.register(auth, given))


@router.post(
    "/login",
    operation_id="login",
    responses=problems(401, 415, 422),
    openapi_extra={**request_body(schemas.LoginIn), **PUBLIC},
)
async def login(
    request: Request,
    auth: AuthDep,
    given: Annotated[schemas.LoginIn, body_of(schemas.LoginIn)],
) -> schemas.TokensOut:
    """Start a session."""
    async with password_try(request, given.email):
        return _tokens(await service.login(auth, email=given.email, password=given.password))


@router.post(
    "/refresh",
    operation_id="refresh",
    responses=problems(401, 415, 422),
    openapi_extra={**request_body(schemas.RefreshIn), **PUBLIC},
)
async def refresh(
    auth: AuthDep, given: Annotated[schemas.RefreshIn, body_of(schemas.RefreshIn)]
) -> schemas.TokensOut:
    """New tokens for a session; the refresh token that was sent is used up."""
    return _tokens(await service.refresh(auth, refresh_token=given.refresh_token))


@router.post("/logout", operation_id="logout", status_code=204, responses=problems(401, 403))
async def logout(session: SessionDep, actor: CurrentActor) -> Response:
    """End the session: its tokens stop working at once."""
    await service.logout(session, actor)
    return Response(status_code=204)


@router.get("/me", operation_id="me", responses=problems(401))
async def me(auth: AuthDep, actor: CurrentActor) -> schemas.UserOut:
    """The user who is calling."""
    user = None if actor.id is None else await repository.user(auth.database, actor.id)
    if user is None:
        raise Unauthorized
    return user_out(user)


@router.post(
    "/password",
    operation_id="changePassword",
    status_code=204,
    responses=problems(401, 403, 415, 422),
    openapi_extra=request_body(schemas.PasswordIn),
    dependencies=[Depends(own_session)],
)
async def change_password(
    request: Request,
    auth: AuthDep,
    actor: CurrentActor,
    given: Annotated[schemas.PasswordIn, body_of(schemas.PasswordIn)],
) -> Response:
    """Set a new password; the user's other sessions end."""
    # By session: whoever has stolen one keeps the owner from nothing in another. With a NUL, which
    # nobody can type as the e-mail address of a log-in.
    async with password_try(request, f"session\0{actor.session_id}"):
        await service.change_password(
            auth,
            actor,
            request.app.state.database,
            current=given.current_password,
            new=given.new_password,
        )
    return Response(status_code=204)


@router.post(
    "/api-keys",
    operation_id="createApiKey",
    status_code=201,
    responses=problems(401, 403, 409, 415, 422),
    openapi_extra=request_body(schemas.ApiKeyIn),
    dependencies=[Depends(own_session)],
)
async def create_api_key(
    auth: AuthDep,
    actor: CurrentActor,
    # Before the session: a body that comes slowly must not hold a connection meanwhile.
    given: Annotated[schemas.ApiKeyIn, body_of(schemas.ApiKeyIn)],
    session: SessionDep,
) -> schemas.NewApiKeyOut:
    """Make a key that acts as you within its scopes. It is shown this once."""
    assert actor.id is not None
    key, text = await api_keys.create(
        session,
        actor,
        auth.settings,
        user_id=actor.id,
        name=given.name,
        scopes=given.scopes,
        collections=given.collections,
        expires_at=given.expires_at,
        rate_limit=given.rate_limit,
    )
    return schemas.NewApiKeyOut(**api_key_out(key).model_dump(), key=text)


@router.get("/api-keys", operation_id="listApiKeys", responses=problems(401, 403))
async def list_api_keys(session: SessionDep, actor: CurrentActor) -> schemas.ApiKeysOut:
    """Your keys."""
    keys = await api_keys.list_own(session, actor)
    return schemas.ApiKeysOut(items=[api_key_out(key) for key in keys])


@router.delete(
    "/api-keys/{key_id}",
    operation_id="deleteApiKey",
    status_code=204,
    responses=problems(401, 403, 404),
)
async def delete_api_key(session: SessionDep, actor: CurrentActor, key_id: UUID) -> Response:
    """Delete a key: it stops working at once."""
    await api_keys.delete(session, actor, key_id=key_id)
    return Response(status_code=204)


def user_out(user: User) -> schemas.UserOut:
    return schemas.UserOut(
        id=user.id,
        email=user.email,
        name=user.name,
        roles=sorted(user.roles),
        disabled=user.disabled_at is not None,
        created_at=user.created_at,
        updated_at=user.updated_at,
    )


def api_key_out(key: ApiKey) -> schemas.ApiKeyOut:
    return schemas.ApiKeyOut(
        id=key.id,
        name=key.name,
        prefix=key.prefix,
        scopes=sorted(key.scopes),
        collections=None if key.collections is None else sorted(key.collections),
        created_at=key.created_at,
        expires_at=key.expires_at,
        last_used_at=key.last_used_at,
        rate_limit=key.rate_limit,
    )


def _tokens(grant: Grant) -> schemas.TokensOut:
    return schemas.TokensOut(
        access_token=grant.access_token,
        expires_in=grant.expires_in,
        refresh_token=grant.refresh_token,
    )
