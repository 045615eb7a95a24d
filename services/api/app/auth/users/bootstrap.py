"""The first admin."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from app.auth.errors import EmailTaken
from app.auth.users import repository
from app.core.actor import ADMIN_ROLE
from app.core.ids import uuid7

if TYPE_CHECKING:
    from app.auth.sessions.service import Auth

logger = logging.getLogger("listo.auth")


async def ensure_first_admin(auth: Auth) -> None:
    """Make the user of ADMIN_EMAIL and ADMIN_PASSWORD, unless a user has that address.

    A user who exists is left alone: a restart must not undo a changed password.
    """
    settings = auth.settings
    email = settings.admin_email
    if email is None or settings.admin_password is None:
        return
    if await repository.user_by_email(auth.database, email) is not None:
        return
    hashed = await auth.passwords.hash(settings.admin_password.get_secret_value())
    try:
        await repository.insert_user(
            auth.database, uuid7(), email, hashed, {ADMIN_ROLE, "member"}, profile={}
        )
    except EmailTaken:
        # Another process was faster.
        return
    logger.info("made the first admin, %s", email)
