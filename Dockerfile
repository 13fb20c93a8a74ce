# tokenledger as an image: one binary on a base with glibc and nothing else, no shell, no root.
#
#   docker build -t tokenledger .
#   docker run --network host --read-only -v tokenledger:/data tokenledger
#
# glibc on distroless rather than musl on scratch: it is the same target that the tests run on, so nothing is released
# that was not tested (musl has another allocator, and would be a second target to keep). Builder and base are both
# Debian 12, so that their glibc is the same. Tags are pinned; whoever needs the very same bytes pins their digests.

# The build needs a C compiler, which is in this image; protobuf is compiled by Rust.
FROM rust:1.95-bookworm AS build
WORKDIR /build
COPY . .
# The caches outlive a build, so that a second one compiles only what changed; the binary must be copied out of them.
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/build/target \
    cargo build --release --locked --bin tokenledger \
    && install -D target/release/tokenledger /image/tokenledger \
    && install -d -m 0700 /image/data

FROM gcr.io/distroless/cc-debian12:nonroot
LABEL org.opencontainers.image.title="tokenledger" \
      org.opencontainers.image.description="An event-sourced audit ledger for machine credentials" \
      org.opencontainers.image.licenses="Apache-2.0"
COPY --from=build /image/tokenledger /tokenledger
COPY LICENSE /LICENSE
# 65532 is the base's user `nonroot`. A new named volume takes over the owner and the mode of this directory.
COPY --from=build --chown=65532:65532 /image/data /data
USER 65532:65532
VOLUME /data
STOPSIGNAL SIGTERM
ENTRYPOINT ["/tokenledger"]
# Loopback, because without TLS the server refuses any other address. From outside the container it is reached over
# the host's network, as above and in docker-compose.yml.
CMD ["serve", "--data", "/data", "--listen", "127.0.0.1:7420"]
HEALTHCHECK --interval=10s --timeout=3s --start-period=60s --retries=3 \
    CMD ["/tokenledger", "health", "--server", "http://127.0.0.1:7420"]
