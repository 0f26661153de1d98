# An image with a bridge of a release, or one that is already built. It needs no other
# image. Put the program, a file of root certificates and two empty directories into
# a directory:
#
#     mkdir -p image/dirs/data && mkdir -m 1777 image/dirs/tmp
#     cp bridge /etc/ssl/certs/ca-certificates.crt image
#     docker build -f deploy/container/prebuilt.Dockerfile -t bpcc-bridge image

FROM scratch
LABEL org.opencontainers.image.title="bpcc-bridge" \
      org.opencontainers.image.description="Bright Pattern contact centre to NATS JetStream" \
      org.opencontainers.image.licenses="Apache-2.0"
COPY ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY bridge /bridge
COPY --chown=65532:65532 dirs/ /
# Probes come from outside the container. Publish the port to this machine alone: the
# page shows personal data.
ENV BRIDGE_HTTP=0.0.0.0:8080 BRIDGE_STORE_DIR=/data BRIDGE_LOG_FORMAT=json
EXPOSE 8080
USER 65532:65532
VOLUME /data
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s CMD ["/bridge", "health"]
ENTRYPOINT ["/bridge"]
