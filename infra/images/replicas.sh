#!/bin/sh
# The number of replicas that were asked for, where node-exporter finds it.
set -eu
cat >/textfile/replicas.prom.new <<METRICS
# HELP listo_api_replicas_desired Replicas that were asked for.
# TYPE listo_api_replicas_desired gauge
listo_api_replicas_desired $REPLICAS
METRICS
mv /textfile/replicas.prom.new /textfile/replicas.prom
