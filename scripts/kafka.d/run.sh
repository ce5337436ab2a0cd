# `scripts/kafka run`: a cluster that lives as long as a program.
# shellcheck shell=bash

run_program() { # with what parse_options has set
    local status=0
    if [ -z "$dir" ]; then
        own=$(mktemp -d "${TMPDIR:-/tmp}/crema-kafka-XXXXXX")
        dir=$own
    fi
    # shellcheck disable=SC2034  # read by start_cluster
    owner=$$ # should this shell itself be killed, the guard stops the brokers
    # shellcheck disable=SC2064  # now, as the names are local
    trap "end_run '$dir' '$own'" EXIT
    trap 'exit 129' HUP
    trap 'exit 130' INT
    trap 'exit 143' TERM
    start_cluster
    load_env "$dir"
    export_env "$dir"
    if [ -t 0 ]; then
        # It needs the terminal, whose Ctrl-C reaches it as well as this shell.
        "${rest[@]}" || status=$?
    else
        run_in_group || status=$?
    fi
    exit "$status"
}

# In a process group of its own, so that a signal for this shell, which a shell
# acts on only while it waits, takes all of the program with it.
run_in_group() {
    local program
    set -m
    "${rest[@]}" <&0 &
    program=$!
    set +m
    # shellcheck disable=SC2064
    trap "end_group $program 129" HUP
    # shellcheck disable=SC2064
    trap "end_group $program 130" INT
    # shellcheck disable=SC2064
    trap "end_group $program 143" TERM
    wait "$program"
}

end_group() { # GROUP STATUS
    local deadline=$((SECONDS + 10))
    trap '' HUP INT TERM
    kill -TERM -- "-$1" 2>/dev/null || true
    while kill -0 -- "-$1" 2>/dev/null; do
        [ "$SECONDS" -lt $deadline ] || kill -KILL -- "-$1" 2>/dev/null || true
        sleep 0.1
    done
    exit "$2"
}

end_run() { # DIR OWN
    trap '' HUP INT TERM
    end_cluster "$@"
}

export_env() { # DIR
    local name value
    while IFS='=' read -r name value; do
        export "KAFKA_$name=$value"
    done <"$1/env"
    export KAFKA_BOOTSTRAP=$PLAINTEXT CREMA_TEST_BOOTSTRAP=$PLAINTEXT
    # shellcheck source=/dev/null
    [ -z "$heroku" ] || . "$1/heroku.env"
}
