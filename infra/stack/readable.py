"""Let the services' users read the files that services mount, whatever the umask of git was.

On many servers git makes files that only their owner can read, and services run as other users.
Nothing in the folder is secret: secrets are elsewhere.
"""

from __future__ import annotations

from infra.stack.compose import ROOT, CannotRun

MOUNTED = ROOT / "infra"


def ensure() -> None:
    """Let everybody read the files and enter the folders that the owner can. Raises CannotRun."""
    opened = 0
    for path in (MOUNTED, *MOUNTED.rglob("*")):
        if path.is_symlink():
            # The target may be elsewhere, and private.
            continue
        mode = path.stat().st_mode
        readable = mode | (mode & 0o500) >> 3 | (mode & 0o500) >> 6
        if readable != mode:
            try:
                path.chmod(readable)
            except PermissionError:
                raise CannotRun(
                    f"{path} cannot be read by the services' users, and is not yours to change; "
                    f"its owner can: chmod -R go+rX {MOUNTED}"
                ) from None
            opened += 1
    if opened:
        print(f"  {opened} files of infra/ are now readable for the services; the umask was strict")
