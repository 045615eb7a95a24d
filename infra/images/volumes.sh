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

# For the alert on replicas that are not there: a stopped one leaves nothing that could be counted.
cat >/textfile/stack.prom.new <<METRICS
# HELP listo_api_replicas_desired Replicas that were asked for.
# TYPE listo_api_replicas_desired gauge
listo_api_replicas_desired ${REPLICAS:-3}
METRICS
chmod 644 /textfile/stack.prom.new
mv /textfile/stack.prom.new /textfile/stack.prom
