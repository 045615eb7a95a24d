"""Settings that end a session in PostgreSQL, whatever becomes of the process."""

from __future__ import annotations

# A process that was killed, or stopped waiting, can no longer cancel its statements. PostgreSQL
# checks for the connection's end even while it works or waits, and treats a silent host as gone.
ENDS = {
    "client_connection_check_interval": "1s",
    "tcp_keepalives_idle": "15",
    "tcp_keepalives_interval": "5",
    "tcp_keepalives_count": "3",
    "tcp_user_timeout": "30s",
}
