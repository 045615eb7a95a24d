"""Users over HTTP, for admins."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Query

from app.auth import schemas, users
from app.auth.dependencies import AuthDep, CurrentActor, SessionDep, no_store
from app.auth.router import user_out
from app.core.body import body_of, request_body
from app.core.openapi import problems

router = APIRouter(prefix="/users", tags=["users"], dependencies=[Depends(no_store)])


async def admins_only(actor: CurrentActor) -> None:
    """A dependency of a route, so that others are refused before its body is read."""
    users.require_admin(actor)


@router.post(
    "",
    operation_id="createUser",
    status_code=201,
    responses=problems(401, 403, 409, 415, 422),
    openapi_extra=request_body(schemas.UserIn),
    dependencies=[Depends(admins_only)],
)
async def create_user(
    auth: AuthDep, actor: CurrentActor, given: Annotated[schemas.UserIn, body_of(schemas.UserIn)]
) -> schemas.UserOut:
    """Make a user with any roles; an API key makes no admins."""
    return user_out(await users.create(auth, actor, given))


@router.get("", operation_id="listUsers", responses=problems(401, 403))
async def list_users(
    session: SessionDep,
    actor: CurrentActor,
    limit: Annotated[int, Query(ge=1, le=500)] = 50,
    cursor: UUID | None = None,
) -> schemas.UsersOut:
    """All users, oldest first."""
    found = await users.list_users(session, actor, after=cursor, limit=limit + 1)
    return schemas.UsersOut(
        items=[user_out(user) for user in found[:limit]],
        next=str(found[limit - 1].id) if len(found) > limit else None,
    )


@router.get("/{user_id}", operation_id="getUser", responses=problems(401, 403, 404))
async def get_user(session: SessionDep, actor: CurrentActor, user_id: UUID) -> schemas.UserOut:
    return user_out(await users.get(session, actor, user_id=user_id))


@router.patch(
    "/{user_id}",
    operation_id="changeUser",
    responses=problems(401, 403, 404, 409, 415, 422),
    openapi_extra=request_body(schemas.UserPatch),
    dependencies=[Depends(admins_only)],
)
async def change_user(
    actor: CurrentActor,
    user_id: UUID,
    # Before the session: a body that comes slowly must not hold a connection meanwhile.
    given: Annotated[schemas.UserPatch, body_of(schemas.UserPatch)],
    session: SessionDep,
) -> schemas.UserOut:
    """Change name, roles, or whether the user may log in; effective at once.

    An API key neither changes nor makes admins.
    """
    return user_out(await users.change(session, actor, user_id=user_id, patch=given))
