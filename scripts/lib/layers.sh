# The layers of the tests, a function each. scripts/test runs this with the name
# of one, at the root of the tree; what it prints last about tests is its digest.
# shellcheck shell=bash

# shellcheck source=common.sh
. scripts/lib/common.sh

under=() # what starts the programs of a layer: see layer_asan

layer_check() { scripts/check; }

layer_c() { native_tests test; }

layer_tsan() { native_tests "$1"; } # tsan, or tsan-core: of those that need no client

# Beside each other and beside other layers, which go first.
layer_fuzz() { nice scripts/fuzz together 30; }

native_tests() { # GOAL
    local log
    log=$(make --no-print-directory -C c_src "$1" | tee /dev/stderr)
    awk '/^  TEST/ { n += $3; p++ }
        END { print n + 0, "tests in", p + 0, "programs, all silent" }' <<<"$log"
}

layer_eunit() {
    rebar3 as test compile
    "${under[@]}" rebar3 eunit
}

layer_prop() {
    rebar3 as test compile
    "${under[@]}" scripts/props _build/test/lib/crema/ebin _build/test/lib/crema/test
}

# The suites that need a broker are named *_kafka_SUITE.
suites() { # embedded|kafka|outage; as rebar3 wants them: a,b,c
    local suite kind all=
    for suite in test/*_SUITE.erl; do
        case $suite in
        *_outage_kafka_SUITE.erl) kind=outage ;;
        *_kafka_SUITE.erl) kind=kafka ;;
        *'*'*) kind=none ;;
        *) kind=embedded ;;
        esac
        [ "$kind" != "$1" ] || all+=${all:+,}${suite%.erl}
    done
    [ -n "$all" ] || die "there are no suites: $1"
    printf '%s' "$all"
}

layer_ct() {
    local names
    names=$(suites embedded)
    names=$(longest_first "$names")
    rebar3 as test compile
    in_parts part_of "${PARTS[@]}"
}

# Runs beside each other, as a suite mostly waits; the longest suites are spread over
# them.
readonly PARTS=(0 1 2 3 4)
readonly LONGEST=(restart transaction_faults accounting lifecycle queue exit exactly_once faults
    sasl reports rebalance trouble upgrade offsets nodes reload)

# Each compiles into a folder of its own: rebar3 moves its files into place, and two
# of them in one folder take away each other's.
in_parts() { # FUNCTION PART...
    local run=$1 part status=0 passed=() failed=()
    local -A running
    shift
    for part in "$@"; do
        "$run" "$part" >"_build/part-$part.log" 2>&1 &
        running[$part]=$!
    done
    for part in "$@"; do
        if wait "${running[$part]}"; then
            passed+=("_build/part-$part.log")
        else
            status=1
            failed+=("_build/part-$part.log")
        fi
    done
    # What failed comes last, where one looks.
    cat "${passed[@]}" "${failed[@]}"
    awk '/^All [0-9]+ tests passed/ { n += $2 } /Passed [0-9]+ tests\.  *$/ { n += $(NF - 1) }
        END { print n + 0, "tests in all parts" }' \
        "${passed[@]}" "${failed[@]}"
    return "$status"
}

longest_first() { # SUITES: a,b,c; words
    local suite all=",$1,"
    for suite in "${LONGEST[@]}"; do
        suite=test/crema_${suite}_SUITE
        [[ $all == *",$suite,"* ]] || die "there is no suite $suite: see LONGEST"
        all=${all/,$suite,/,}
        printf '%s ' "$suite"
    done
    printf '%s' "${all//,/ }"
}

part_of() { # PART; of $names
    local part=$1 list='' number=0 parts=${#PARTS[@]} suite at
    for suite in $names; do
        # There and back: who has the longest of a round has the shortest of the next.
        at=$((number % parts))
        [ $((number++ / parts % 2)) -eq 0 ] || at=$((parts - 1 - at))
        [ "$at" -ne "$part" ] || list+=${list:+,}$suite
    done
    REBAR_BASE_DIR=_build/part-$part "${under[@]}" rebar3 ct --suite "$list"
}

layer_kafka() { # kafka-VERSION, or kafka-bundled: the newest broker and librdkafka
    local version=${1#kafka-}
    if [ "$version" = bundled ]; then
        version=4.1.2
        export CREMA_LIBRDKAFKA=bundled
        trap restore_system EXIT
    fi
    # Mix compiles for all versions once; what runs beside it has the same folder.
    MIX_ENV=test flock _build mix compile
    in_parts on_broker "$version"-{kafka,outage}
}

on_broker() { # VERSION-KIND: a broker for itself, as outages are not for others
    local version=${1%-*} kind=${1##*-} names
    names=$(suites "$kind")
    # shellcheck disable=SC2016  # for the inner shell
    REBAR_BASE_DIR=_build/part-$1 \
        scripts/kafka run --version "$version" -- "${under[@]}" bash -euc '
            [ "$1" = outage ] || mix test --no-compile --only kafka test/elixir/crema/*_kafka_test.exs
            rebar3 ct --suite "$2"
        ' bash "$kind" "$names"
}

# All that shows the rows of docs/consumer.md, on real brokers.
layer_rows() { # rows-VERSION, or rows-VERSION-bundled: with the newest librdkafka
    local version=${1#rows-}
    if [[ $version == *-bundled ]]; then
        version=${version%-bundled}
        export CREMA_LIBRDKAFKA=bundled
        trap restore_system EXIT
    fi
    rebar3 as test compile
    scripts/kafka run --version "$version" -- scripts/rows _build/test/lib/crema/ebin \
        _build/test/lib/crema/test "_build/$1"
}

# The C tests and the embedded suites with the newest librdkafka, linked in.
layer_bundled() {
    local native
    export CREMA_LIBRDKAFKA=bundled
    # A thousand times are for the layer ct.
    export CREMA_RESTARTS=100
    trap restore_system EXIT
    rebar3 as test compile
    native_tests test &
    native=$!
    layer_ct
    wait "$native"
}

restore_system() { # priv/ has the driver that was built last
    CREMA_LIBRDKAFKA=system make --no-print-directory -C c_src
}

layer_elixir() {
    rebar3 compile
    ! MIX_ENV=test mix compile | grep '^  CC' || die "Mix builds anew what rebar3 has built"
    "${under[@]}" mix test
}

# As a stranger would use crema: copied elsewhere, built, released, moved; and from
# the README's text alone.
layer_examples() {
    local example count=2 pids=()
    scripts/first-steps Erlang &
    pids+=($!)
    scripts/first-steps Elixir &
    pids+=($!)
    # One after another, as they build crema here, and not in a copy of their own.
    for example in examples/*/run_test; do
        "$example"
        count=$((count + 1))
    done
    wait "${pids[0]}"
    wait "${pids[1]}"
    echo "$count examples: all $count tests passed"
}

# The Elixir sample with nothing but what Heroku sets.
layer_heroku() {
    env -C examples/elixir_app MIX_ENV=test mix compile
    scripts/kafka run --heroku -- "${under[@]}" env -C examples/elixir_app mix test --include heroku
}

# What another layer runs, with the driver under the sanitizers: asan-LAYER.
layer_asan() {
    local layer=${1#asan-}
    under=(scripts/asan)
    # A thousand times are for the layer ct.
    export CREMA_RESTARTS=100
    make --no-print-directory -C c_src VARIANT=asan
    "layer_${layer%%-*}" "$layer"
}

# Brokers, connections and applications that fail, as this seed has them.
layer_chaos() {
    REBAR_BASE_DIR=_build/chaos scripts/chaos 1 180
    echo "1 passed: what a seed of chaos does is borne"
}

layer_demo() {
    rebar3 compile
    examples/demo/run
    echo "1 passed: the demo's counts are right"
}

layer_xref() {
    rebar3 as check xref
    count_modules "cross reference analysis"
}

layer_dialyzer() {
    rebar3 as check dialyzer
    count_modules dialyzer
}

count_modules() { # WHAT
    echo "$1: $(find _build/check/lib/crema/ebin -name '*.beam' | wc -l) modules passed"
}

"layer_${1%%-*}" "$1"
