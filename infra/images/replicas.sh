#!/bin/sh
# The number of replicas that were asked for and when, where node-exporter finds it. Each deployment
# runs this, and alerts allow for what a deployment starts anew.
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
