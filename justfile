# What is done often. `just` without a recipe lists them.

_default:
    @just --list

# What the gate runs, without the parts that only a bare machine needs
check: lint deny test

# The tests; arguments go to cargo test
test *arguments:
    cargo test --locked {{ arguments }}

# Format, lints and documentation
lint:
    cargo fmt --check
    cargo clippy --all-targets --locked -- -D warnings
    RUSTDOCFLAGS="-D warnings -A rustdoc::private-intra-doc-links" cargo doc --no-deps --document-private-items --locked --quiet

# Licences, bans and sources of the dependencies, and advisories where their database is at hand
deny:
    tests/system/dependencies

# The Debian package on a booted systemd, and the image; as root
system:
    tests/system/run
    tests/system/image

# Every case of the reliability suites, then the table of docs/guarantees.md; as root, an hour
reliability *tests:
    METERD_IT_FULL=1 cargo test --release --locked --test reliability {{ tests }} -- --nocapture
    cargo test --release --locked --test reliability -- --ignored table::

# The fuzz targets, or one, for some seconds each
fuzz target="all" seconds="60":
    fuzz/run {{ target }} {{ seconds }}

# Whether the suites find twelve bugs that are put in one by one; as root, half an hour. METERD_IT_BUGS=01,07: these
seeded-bugs:
    METERD_IT_FULL=1 cargo test --locked --test reliability -- --ignored --nocapture seeded_bugs::

# Whether the dependencies are in order, and two builds elsewhere are the same bytes; a quarter of an hour
reproducible:
    METERD_IT_FULL=1 cargo test --locked --test reliability -- --ignored --nocapture release::

# The benches; `just bench end_to_end` for one
bench *names:
    cargo bench --locked {{ if names == "" { "" } else { "--bench " + names } }}

# What grows with backlog, receipts, hours, files and meters: a table, and docs/images/growth.svg; half an hour
growth:
    METERD_BENCH_PICTURE="$PWD/docs/images/growth.svg" cargo bench --locked --bench growth

# The whole thing at work, with no configuration
demo *arguments:
    cargo run --release --locked -- demo {{ arguments }}

# The gate itself, as it runs elsewhere
ci:
    bash .ci/run

# The pictures of the page, in docs/images; takes five minutes, and needs chromium and chromium-driver
images:
    cargo test --locked --test it -- --ignored images::
