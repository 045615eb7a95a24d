"""API keys over HTTP, for their owners."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Response

from app.auth import schemas
from app.auth.api_keys import service as api_keys
from app.auth.dependencies import AuthDep, CurrentActor, no_store, own_session
from app.db.dependencies import SessionDep
from app.http.body import body_of, request_body
from app.http.openapi import problems

router = APIRouter(prefix="/auth", tags=["auth"], dependencies=[Depends(no_store)])


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
    # Declared before the session, so that a slowly arriving body holds no connection.
    given: Annotated[schemas.ApiKeyIn, body_of(schemas.ApiKeyIn)],
    session: SessionDep,
) -> schemas.NewApiKeyOut:
    """Make a key that acts as you within its scopes. The key is shown this once."""
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
    return schemas.NewApiKeyOut(**schemas.ApiKeyOut.from_api_key(key).model_dump(), key=text)


@router.get("/api-keys", operation_id="listApiKeys", responses=problems(401, 403))
async def list_api_keys(session: SessionDep, actor: CurrentActor) -> schemas.ApiKeysOut:
    """Your keys."""
    keys = await api_keys.list_own(session, actor)
    return schemas.ApiKeysOut(items=[schemas.ApiKeyOut.from_api_key(key) for key in keys])


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
