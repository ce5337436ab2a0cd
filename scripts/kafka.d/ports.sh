# Free ports of 127.0.0.1 for a cluster.
# shellcheck shell=bash

readonly PORTS_PER_CLUSTER=32 FIRST_PORT=12000

# A cluster owns an aligned block of ports below those that the system gives to
# outgoing connections. The block is its own while its folder has an env file,
# so a stopped cluster comes back on the same ports, and removing the folder is
# enough to give them back.
take_ports() { # DIR; prints the first port of the block
    local dir=$1 claims lock last block blocks first try port
    claims=${TMPDIR:-/tmp}/crema-ports-$(id -u)
    mkdir -p "$claims"
    exec {lock}>"$claims/lock"
    flock "$lock"
    read -r last _ </proc/sys/net/ipv4/ip_local_port_range
    [ "$last" -gt $((FIRST_PORT + 100 * PORTS_PER_CLUSTER)) ] || last=32768
    blocks=$(((last - FIRST_PORT) / PORTS_PER_CLUSTER))
    for ((try = 0; try < blocks; try++)); do
        block=$(((RANDOM + try) % blocks))
        first=$((FIRST_PORT + block * PORTS_PER_CLUSTER))
        ! claimed "$claims/$first" || continue
        for ((port = first; port < first + PORTS_PER_CLUSTER; port++)); do
            ! in_use "$port" || continue 2
        done
        printf '%s\n' "$dir" >"$claims/$first"
        exec {lock}>&-
        printf '%s\n' "$first"
        return
    done
    die "no block of $PORTS_PER_CLUSTER free ports was found"
}

claimed() { # CLAIM
    local owner
    [ -f "$1" ] && read -r owner <"$1" && [ -f "$owner/env" ]
}

in_use() { # PORT; in any state, of any address
    local hex
    printf -v hex '%04X' "$1"
    grep -q "^ *[0-9]*: [0-9A-F]*:$hex " /proc/net/tcp /proc/net/tcp6 2>/dev/null
}
