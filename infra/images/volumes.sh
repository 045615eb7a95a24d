#!/bin/sh
# Gives each volume to the user that writes to it: OWNER:PATH:MODE …
set -eu
for volume in "$@"; do
    owner=${volume%%:*}
    rest=${volume#*:}
    path=${rest%:*}
    chown "$owner:$owner" "$path"
    chmod "${rest##*:}" "$path"
done
