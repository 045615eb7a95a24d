"""Users over HTTP, for admins."""

from __future__ import annotations

from typing import Annotated, Literal
from uuid import UUID

from fastapi import APIRouter, Depends, Query, Response
from fastapi.responses import JSONResponse

from app.auth import schemas
from app.auth.dependencies import AuthDep, CurrentActor, no_store
from app.auth.models import Removal
from app.auth.users import removals
from app.auth.users import service as users
from app.db.dependencies import SessionDep
from app.http.body import body_of, request_body
from app.http.openapi import problems

router = APIRouter(prefix="/users", tags=["users"], dependencies=[Depends(no_store)])


async def admins_only(actor: CurrentActor) -> None:
    """A route's dependency: callers other than admins are refused before the body is read."""
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
    """Make a user with any roles.

    A user that an API key makes is no admin, has no password and is disabled, until an admin gives
    the user a password (`PATCH`) in a session.
    """
    return schemas.UserOut.from_user(await users.create(auth, actor, given))


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
        items=[schemas.UserOut.from_user(user) for user in found[:limit]],
        next=str(found[limit - 1].id) if len(found) > limit else None,
    )


@router.get("/{user_id}", operation_id="getUser", responses=problems(401, 403, 404))
async def get_user(session: SessionDep, actor: CurrentActor, user_id: UUID) -> schemas.UserOut:
    return schemas.UserOut.from_user(await users.get(session, actor, user_id=user_id))


@router.patch(
    "/{user_id}",
    operation_id="changeUser",
    responses=problems(401, 403, 404, 409, 415, 422),
    openapi_extra=request_body(schemas.UserPatch),
    dependencies=[Depends(admins_only)],
)
async def change_user(
    auth: AuthDep,
    actor: CurrentActor,
    user_id: UUID,
    given: Annotated[schemas.UserPatch, body_of(schemas.UserPatch)],
) -> schemas.UserOut:
    """Change name, roles, or whether the user may log in; effective at once.

    Disabling ends sessions and API keys for good. An API key gives nobody a role or a password,
    enables nobody, and does not change admins.
    """
    return schemas.UserOut.from_user(await users.change(auth, actor, user_id=user_id, patch=given))


@router.delete(
    "/{user_id}",
    operation_id="deleteUser",
    status_code=204,
    response_model=None,
    responses={
        202: {"model": schemas.RemovalOut, "description": "The records are being deleted."},
        **problems(401, 403, 404, 409),
    },
)
async def delete_user(
    auth: AuthDep,
    actor: CurrentActor,
    user_id: UUID,
    records: Annotated[
        Literal["keep", "delete"], Query(description="What becomes of the user's records.")
    ],
) -> Response:
    """Delete a user; sessions and API keys end at once."""
    removal = await users.delete(auth, actor, user_id=user_id, with_records=records == "delete")
    if removal is None:
        return Response(status_code=204)
    return JSONResponse(
        _removal_out(removal).model_dump(mode="json"),
        202,
        {"Location": f"/users/{user_id}/removal"},
    )


@router.get("/{user_id}/removal", operation_id="getRemoval", responses=problems(401, 403, 404))
async def get_removal(
    session: SessionDep, actor: CurrentActor, user_id: UUID
) -> schemas.RemovalOut:
    """How far the records of a deleted user are deleted."""
    users.require_admin(actor)
    return _removal_out(await removals.get(session, user_id))


def _removal_out(removal: Removal) -> schemas.RemovalOut:
    return schemas.RemovalOut(
        user=removal.user_id,
        requested_at=removal.requested_at,
        deleted=removal.deleted,
        finished_at=removal.finished_at,
    )
