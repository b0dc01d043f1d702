# The build has two stages. The first stage compiles the host and the example plugins, and the second contains only the
# results.
#
#   docker build -t ingest-host .
#   docker run -e REDIS_URL=redis://redis:6379 -e QUEUE_NAME=bigdatastudy ingest-host
#
# Other base images work, too. The first needs Rust, a C compiler and CA certificates. The second needs a glibc that is
# at least as new as the glibc of the first image.
ARG BUILD_IMAGE=docker.io/library/rust:1.95-slim-bookworm
ARG RUNTIME_IMAGE=docker.io/library/debian:bookworm-slim

FROM ${BUILD_IMAGE} AS build
WORKDIR /src
# Only a missing target is fetched. If the base image has it, this step needs no network.
RUN test -d "$(rustc --print sysroot)/lib/rustlib/wasm32-wasip2" || rustup target add wasm32-wasip2
COPY . .
RUN cargo build --locked --release -p ingest-host \
    && cargo build --locked --release -p clean -p alarms --target wasm32-wasip2 \
    && strip target/release/ingest-host
# Creates the folders of the second stage here, because its image can be without a shell. Every user may write to
# /data/.cache, because `docker run --user` can name another user than 10001.
RUN mkdir -p /root-of-image/data/out /root-of-image/data/.cache /root-of-image/plugins \
    && chmod 1777 /root-of-image/data/.cache \
    && cp target/wasm32-wasip2/release/clean.wasm target/wasm32-wasip2/release/alarms.wasm /root-of-image/plugins

FROM ${RUNTIME_IMAGE}
LABEL org.opencontainers.image.title="ingest-host" \
    org.opencontainers.image.description="A runtime that streams files through sandboxed WebAssembly plugins" \
    org.opencontainers.image.licenses="Apache-2.0"
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY --from=build /src/target/release/ingest-host /usr/local/bin/ingest-host
COPY --from=build /root-of-image/plugins /plugins
# Outputs are written to /data/out: mount a volume there. Compiled plugins are kept in /data/.cache if that folder is
# writable.
COPY --from=build --chown=10001:10001 /root-of-image/data /data
USER 10001:10001
ENV HOME=/data
WORKDIR /data
ENTRYPOINT ["ingest-host"]
# By default, the container is a worker for the queue QUEUE_NAME on the server REDIS_URL.
CMD ["run"]
