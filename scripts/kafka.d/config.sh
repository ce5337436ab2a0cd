# The folder of a cluster: its settings, certificates, formatted storage, and
# the env file that tells others where it is.
# shellcheck shell=bash

# In the order of their ports within a node's share of the block. PROXIED is listened
# on, and PROXY is what it is advertised as: nobody listens there, but who wants to.
readonly LISTENERS=(PLAINTEXT CONTROLLER TLS SASL OAUTH SASLTLS MTLS HEROKU PROXIED PROXY)

host_of() { # LISTENER; the certificate is for localhost, the rest avoids look-ups
    case $1 in
    TLS | SASLTLS | MTLS) printf 'localhost' ;;
    *) printf '127.0.0.1' ;;
    esac
}

port_of() { # FIRST NODE LISTENER
    local i
    for i in "${!LISTENERS[@]}"; do
        [ "${LISTENERS[i]}" != "$3" ] ||
            printf '%s' $(($1 + ($2 - 1) * ${#LISTENERS[@]} + i))
    done
}

bootstrap_of() { # FIRST NODES LISTENER
    local node all=
    for ((node = 1; node <= $2; node++)); do
        all+=${all:+,}$(host_of "$3"):$(port_of "$1" "$node" "$3")
    done
    printf '%s' "$all"
}

create_cluster() { # DIR VERSION NODES MODE
    local dir=$1 version=$2 nodes=$3 mode=$4 first node
    case $dir in
    *[!A-Za-z0-9._/@%+-]*) die "a folder with a name as plain as a path, please: $dir" ;;
    esac
    : >"$dir/env" # from now on a claim of ports for it holds
    first=$(take_ports "$dir") || exit 1
    make_certificates "$dir/tls"
    for ((node = 1; node <= nodes; node++)); do
        write_properties "$dir" "$first" "$nodes" "$node"
    done
    write_env "$dir" "$version" "$nodes" "$mode" "$first"
    write_heroku_env "$dir" "$(bootstrap_of "$first" "$nodes" HEROKU)"
    format_storage "$dir"
}

write_env() { # DIR VERSION NODES MODE FIRST
    local dir=$1 version=$2 nodes=$3 mode=$4 first=$5 listener
    {
        echo "DIR=$dir"
        echo "VERSION=$version"
        echo "NODES=$nodes"
        echo "MODE=$mode"
        echo "FIRST_PORT_OF_CLUSTER=$first"
        for listener in "${LISTENERS[@]}"; do
            [ "$listener" = CONTROLLER ] ||
                echo "$listener=$(bootstrap_of "$first" "$nodes" "$listener")"
        done
        echo "CA=$dir/tls/ca.pem"
        echo "CLIENT_CERT=$dir/tls/client.crt"
        echo "CLIENT_KEY=$dir/tls/client.key"
        echo "HEROKU_DIR=$dir/tls/heroku"
        echo "SASL_USERNAME=alice"
        echo "SASL_PASSWORD=alice-secret"
    } >"$dir/env.new"
    mv "$dir/env.new" "$dir/env"
}

# What Heroku sets for an application, to be sourced.
write_heroku_env() { # DIR ADDRESSES
    local tls=$1/tls/heroku
    {
        echo "export KAFKA_URL=kafka+ssl://${2//,/,kafka+ssl://}"
        echo "export KAFKA_PREFIX=wisteria-12345."
        echo "export KAFKA_TRUSTED_CERT='$(cat "$tls/ca.pem")'"
        echo "export KAFKA_CLIENT_CERT='$(cat "$tls/client.pem")'"
        echo "export KAFKA_CLIENT_CERT_KEY='$(cat "$tls/client.key")'"
        echo "export OTHER_TRUSTED_CERT='$(cat "$tls/other-ca.pem")'"
    } >"$1/heroku.env"
}

write_properties() { # DIR FIRST NODES NODE
    local dir=$1 first=$2 nodes=$3 node=$4 n listener address
    local voters='' listeners='' advertised='' replicas=$3 in_sync=1
    [ "$nodes" -lt 3 ] || in_sync=2
    for ((n = 1; n <= nodes; n++)); do
        voters+=${voters:+,}$n@127.0.0.1:$(port_of "$first" "$n" CONTROLLER)
    done
    for listener in "${LISTENERS[@]}"; do
        [ "$listener" != PROXY ] || continue
        address=$(port_of "$first" "$node" "$listener")
        listeners+=${listeners:+,}$listener://127.0.0.1:$address
        [ "$listener" != PROXIED ] || address=$(port_of "$first" "$node" PROXY)
        [ "$listener" = CONTROLLER ] ||
            advertised+=${advertised:+,}$listener://$(host_of "$listener"):$address
    done
    mkdir -p "$dir/node-$node"
    sed -e "s|@NODE@|$node|; s|@VOTERS@|$voters|; s|@LISTENERS@|$listeners|" \
        -e "s|@ADVERTISED@|$advertised|; s|@DATA@|$dir/node-$node/data|" \
        -e "s|@REPLICAS@|$replicas|; s|@IN_SYNC@|$in_sync|; s|@TLS@|$dir/tls|" \
        "$KAFKA_D/server.properties.in" >"$dir/node-$node/server.properties"
}

format_storage() { # DIR; all nodes at once
    local dir=$1 node id jobs=()
    # 16 random bytes in base64url are a cluster id, unless they look like an option.
    id=$(head -c 16 /dev/urandom | base64 | tr '+/' '-_' | tr -d '=')
    id=${id/#-/A}
    load_env "$dir"
    # shellcheck disable=SC2153  # from the env file
    for ((node = 1; node <= NODES; node++)); do
        java_of "$dir" WARN kafka.tools.StorageTool format --cluster-id "$id" \
            --config "$dir/node-$node/server.properties" \
            --add-scram 'SCRAM-SHA-256=[name=alice,password=alice-secret]' \
            --add-scram 'SCRAM-SHA-512=[name=alice,password=alice-secret]' \
            >"$dir/node-$node/format.log" 2>&1 </dev/null &
        jobs+=($!)
    done
    for node in "${!jobs[@]}"; do
        wait "${jobs[node]}" && continue
        cat "$dir/node-$((node + 1))/format.log" >&2
        die "the storage of node $((node + 1)) in $dir could not be formatted"
    done
}

# Sets VERSION, NODES, the bootstrap strings and so on from a cluster's folder.
load_env() { # DIR
    [ -n "$1" ] || die "a DIR is needed: see scripts/kafka help"
    [ -s "$1/env" ] || die "there is no cluster in $1"
    # shellcheck source=/dev/null
    . "$1/env"
}
