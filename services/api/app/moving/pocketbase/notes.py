"""Parts of a PocketBase that a take-over leaves out."""

from __future__ import annotations

from typing import TYPE_CHECKING

from app.moving.pocketbase.people import may_log_in
from app.moving.pocketbase.source import SUPERUSERS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from app.moving.pocketbase.names import Naming
    from app.moving.pocketbase.people import People
    from app.moving.pocketbase.source import Source, SourceCollection

_LINKS = "_externalAuths"


def notes_of(source: Source, naming: Naming, people: People) -> list[str]:
    """Sentences about everything that has no place here."""
    return [
        *(
            f"The view {each.name} is left out."
            for each in source.collections
            if each.type == "view"
        ),
        *_accounts(people),
        *(note for each in naming.taken if each.is_auth for note in _options(each)),
        *_links(source),
    ]


def _accounts(people: People) -> Iterator[str]:
    if people.superusers_left_out:
        yield (
            f"{people.superusers_left_out:,} superusers are left out; with --superusers they "
            "become admins."
        )
    if people.without_email:
        yield f"{people.without_email:,} users without an e-mail address are no users here."
    if people.clashing:
        more = ", …" if people.clashing > len(people.clashes) else ""
        yield (
            f"{people.clashing:,} users have the address of another one, so they are none here: "
            f"{', '.join(people.clashes)}{more}."
        )
    if people.unverified:
        yield (
            f"{people.unverified:,} users never verified their address. Listo keeps no such mark; "
            "the records of their collection have it."
        )
    if people.disabled:
        yield f"{people.disabled:,} users may not log in by a password, so they are disabled."


def _options(collection: SourceCollection) -> Iterator[str]:
    name, options = collection.name, collection.options
    rule = options.get("authRule")
    if rule and rule.strip() and may_log_in(collection) == (False, False):
        yield f"{name}: the authRule has no counterpart ({rule}), so all its users are disabled."
    if options.get("manageRule"):
        yield f"{name}: the manageRule has no counterpart; only admins manage users."
    if options.get("oauth2", {}).get("enabled"):
        providers = [str(each.get("name")) for each in options["oauth2"].get("providers", ())]
        yield f"{name}: OAuth2 is left out ({', '.join(providers) or 'no providers'})."
    for option, word in (("otp", "one-time passwords"), ("mfa", "a second factor")):
        if options.get(option, {}).get("enabled"):
            yield f"{name}: log-in by {word} is left out."
    identities = options.get("passwordAuth", {}).get("identityFields", ["email"])
    if identities != ["email"]:
        yield f"{name}: users log in by their e-mail address, not by {', '.join(identities)}."
    if collection.rules["create"] != "":
        yield (
            f"{name}: not everybody could register. REGISTRATION=closed keeps it so; who registers "
            "here has no role of the collection, but is a user."
        )


def _links(source: Source) -> Iterator[str]:
    known = {each.name for each in source.collections}
    if _LINKS in known and (count := source.count(_LINKS)):
        yield f"{count:,} links to accounts of OAuth2 providers are left out."
    if SUPERUSERS not in known:
        yield "There is no collection of superusers."
