"""Registering, logging in and out, over HTTP."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Request, Response

from app.auth import schemas
from app.auth.dependencies import AuthDep, CurrentActor, no_store, own_session
from app.auth.passwords.attempts import password_try
from app.auth.sessions import service
from app.auth.sessions.service import TokenPair
from app.auth.users import repository as users
from app.core.errors import Unauthorized
from app.db.dependencies import SessionDep
from app.http.body import body_of, request_body
from app.http.openapi import PUBLIC, problems
from app.ratelimit.logins import throttle_login
from app.route_policy import RoutePolicy
from app.services import services_of

router = APIRouter(prefix="/auth", tags=["auth"], dependencies=[Depends(no_store)])


@router.post(
    "/register",
    operation_id="register",
    status_code=201,
    responses=problems(403, 409, 415, 422),
    openapi_extra={**request_body(schemas.RegisterIn), **PUBLIC},
)
@RoutePolicy(login=True)
async def register(
    request: Request,
    auth: AuthDep,
    given: Annotated[schemas.RegisterIn, body_of(schemas.RegisterIn)],
) -> schemas.UserOut:
    """Make an account, where registration is open."""
    await throttle_login(request, given.email)
    return schemas.UserOut.from_user(await service.register(auth, given))


@router.post(
    "/login",
    operation_id="login",
    responses=problems(401, 415, 422),
    openapi_extra={**request_body(schemas.LoginIn), **PUBLIC},
)
# A token pair is never kept, so an idempotency key has no effect.
@RoutePolicy(login=True, keyed=False)
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
@RoutePolicy(keyed=False)
async def refresh(
    auth: AuthDep, given: Annotated[schemas.RefreshIn, body_of(schemas.RefreshIn)]
) -> schemas.TokensOut:
    """New tokens for a session; the refresh token that was sent is used up."""
    return _tokens(await service.refresh(auth, refresh_token=given.refresh_token))


@router.post("/logout", operation_id="logout", status_code=204, responses=problems(401, 403))
# Logout and a new password lock a thief out, so a thief must not use up the owner's limit.
@RoutePolicy(per_session=True)
async def logout(session: SessionDep, actor: CurrentActor) -> Response:
    """End the session: its tokens stop working at once."""
    await service.logout(session, actor)
    return Response(status_code=204)


@router.get("/me", operation_id="me", responses=problems(401))
async def me(auth: AuthDep, actor: CurrentActor) -> schemas.UserOut:
    """The user who is calling."""
    user = None if actor.id is None else await users.user(auth.database, actor.id)
    if user is None:
        raise Unauthorized
    return schemas.UserOut.from_user(user)


@router.post(
    "/password",
    operation_id="changePassword",
    status_code=204,
    responses=problems(401, 403, 415, 422),
    openapi_extra=request_body(schemas.PasswordIn),
    dependencies=[Depends(own_session)],
)
@RoutePolicy(per_session=True)
async def change_password(
    request: Request,
    auth: AuthDep,
    actor: CurrentActor,
    given: Annotated[schemas.PasswordIn, body_of(schemas.PasswordIn)],
) -> Response:
    """Set a new password; the user's other sessions end."""
    # Counted per session, so that a thief of one session does not delay the owner in another. The
    # NUL keeps these names apart from e-mail addresses.
    async with password_try(request, f"session\0{actor.session_id}"):
        await service.change_password(
            auth,
            actor,
            services_of(request.scope).database,
            current=given.current_password,
            new=given.new_password,
        )
    return Response(status_code=204)


def _tokens(pair: TokenPair) -> schemas.TokensOut:
    return schemas.TokensOut(
        access_token=pair.access_token,
        expires_in=pair.expires_in,
        refresh_token=pair.refresh_token,
    )
