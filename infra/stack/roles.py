"""Changes the passwords of PostgreSQL's roles while it runs. When it starts, it takes the passwords
from the files by itself.

A role has only one password, and replicas with the former password continue to connect. So while
the password of `listo_app` changes, replicas are replaced twice: by replicas that log in as
`listo_app_next`, which acts as `listo_app`, and then by replicas that know the new password.
"""

from __future__ import annotations

from infra.stack import credentials
from infra.stack.compose import CannotRun, containers, docker, error_output

# Long enough for a busy machine.
_SECONDS = 180
APP, NEXT = "app", "app_next"
ROLES = ("owner", "app", "monitor", "backup")
# Logs in over the network, as services do. If the server is too busy, the password counts as right.
_FIND = """
for role in owner app monitor backup; do
    eval "export PGPASSWORD=\\$PASSWORD_$role"
    psql -qw -h 127.0.0.1 -U "listo_$role" -d listo -c '' 2>&1 </dev/null |
        grep -q 'password authentication failed' && echo "$role"
done
psql -qtA -U postgres -d postgres \\
    -c "SELECT 'app_next' FROM pg_roles WHERE rolname = 'listo_app_next'" | grep . || true
"""
# Neither logs nor statistics keep the statement.
_QUIETLY = """
\\set ON_ERROR_STOP 1
SET pg_stat_statements.track = 'none';
SET log_min_duration_statement = -1;
SET log_min_error_statement = 'panic';
\\getenv password PASSWORD
"""
_SET = "ALTER ROLE listo_{role} PASSWORD :'password';"
_ADMIT = """
SET client_min_messages = 'warning';
SELECT 'CREATE ROLE listo_app_next'
 WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'listo_app_next') \\gexec
GRANT listo_app TO listo_app_next;
ALTER ROLE listo_app_next LOGIN PASSWORD :'password';
ALTER ROLE listo_app_next SET role = 'listo_app';
ALTER ROLE listo_app_next SET statement_timeout = '30s';
ALTER ROLE listo_app_next SET idle_in_transaction_session_timeout = '60s';
"""
_DISMISS = "DROP ROLE IF EXISTS listo_app_next;"


def pending() -> set[str]:
    """The roles whose password in PostgreSQL differs from that in the file, and `app_next` if it
    exists. Empty if the stack's PostgreSQL does not run. Raises CannotRun."""
    name = _postgres()
    if name is None or not credentials.exist():
        return set()
    passwords = {f"PASSWORD_{role}": _password(role) for role in ROLES}
    result = docker(
        "exec", *(word for one in passwords for word in ("--env", one)), name, "sh", "-c", _FIND,
        env=passwords, timeout=_SECONDS,
    )  # fmt: skip
    if result.returncode:
        raise CannotRun(f"PostgreSQL's roles could not be looked at: {error_output(result)}")
    return set(result.stdout.split())


def set_password(role: str) -> None:
    """Have PostgreSQL take the password in the role's file from now on. Raises CannotRun."""
    _run(_SET.format(role=role), role)
    print(f"  \N{CHECK MARK} PostgreSQL's role listo_{role} has its new password", flush=True)


def admit_next() -> None:
    """Let `listo_app_next` in with the new password of `listo_app`. Raises CannotRun."""
    _run(_ADMIT, APP)


def dismiss_next() -> None:
    _run(_DISMISS, APP)


def _run(statements: str, role: str) -> None:
    name = _postgres()
    if name is None:
        raise CannotRun("PostgreSQL does not run")
    result = docker(
        "exec", "--interactive", "--env", "PASSWORD", name, "psql", "--quiet", "--no-psqlrc",
        "--username=postgres", "--dbname=postgres",
        stdin=_QUIETLY + statements, env={"PASSWORD": _password(role)}, timeout=_SECONDS,
    )  # fmt: skip
    if result.returncode:
        raise CannotRun(
            f"PostgreSQL's role listo_{role} could not be changed: {error_output(result)}"
        )


def _password(role: str) -> str:
    return credentials.read(f"postgres_{role}_password")


def _postgres() -> str | None:
    found = (one for one in containers() if one["Service"] == "postgres")
    return next((one["Name"] for one in found if one["State"] == "running"), None)
