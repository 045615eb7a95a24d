# PostgreSQL 17 from Debian's packages, with the stack's own entry point. Built from the project's
# root; the official image runs the same entry point from a mount.
ARG BASE=listo/debian:13
FROM ${BASE}

# User and group have the numbers of the official image, so that a volume can go from one to the
# other. JIT is off, and the files that it needs are left out: two thirds of the size.
RUN groupadd --system --gid 999 postgres \
    && useradd --system --uid 999 --gid 999 --home-dir /var/lib/postgresql \
        --shell /usr/sbin/nologin postgres \
    && apt-get update \
    && mkdir -p /etc/postgresql-common \
    && echo "create_main_cluster = false" >/etc/postgresql-common/createcluster.conf \
    && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends postgresql-17 \
    && rm -rf /var/lib/apt/lists/* /var/cache/apt/*.bin /var/cache/apt/archives/*.deb \
        /usr/lib/postgresql/17/lib/bitcode /usr/lib/postgresql/17/lib/llvmjit* \
        /usr/lib/*/libLLVM* /usr/lib/*/libz3.so* /usr/share/doc /usr/share/man \
    && install -d -o postgres -g postgres -m 0700 /var/lib/postgresql/data \
    && install -d -o postgres -g postgres -m 0755 /var/run/postgresql

COPY --chmod=755 infra/postgres /etc/listo/postgres

ENV PATH=/usr/lib/postgresql/17/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
    PGDATA=/var/lib/postgresql/data/pgdata
USER postgres
VOLUME ["/var/lib/postgresql/data"]
EXPOSE 5432
# SIGINT cuts off clients and rolls back transactions. SIGTERM would wait for the clients.
STOPSIGNAL SIGINT
HEALTHCHECK --interval=5s --timeout=3s --start-period=60s --retries=6 \
    CMD ["pg_isready", "--quiet", "--host=127.0.0.1", "--username=listo_monitor", "--dbname=listo"]
ENTRYPOINT ["/etc/listo/postgres/entrypoint.sh"]
