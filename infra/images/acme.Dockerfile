# lego from Debian's packages, and the loop around it. Built from the project's root.
ARG BASE=listo/debian:13

FROM ${BASE}
RUN apt-get update -qq \
    && apt-get install -y -qq --no-install-recommends ca-certificates lego=4.9.* openssl >/dev/null \
    && rm -rf /var/lib/apt/lists/* /var/cache/apt /var/log/* \
    # An empty named volume takes the owner of the folder that it is mounted over.
    && install -d -o 10001 -g 10001 -m 0755 /certificates /challenge \
    && install -d -o 10001 -g 10001 -m 0700 /state
COPY --chmod=0755 infra/acme/entrypoint.sh /usr/local/bin/acme
USER 10001:10001
STOPSIGNAL SIGTERM
ENTRYPOINT ["acme"]
CMD ["run"]
