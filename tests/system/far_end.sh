# The far end of the tests in this directory, and the application that writes events: to be sourced.
#
# Both live in a network namespace of the test's own, so that the ports are free, nobody else is
# reached, and the books of the simulator outlive the agent and the machine that it runs on.

network=meterd-test-$$
api=http://127.0.0.1:8780
simulator_id=

fail() {
    echo "FAILED: $*" >&2
    exit 1
}

# skip REASON...: loudly; what was not tried was not shown.
skip() {
    echo "SKIPPED: $0: $*" >&2
    exit 0
}

# needs PROGRAM...: these, root, and namespaces, which not every container may make.
needs() {
    local program
    [ "$(id -u)" = 0 ] || skip "needs root"
    for program in unshare ip curl jq "$@"; do
        command -v "$program" >/dev/null || skip "there is no $program"
    done
    unshare --mount --net true 2>/dev/null || skip "no namespaces can be made here"
}

# part WHAT...: what is tried from here on, and the seconds that have gone.
part() { printf -- '-- %4d s  %s\n' "$SECONDS" "$*"; }

# wait_for COMMAND...: looks until the command succeeds; fails after two minutes.
wait_for() {
    local end=$((SECONDS + 120))
    until "$@"; do
        [ "$SECONDS" -lt "$end" ] || return 1
        sleep 0.1
    done
}

# until_true WHAT COMMAND...: the same; the end of the test when it fails.
until_true() {
    local what=$1
    shift
    wait_for "$@" || fail "waited two minutes for $what"
}

in_network() { ip netns exec "$network" "$@"; }

# start_far_end METERD ARGUMENTS...: the simulator, with more arguments of its own.
start_far_end() {
    local meterd=$1
    shift
    ip netns add "$network"
    in_network ip link set lo up
    # No function: what is killed has to be the simulator, not a shell around it.
    ip netns exec "$network" "$meterd" simulate "$@" >/dev/null &
    simulator_id=$!
    until_true "the simulator" stats_are_there
}

stop_far_end() {
    if [ -n "$simulator_id" ]; then
        kill "$simulator_id" || true
        wait "$simulator_id" || true
    fi
    ip netns delete "$network" 2>/dev/null || true
}

stats() { in_network curl --silent --fail "$api/simulator/stats"; }

stats_are_there() { stats >/dev/null; }

# stat_is FILTER: whether the filter of jq is true for what the simulator saw.
stat_is() { stats | jq --exit-status "$1" >/dev/null; }

# play FAULT...: in place of those in force.
play() {
    jq --null-input '$ARGS.positional' --args -- "$@" |
        in_network curl --silent --fail --json @- "$api/simulator/faults" >/dev/null
}

# events FROM TO: usage events, a line each, with an id each.
events() {
    seq --format '{"CustomerId":"C-1","UsageIdentifier":"api-call","UsageDate":"2026-11-21T06:00:00+0000","Quantity":1,"EventId":"event-%08.0f"}' "$1" "$2"
}

# check_all_there COUNT RECEIPTS: exactly the events 1 to COUNT are at the far end. No more of them are
# there twice than are in the batches of the file RECEIPTS, those whose outcome was unknown.
check_all_there() {
    local count=$1 receipts=$2 there differing
    there=$(in_network curl --silent --fail "$api/simulator/events/g1")
    differing=$(comm -3 <(events 1 "$count" | jq --raw-output .EventId) \
        <(jq --raw-output 'keys[]' <<<"$there" | LC_ALL=C sort))
    [ -z "$differing" ] || fail "lost, or never written: $(head -n 3 <<<"$differing")"
    stat_is '.repeats_altered == 0 and .without_id == 0' || fail "a repeat was another batch"
    jq --slurpfile unknown "$receipts" --exit-status --raw-output '
        (map(select(. > 1)) | length) as $twice | ($unknown[0] | map(.events) | add // 0) as $doubt
        | "\(length) events, \($twice) of them twice, \($doubt) on record as possibly twice",
          ($twice <= $doubt)' <<<"$there" | sed '/^true$/d' || fail "doubled without a record"
}
