#!/bin/sh
# PostgreSQL's archive_command: hands a WAL file to pgBackRest as soon as that is configured.
#
# Until then there is no backup and no archive: the file is let go, and the server recycles it. That
# is what archive_mode = off would do, but turning that on needs a restart, and this needs none.
# Where pgBackRest is configured and fails, so does this: the server keeps the file and tries again,
# and pg_stat_archiver counts.
set -eu

[ -r "${PGBACKREST_CONFIG:-/etc/pgbackrest/pgbackrest.conf}" ] || exit 0
exec pgbackrest --stanza="${PGBACKREST_STANZA:-listo}" archive-push "$1"
