"""The stack's secrets: made once, each a file that only the services which need it can see.

The folder is its owner's alone. The files in it can be read by whoever gets them mounted, since the
services run as users of their own; nobody on the host gets through the folder to them.
"""

from __future__ import annotations

import hashlib
import json
import os
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
_FOR_ALL = 0o444
# There while the first admin's password was made and nobody has been told of it.
UNTOLD = STATE / "admin_password_untold"
PASSWORDS = ("postgres_owner", "postgres_app", "postgres_monitor", "postgres_backup")
BUNDLES = ("/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt")


def exist() -> bool:
    """Whether the passwords of the databases were made here."""
    return all((SECRETS / f"{name}_password").is_file() for name in PASSWORDS)


def ensure() -> None:
    """Make what is missing, and what follows from settings. Raises CannotRun, also where a file is
    there that is of no use."""
    if production() and SECRETS.resolve().is_relative_to(ROOT):
        raise CannotRun("SECRETS_DIR must be outside of this checkout in production")
    STATE.parent.mkdir(mode=0o755, exist_ok=True)
    SECRETS.parent.mkdir(parents=True, exist_ok=True)
    for folder in (STATE, SECRETS, BUILD, RUN):
        folder.mkdir(mode=0o700, exist_ok=True)
        folder.chmod(0o700)
    # Fluent Bit makes its socket here, as a user of its own; nobody else gets as far as this.
    RUN.chmod(0o777)
    for name in PASSWORDS:
        _once(f"{name}_password", _password)
    app, owner = (_read(f"postgres_{role}_password") for role in ("app", "owner"))
    _database("database_url", "listo_app", app)
    _database("database_owner_url", "listo_owner", owner)
    _once("jwt_secret", _password)
    # None, until somebody puts the former one here.
    _once("jwt_secret_previous", str)
    _redis()
    _build_files()
    for name in ("grafana_admin_password", "grafana_secret_key"):
        _once(name, _password)
    _write("alertmanager", _alertmanager())
    if not (SECRETS / "admin_password").exists():
        UNTOLD.touch()
    _once("admin_password", lambda: setting("ADMIN_PASSWORD") or secrets.token_urlsafe(18))


def _database(name: str, role: str, password: str) -> None:
    """How to reach the stack's PostgreSQL, unless somebody has put another server's URL there."""
    own = "@postgres:5432/listo"
    if not (SECRETS / name).exists() or _read(name).endswith(own):
        _write(name, f"postgresql://{role}:{quote(password, safe='')}{own}")


def _redis() -> None:
    for user in ("listo", "monitor"):
        _once(f"redis_{user}_password", _password)
    listo, monitor = (_read(f"redis_{user}_password") for user in ("listo", "monitor"))
    hashed = [hashlib.sha256(password.encode()).hexdigest() for password in (listo, monitor)]
    _write("redis_url", f"redis://listo:{quote(listo, safe='')}@redis:6379/0")
    _write("redis_exporter", json.dumps({"redis://monitor@redis:6379": monitor}))
    _write(
        "redis_users",
        "user default off\n"
        f"user listo on #{hashed[0]} ~* &* +@all -@admin -@dangerous +info\n"
        f"user monitor on #{hashed[1]} ~* resetchannels -@all +ping +hello +info "
        "+config|get +client|list +client|setname +client|setinfo +slowlog|get +slowlog|len "
        "+latency|latest +latency|histogram +dbsize +select\n",
    )


def _alertmanager() -> str:
    """Where alerts go, by the environment and `.env`. Raises CannotRun."""
    try:
        return json.dumps(render.configuration(dotenv() | dict(os.environ)), indent=2)
    except render.Refused as error:
        raise CannotRun(str(error)) from None


def _build_files() -> None:
    """What the image's builder needs of this machine to reach the package index as we reach it."""
    named = next(
        (path for name in ("PIP_CERT", "SSL_CERT_FILE") if (path := os.environ.get(name))), None
    )
    bundle = next((path for path in (named, *BUNDLES) if path and Path(path).is_file()), None)
    if bundle is None:
        _place(BUILD / "ca", b"")
    else:
        shutil.copyfile(bundle, BUILD / "ca")
    index = os.environ.get("PIP_INDEX_URL", "")
    _place(BUILD / "pip", f"[global]\nindex-url = {index}\n".encode() if index else b"")


def _password() -> str:
    return secrets.token_hex(32)


def _read(name: str) -> str:
    """Without the line's end that many tools write. Raises CannotRun where it is not one line."""
    path = SECRETS / name
    _let_in(path)
    text = path.read_bytes().decode(errors="surrogateescape").removesuffix("\n")
    # The former secret is empty where there is none.
    if not text and name != "jwt_secret_previous":
        raise CannotRun(f"{path} is empty")
    if not text.isprintable() or text != text.strip():
        raise CannotRun(f"{path} is not one line of text without spaces around it")
    return text


def _once(name: str, make: Callable[[], str]) -> None:
    if (SECRETS / name).exists():
        _read(name)
    else:
        _write(name, make())


def _write(name: str, text: str) -> None:
    _place(SECRETS / name, text.encode())


def _place(path: Path, content: bytes) -> None:
    """Whole or not at all. A container that has the former one mounted keeps it until it starts
    again."""
    if path.exists() and path.read_bytes() == content:
        _let_in(path)
        return
    fresh = path.with_name(f".{path.name}.new")
    fresh.write_bytes(content)
    _let_in(fresh)
    fresh.replace(path)


def _let_in(path: Path) -> None:
    """Services run as users of their own. Nobody else gets through the folder."""
    if path.stat().st_mode & 0o777 != _FOR_ALL:
        path.chmod(_FOR_ALL)
