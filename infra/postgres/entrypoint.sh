#!/bin/sh
# PostgreSQL of the stack, in the official image and in ours: makes the cluster when there is none,
# brings roles and passwords up to date, and becomes the server, which gets the arguments.
#
# The roles are set while the server listens only on this script's own socket, so that a former
# password admits nobody and a health check over the network fails until the server is ready.
#
# PGDATA            the cluster, in a folder below a volume
# SECRETS           a folder with postgres_owner_password, …_app_…, …_monitor_… and …_backup_…
# SOCKETS           a folder on a tmpfs
# MAX_CONNECTIONS   by default as many as the memory allows
# MEMORY_MB         by default the container's limit
set -eu
umask 077

PATH="$PATH:/usr/lib/postgresql/17/bin"
PGDATA="${PGDATA:-/var/lib/postgresql/data/pgdata}"
SECRETS="${SECRETS:-/run/secrets}"
SOCKETS="${SOCKETS:-/var/run/postgresql}"
here=$(cd "$(dirname "$0")" && pwd)
export PATH PGDATA

fail() {
    echo "postgres: $*" >&2
    exit 1
}

# Fails, and shows the log of the server that runs while the roles are set.
failed() {
    cat "$private/server.log" >&2
    fail "$@"
}

# The memory of the container, in MB: the smallest of the limits of cgroup v2, v1, and the machine.
memory() {
    smallest=$(awk '/^MemTotal:/ {print int($2 / 1024)}' /proc/meminfo)
    for file in /sys/fs/cgroup/memory.max /sys/fs/cgroup/memory/memory.limit_in_bytes; do
        [ -r "$file" ] || continue
        # "max" is no number; without a limit v1 says 2^63, rounded.
        limit=$(awk '/^[0-9]+$/ {printf "%.0f", $1 / 1048576}' "$file")
        if [ -n "$limit" ] && [ "$limit" -lt "$smallest" ]; then smallest=$limit; fi
    done
    echo "$smallest"
}

between() { # LEAST VALUE MOST
    if [ "$2" -lt "$1" ]; then echo "$1"; elif [ "$2" -gt "$3" ]; then echo "$3"; else echo "$2"; fi
}

# The fixed settings, and then those that depend on memory.
render() {
    mb=${MEMORY_MB:-$(memory)}
    buffers=$(between 32 $((mb / 4)) 16384)
    connections=${MAX_CONNECTIONS:-$(between 100 $((mb / 4)) 500)}
    cat "$here/postgresql.conf"
    cat <<SETTINGS

# For $mb MB of memory.
shared_buffers = ${buffers}MB
effective_cache_size = $((mb * 6 / 10))MB
maintenance_work_mem = $(between 16 $((mb / 16)) 2048)MB
work_mem = $(between 4096 $(((mb - buffers) * 1024 / (connections * 3))) 65536)kB
max_connections = $connections
data_directory = '$PGDATA'
hba_file = '$here/pg_hba.conf'
ident_file = '$SOCKETS/pg_ident.conf'
unix_socket_directories = '$SOCKETS'
archive_command = 'sh "$here/archive.sh" "%p"'
SETTINGS
}

# The cluster is made in another folder, renamed at the end: half a cluster never looks whole.
make_cluster() {
    if [ -n "$(ls -A "$PGDATA" 2>/dev/null)" ]; then
        fail "$PGDATA is no cluster, and is not empty; nothing was changed"
    fi
    echo "postgres: making a cluster in $PGDATA" >&2
    rm -rf "$PGDATA.new"
    # PostgreSQL itself sorts text, by code point: no index depends on the image's C library.
    initdb --pgdata="$PGDATA.new" --username=postgres --data-checksums --encoding=UTF8 \
        --locale-provider=builtin --builtin-locale=C.UTF-8 --locale=C \
        --auth-local=peer --auth-host=scram-sha-256 --no-instructions >"$private/initdb.log" 2>&1 ||
        { cat "$private/initdb.log" >&2; fail "initdb failed"; }
    if [ -d "$PGDATA" ]; then rmdir "$PGDATA"; fi
    mv "$PGDATA.new" "$PGDATA"
    sync
}

# psql itself reads the passwords, so that they are in no argument list. The server loads no library
# that keeps statements.
set_roles() {
    for role in owner app monitor backup; do
        file="$SECRETS/postgres_${role}_password"
        [ -r "$file" ] || fail "$file is missing, or cannot be read by $(id -un) ($(id -u))"
        [ -s "$file" ] || fail "$file is empty"
    done
    # A killed server may have left this file. The lock, held by now, shows that the server is gone;
    # its process number may belong to another process.
    rm -f "$PGDATA/postmaster.pid"
    set -- "$@" -c "unix_socket_directories=$private" -c listen_addresses= -c port=5432 \
        -c shared_preload_libraries= -c log_statement=none -c log_min_duration_statement=-1 \
        -c log_min_error_statement=panic -c archive_mode=off -c log_checkpoints=off \
        -c autovacuum=off
    # The server is this shell's child, so that a signal which arrives meanwhile ends it too. Its
    # output is shown if it fails.
    postgres -c "config_file=$conf" "$@" >"$private/server.log" 2>&1 &
    server=$!
    # The signal is sent until the server is gone: a server that has just begun ignores it.
    trap 'while kill -INT "$server" 2>/dev/null; do sleep 0.1; done; exit 143' INT TERM
    # The file shows when the server is ready; an earlier connection would be logged as an error.
    until sed -n 8p "$PGDATA/postmaster.pid" 2>/dev/null | grep -q ready; do
        kill -0 "$server" 2>/dev/null || failed "the server ended while it started"
        sleep 0.05
    done
    SECRETS="$SECRETS" psql --quiet --no-psqlrc --output=/dev/null --host="$private" \
        --username=postgres --dbname=postgres --file="$here/roles.sql" ||
        { kill -INT "$server"; wait "$server" || true; failed "the roles could not be set"; }
    kill -INT "$server"
    wait "$server" || failed "the server ended badly after the roles were set"
    trap 'exit 143' INT TERM
}

# The kernel drops a signal to a container's first process, unless a trap handles it.
trap 'exit 143' INT TERM
[ "$(id -u)" != 0 ] || fail "must not run as root; start the container as the user postgres"
command -v initdb >/dev/null || fail "there is no PostgreSQL in PATH=$PATH"
mkdir -p "$SOCKETS" "$(dirname "$PGDATA")" 2>/dev/null || true
for folder in "$SOCKETS" "$(dirname "$PGDATA")"; do
    [ -w "$folder" ] || fail "$folder cannot be written by $(id -un) ($(id -u))"
done
# A cluster has one server. PostgreSQL checks that by process numbers, which mean nothing in another
# container; this lock is held until the last process of the server is gone.
exec 9>"$(dirname "$PGDATA")/.lock"
flock --timeout 60 9 || fail "another server works on $PGDATA"
private="$SOCKETS/start"
conf="$SOCKETS/postgresql.conf"
# The leftovers of a killed start would pass for those of a running server.
rm -rf "$private"
mkdir -p "$private"
render >"$conf"
# Only this script's user may connect as the superuser, by the socket.
echo "listo $(id -un) postgres" >"$SOCKETS/pg_ident.conf"

[ -e "$PGDATA/PG_VERSION" ] || make_cluster
found=$(cat "$PGDATA/PG_VERSION")
wanted=$(postgres --version | sed 's/[^0-9]*\([0-9]*\).*/\1/')
[ "$found" = "$wanted" ] ||
    fail "$PGDATA is of PostgreSQL $found, this is $wanted: dump it there and restore it here"
set_roles "$@"
rm -rf "$private"
exec postgres -c "config_file=$conf" "$@"
