# meterd alone: one static binary, the roots of TLS, a user without rights, a directory for the store.
#
# The context is made by packaging/image, which also builds it with buildah where that is there:
#
#   packaging/image --context-only && docker build --tag meterd target/image
FROM scratch

COPY --chown=0:0 root/ /
# The store: a volume, or a restart of the container loses what waits.
COPY --chown=65532:65532 state/ /var/lib/meterd/

USER 65532:65532
VOLUME ["/var/lib/meterd"]

# SIGTERM drains for agent.shutdown_grace, 20s unless changed: give it `docker stop --time 30`.
STOPSIGNAL SIGTERM
ENTRYPOINT ["/usr/bin/meterd"]
CMD ["run", "--config", "/etc/meterd/meterd.toml"]
