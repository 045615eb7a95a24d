#!/bin/sh
# Writes the desired number of replicas and the time where node-exporter finds them. Each deployment
# runs this, and alerts allow for the services that a deployment starts anew.
set -eu
cat >/textfile/replicas.prom.new <<METRICS
# HELP listo_api_replicas_desired Replicas that were asked for.
# TYPE listo_api_replicas_desired gauge
listo_api_replicas_desired $REPLICAS
# HELP listo_deployment_timestamp_seconds When \`make up\` last brought the stack up to date.
# TYPE listo_deployment_timestamp_seconds gauge
listo_deployment_timestamp_seconds $(date +%s)
METRICS
mv /textfile/replicas.prom.new /textfile/replicas.prom
