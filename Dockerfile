# meterd alone: one program, the roots of TLS, a user without rights, a directory for the store.
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
# Whether it makes progress, at admin.listen. Where that is "", run it with --no-healthcheck. Opening a
# store after a power cut may take long. Kubernetes has probes of its own and does not look here.
HEALTHCHECK --interval=30s --timeout=10s --start-period=5m --retries=3 CMD ["/usr/bin/meterd", "health"]
ENTRYPOINT ["/usr/bin/meterd"]
CMD ["run", "--config", "/etc/meterd/meterd.toml"]
