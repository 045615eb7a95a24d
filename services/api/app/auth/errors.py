"""Problems with credentials, users and API keys."""

from __future__ import annotations

from app.core.errors import Conflict, Forbidden, NotFound, TooManyRequests, Unauthorized


class InvalidToken(Unauthorized):
    """The credential is not valid, or not any more."""

    code = "invalid_token"

    def __init__(self, detail: str | None = None) -> None:
        # RFC 6750, section 3.1
        super().__init__(detail, challenge='Bearer error="invalid_token"')


class InvalidCredentials(Unauthorized):
    """The e-mail address or the password is wrong."""

    code = "invalid_credentials"


class TooManyGuesses(TooManyRequests):
    """Too many wrong passwords; wait for the time in Retry-After."""

    code, type, title = "too_many_guesses", "", "Too many requests"


class RegistrationClosed(Forbidden):
    """Registration is closed here; ask an admin for an account."""

    code = "registration_closed"


class SessionRequired(Forbidden):
    """This takes a user's own session, not an API key."""

    code = "session_required"


class ScopeNotHeld(Forbidden):
    """A key can only be given what its maker may do."""

    code = "scope_not_held"


class RateLimitNotHeld(Forbidden):
    """Only an admin may give a key a limit above the usual one."""

    code = "rate_limit_not_held"


class TooManyApiKeys(Conflict):
    """The user has as many API keys as there may be; delete one first."""

    code = "too_many_api_keys"


class EmailTaken(Conflict):
    """There already is a user with this e-mail address."""

    code = "email_taken"


class LastAdmin(Conflict):
    """This is the last admin who can log in; make another one first."""

    code = "last_admin"


class FirstAdmin(Conflict):
    """This is the user of ADMIN_EMAIL, who would be made again at the next start; change that
    setting first."""

    code = "first_admin"


class PasswordAlreadySet(Conflict):
    """The user has a password; only the user, or `listo admin reset-password`, changes it."""

    code = "password_already_set"


class RemovalNotFound(NotFound):
    """There is no removal of records, running or finished, for a user of that id."""

    code = "removal_not_found"


class UserNotFound(NotFound):
    """There is no such user."""

    code = "user_not_found"


class ApiKeyNotFound(NotFound):
    """There is no such API key of yours."""

    code = "api_key_not_found"
