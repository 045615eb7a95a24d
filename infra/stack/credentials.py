"""The stack's secrets: made once, each a file that only the services which need it can see.

Only its owner can enter the folder, so nobody else on the host gets at the files. The files
themselves are readable by all users, since each service runs as a user of its own.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import secrets
import shutil
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from infra.alertmanager import render
from infra.stack.compose import (
    ROOT,
    STATE,
    CannotRun,
    dotenv,
    production,
    setting,
)

if TYPE_CHECKING:
    from collections.abc import Callable

SECRETS = Path(setting("SECRETS_DIR") or STATE / "secrets").expanduser()
BUILD = STATE / "build"
RUN = STATE / "run"
_READABLE_BY_ALL = 0o444
# This file exists until the first admin's password has been shown.
UNTOLD = STATE / "admin_password_untold"
PASSWORDS = ("postgres_owner", "postgres_app", "postgres_monitor", "postgres_backup")
OWN_DATABASE = "@postgres:5432/listo"
_LISTO_HASHES = re.compile(r"^user listo on ((?:#\w+ ?)+)", re.MULTILINE)
BUNDLES = ("/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt")


def exist() -> bool:
    """Whether the file of at least one password of PostgreSQL exists."""
    return any((SECRETS / f"{name}_password").is_file() for name in PASSWORDS)


def ensure_passwords() -> None:
    """Make missing passwords of PostgreSQL. Raises CannotRun, also if a file cannot be used."""
    if production() and SECRETS.resolve().is_relative_to(ROOT):
        raise CannotRun("SECRETS_DIR must be outside of this checkout in production")
    if not exist() and SECRETS.is_dir() and any(path.is_dir() for path in SECRETS.iterdir()):
        raise CannotRun(f"SECRETS_DIR={SECRETS} must hold secrets only, and has folders in it")
    STATE.parent.mkdir(mode=0o755, exist_ok=True)
    SECRETS.parent.mkdir(parents=True, exist_ok=True)
    for folder in (STATE, SECRETS, BUILD, RUN):
        folder.mkdir(mode=0o700, exist_ok=True)
        folder.chmod(0o700)
    # Fluent Bit makes its socket here, as a user of its own; the folder above keeps others out.
    RUN.chmod(0o777)
    for name in PASSWORDS:
        _once(f"{name}_password", new_password)


def ensure(app_role: str = "app") -> None:
    """Make missing secrets, and the files that follow from passwords and settings. The API logs in
    as `listo_` + `app_role`. Raises CannotRun, also if a file cannot be used."""
    ensure_passwords()
    log_in_as(app_role)
    _database("database_owner_url", "listo_owner", read("postgres_owner_password"))
    _once("jwt_secret", new_password)
    # Empty until somebody puts the former secret here.
    _once("jwt_secret_previous", str)
    _redis()
    _build_files()
    for name in ("grafana_admin_password", "grafana_secret_key"):
        _once(name, new_password)
    write("alertmanager", _alertmanager())
    if not (SECRETS / "admin_password").exists():
        UNTOLD.touch()
    _once("admin_password", lambda: setting("ADMIN_PASSWORD") or secrets.token_urlsafe(18))


def log_in_as(app_role: str) -> None:
    """Have API and worker log in to the database as `listo_` + `app_role`."""
    _database("database_url", f"listo_{app_role}", read("postgres_app_password"))


def elsewhere() -> bool:
    """Whether somebody has put another server's URL in the place of the stack's PostgreSQL."""
    return (SECRETS / "database_url").exists() and not read("database_url").endswith(OWN_DATABASE)


def _database(name: str, role: str, password: str) -> None:
    """Write the URL of the stack's PostgreSQL, unless somebody has put another server's there."""
    if not (SECRETS / name).exists() or read(name).endswith(OWN_DATABASE):
        write(name, f"postgresql://{role}:{quote(password, safe='')}{OWN_DATABASE}")


def _redis() -> None:
    for user in ("listo", "monitor"):
        _once(f"redis_{user}_password", new_password)
    listo, monitor = (read(f"redis_{user}_password") for user in ("listo", "monitor"))
    write("redis_url", f"redis://listo:{quote(listo, safe='')}@redis:6379/0")
    write("redis_exporter", json.dumps({"redis://monitor@redis:6379": monitor}))
    users = SECRETS / "redis_users"
    known = _LISTO_HASHES.search(users.read_text()) if users.exists() else None
    _write_redis_users([one for one in known[1].split() if one != _hashed(listo)] if known else [])


def forget_former() -> bool:
    """Let Redis accept only the present password; returns whether a former password was valid."""
    former = (SECRETS / "redis_users").read_bytes()
    _write_redis_users([])
    return former != (SECRETS / "redis_users").read_bytes()


def _write_redis_users(former: list[str]) -> None:
    """`former`: hashes of former passwords, for replicas that still use them."""
    listo, monitor = (_hashed(read(f"redis_{user}_password")) for user in ("listo", "monitor"))
    write(
        "redis_users",
        "user default off\n"
        f"user listo on {' '.join([listo, *former])} ~* &* +@all -@admin -@dangerous +info\n"
        f"user monitor on {monitor} ~* resetchannels -@all +ping +hello +info "
        "+config|get +client|list +client|setname +client|setinfo +slowlog|get +slowlog|len "
        "+latency|latest +latency|histogram +dbsize +select\n",
    )


def _hashed(password: str) -> str:
    return f"#{hashlib.sha256(password.encode()).hexdigest()}"


def _alertmanager() -> str:
    """Alertmanager's configuration, from the environment and `.env`. Raises CannotRun."""
    try:
        return json.dumps(render.configuration(dotenv() | dict(os.environ)), indent=2)
    except render.Refused as error:
        raise CannotRun(str(error)) from None


def _build_files() -> None:
    """Write the settings with which this machine, and so the builder, reaches the package index."""
    given = next(
        (path for name in ("PIP_CERT", "SSL_CERT_FILE") if (path := os.environ.get(name))), None
    )
    bundle = next((path for path in (given, *BUNDLES) if path and Path(path).is_file()), None)
    if bundle is None:
        _place(BUILD / "ca", b"")
    else:
        shutil.copyfile(bundle, BUILD / "ca")
    index = os.environ.get("PIP_INDEX_URL", "")
    _place(BUILD / "pip", f"[global]\nindex-url = {index}\n".encode() if index else b"")


def new_password() -> str:
    return secrets.token_hex(32)


def read(name: str) -> str:
    """A secret without the newline that many tools add. Raises CannotRun unless it is one line."""
    path = SECRETS / name
    _let_in(path)
    text = path.read_bytes().decode(errors="surrogateescape").removesuffix("\n")
    # jwt_secret_previous is empty if there is no former secret.
    if not text and name != "jwt_secret_previous":
        raise CannotRun(f"{path} is empty")
    if not text.isprintable() or text != text.strip():
        raise CannotRun(f"{path} is not one line of text without spaces around it")
    return text


def _once(name: str, make: Callable[[], str]) -> None:
    if (SECRETS / name).exists():
        read(name)
    else:
        write(name, make())


def write(name: str, text: str) -> None:
    _place(SECRETS / name, text.encode())


def _place(path: Path, content: bytes) -> None:
    """Write a file whole or not at all. A container sees the former content until its restart."""
    if path.exists() and path.read_bytes() == content:
        _let_in(path)
        return
    fresh = path.with_name(f".{path.name}.new")
    fresh.write_bytes(content)
    _let_in(fresh)
    fresh.replace(path)


def _let_in(path: Path) -> None:
    """Let all users read the file, as services need; the folder keeps others out."""
    if path.stat().st_mode & 0o777 != _READABLE_BY_ALL:
        path.chmod(_READABLE_BY_ALL)
