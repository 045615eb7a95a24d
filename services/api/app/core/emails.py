"""E-mail addresses in the form in which they are stored and looked up."""

from __future__ import annotations

from email_validator import EmailNotValidError, validate_email


def normal(text: str) -> str:
    """The stored form: Unicode normalised, in lower case. Raises ValueError if not an address."""
    try:
        return validate_email(text, check_deliverability=False).normalized.lower()
    except EmailNotValidError as error:
        raise ValueError(str(error)) from None


def lookup_form(text: str) -> str:
    """The form to look `text` up by. Text that is no address finds no user."""
    try:
        return normal(text.strip())
    except ValueError:
        return text.strip().lower()
