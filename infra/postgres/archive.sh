#!/bin/sh
# PostgreSQL's archive_command: hands a WAL file to pgBackRest once that is configured.
#
# Until then this succeeds without an archive, and the server recycles the file, as it would with
# archive_mode = off. But turning archive_mode on takes a restart; configuring pgBackRest does not.
# If pgBackRest fails, this fails too: the server keeps the file and tries again, and
# pg_stat_archiver counts the failure.
set -eu

[ -r "${PGBACKREST_CONFIG:-/etc/pgbackrest/pgbackrest.conf}" ] || exit 0
exec pgbackrest --stanza="${PGBACKREST_STANZA:-listo}" archive-push "$1"
