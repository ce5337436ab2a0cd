# The processes of a cluster: start, wait until ready, stop, kill, pause.
# shellcheck shell=bash

java_program() {
    if [ -n "${JAVA_HOME:-}" ]; then printf '%s' "$JAVA_HOME/bin/java"
    else printf 'java'
    fi
}

# Becomes a JVM with the jars and the logging of a cluster, in a process group
# of its own when detach is setsid.
java_of() { # DIR LEVEL CLASS ARGUMENTS...
    local libs level=$2 memory=(-Xms256m -Xmx512m) compiler
    load_env "$1"
    shift 2
    libs=$(kafka_fetch "$VERSION") || exit 1
    compiler=(-XX:+UseSerialGC -XX:TieredStopAtLevel=1)
    [ "$NODES" -lt 3 ] || memory=(-Xms128m -Xmx384m)
    if [ "$MODE" = bench ]; then
        memory=(-Xms1g -Xmx1g)
        compiler=(-XX:+UseG1GC)
    fi
    # What a suite under a sanitizer is started with is not for the JVM.
    # shellcheck disable=SC2086  # a command before it, or none
    exec ${detach:-} env -u LD_PRELOAD "$(java_program)" "${memory[@]}" "${compiler[@]}" -XX:-UsePerfData \
        "-Dcrema.level=$level" \
        "-Dlog4j2.configurationFile=$KAFKA_D/log4j2.properties" \
        "-Dlog4j.configuration=file:$KAFKA_D/log4j.properties" \
        -cp "$libs/*" "$@"
}

# A process is named by its number and its start time, as numbers come again.
identity() { # PID; empty when it is not alive
    local stat
    { read -r stat <"/proc/$1/stat"; } 2>/dev/null || return 0
    # After the parenthesised name: the state, and 19 fields on the start time.
    # shellcheck disable=SC2086
    set -- "$1" ${stat##*) }
    [ "$2" = Z ] || [ "$2" = X ] || printf '%s %s\n' "$1" "${21}"
}

pid_of() { # DIR NODE; fails when the node is not running
    local file=$1/node-$2/pid known
    { read -r known <"$file"; } 2>/dev/null || return 1
    [ "$(identity "${known% *}")" = "$known" ] || return 1
    printf '%s' "${known% *}"
}

# What one run of a benchmark has written shall be gone before the next: it would be
# written to the disk meanwhile, and where a hypervisor takes back free memory, pages
# that are asked for anew cost several times what those do that have just become free.
# The broker looks for it as often as the delay says: every millisecond would cost a twentieth
# of two cores.
overrides() { # MODE
    [ "$1" != bench ] ||
        printf -- '--override %s\n' log.segment.delete.delay.ms=100 log.initial.task.delay.ms=1
}

start_node() { # DIR NODE
    local dir=$1 node=$2 home=$1/node-$2
    ! pid_of "$dir" "$node" >/dev/null || die "node $node of $dir is running"
    [ ! -f "$home/log" ] || cat "$home/log" >>"$home/log.before"
    (
        # A session of its own: a Ctrl-C for the caller is not one for the broker.
        detach=setsid
        load_env "$dir"
        # shellcheck disable=SC2046  # words without spaces
        java_of "$dir" INFO kafka.Kafka "$home/server.properties" $(overrides "$MODE") \
            >"$home/log" 2>&1 </dev/null &
        identity $! >"$home/pid"
    )
}

# Ready is what a client says: the node answers, and it (or all) is listed.
wait_ready() { # DIR NODE...
    local dir=$1 node
    local deadline=$((SECONDS + ${KAFKA_START_TIMEOUT:-60}))
    shift
    load_env "$dir"
    for node; do
        until grep -qs 'Kafka Server started' "$dir/node-$node/log"; do
            check_start "$dir" "$node" $deadline
            sleep 0.1
        done
    done
    for node; do
        until listed "$node" $#; do
            check_start "$dir" "$node" $deadline
            sleep 0.1
        done
    done
}

listed() { # NODE HOW_MANY
    local node=$1 answer
    answer=$(kcat -b "127.0.0.1:$(port_of "$FIRST_PORT_OF_CLUSTER" "$node" PLAINTEXT)" \
        -L -m 2 2>/dev/null) &&
        grep -q "^  broker $node at " <<<"$answer" &&
        [ "$(grep -c '^  broker ' <<<"$answer")" -ge "$2" ]
}

check_start() { # DIR NODE DEADLINE
    local problem=
    pid_of "$1" "$2" >/dev/null || problem="ended while starting"
    [ -n "$problem" ] || [ "$SECONDS" -lt "$3" ] ||
        problem="was not ready after ${KAFKA_START_TIMEOUT:-60} s"
    [ -n "$problem" ] || return 0
    tail -n 40 "$1/node-$2/log" >&2
    die "node $2 $problem: above is the end of its log"
}

signal_nodes() { # SIGNAL DIR NODE...
    local signal=$1 dir=$2 node pid
    shift 2
    for node; do
        ! pid=$(pid_of "$dir" "$node") || kill "-$signal" "$pid" 2>/dev/null || true
    done
}

wait_gone() { # SECONDS DIR NODE...; fails when one is still there
    wait_while true "$@"
}

# Fails when the CHECK still holds of a running node after so long.
wait_while() { # CHECK SECONDS DIR NODE...; the CHECK is given a process
    local check=$1 deadline=$((SECONDS + $2)) dir=$3 node pid
    shift 3
    for node; do
        while pid=$(pid_of "$dir" "$node") && "$check" "$pid"; do
            [ "$SECONDS" -lt $deadline ] || return 1
            sleep 0.05
        done
    done
}

# A busy machine stops a process's threads one by one, and until then they go on.
pause_nodes() { # DIR NODE...
    signal_nodes STOP "$@"
    wait_while has_running_threads 10 "$@" || die "the nodes of $1 do not stop"
}

has_running_threads() { # PID
    grep -qs '^State:[[:space:]]*[^TZ[:space:]]' "/proc/$1"/task/*/status
}

kill_nodes() { # DIR NODE...
    signal_nodes KILL "$@"
    wait_gone 10 "$@" || die "the nodes of $1 outlive a SIGKILL"
}

# An orderly end within 20 s, or else a kill: a paused node, or one that has
# lost its quorum, would take minutes.
stop_nodes() { # DIR NODE...
    signal_nodes TERM "$@"
    signal_nodes CONT "$@"
    wait_gone 20 "$@" || kill_nodes "$@"
}

# Stops the cluster once a process has ended, however that came about, and
# removes a folder that was only for that process.
start_guard() { # DIR OWNER OWN
    ( (exec setsid "$BASH" "$0" guard "$@" >/dev/null 2>&1 </dev/null) & )
}

guard() { # DIR OWNER OWN
    tail --pid="$2" -f /dev/null
    end_cluster "$1" "$3"
}

# Nobody will look at the data again: no orderly stop.
end_cluster() { # DIR OWN
    if [ -s "$1/env" ]; then
        load_env "$1"
        # shellcheck disable=SC2046
        kill_nodes "$1" $(seq "$NODES")
    fi
    [ -z "$2" ] || rm -rf "$2"
}
