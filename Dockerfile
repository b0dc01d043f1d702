# Two stages: the first compiles the host and the example plugins, the second contains only the results.
#
#   docker build -t ingest-host .
#   docker run -e REDIS_URL=redis://redis:6379 -e QUEUE_NAME=bigdatastudy ingest-host
#
# Other base images work too: the first needs Rust, a C compiler and CA certificates, the second a glibc at least as new as
# that of the first.
ARG BUILD_IMAGE=docker.io/library/rust:1.95-slim-bookworm
ARG RUNTIME_IMAGE=docker.io/library/debian:bookworm-slim

FROM ${BUILD_IMAGE} AS build
WORKDIR /src
# Fetches only missing parts: a base image that has the target needs no network here.
RUN test -d "$(rustc --print sysroot)/lib/rustlib/wasm32-wasip2" || rustup target add wasm32-wasip2
COPY . .
RUN cargo build --locked --release -p ingest-host \
    && cargo build --locked --release -p clean -p alarms --target wasm32-wasip2 \
    && strip target/release/ingest-host
# The folders of the second stage, made here because it may have no shell. With `docker run --user`, a user other than
# 10001 creates a cache in /data/.cache.
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
# Output goes to /data/out: mount a volume there. Compiled plugins are kept in /data/.cache, if it is writable.
COPY --from=build --chown=10001:10001 /root-of-image/data /data
USER 10001:10001
ENV HOME=/data
WORKDIR /data
ENTRYPOINT ["ingest-host"]
# A worker for the queue QUEUE_NAME on the server REDIS_URL.
CMD ["run"]
