# The jars of a broker: fetched once by maven, verified, kept in the cache.
# shellcheck shell=bash

kafka_versions() {
    local pom
    for pom in "$KAFKA_D"/pom-*.xml; do
        pom=${pom##*/pom-}
        printf '%s\n' "${pom%.xml}"
    done
}

kafka_check_version() { # VERSION
    [ -f "$KAFKA_D/pom-$1.xml" ] ||
        die "there is no Kafka $1 here, only $(kafka_versions | paste -sd ' ')"
}

# Prints the folder of the jars of a version, after fetching them if needed.
kafka_fetch() { # VERSION
    local version=$1 cache libs lock
    cache=$(crema_cache) || exit 1
    libs=$cache/kafka-$version
    if ! [ -d "$libs" ]; then
        need_command flock mvn sha256sum
        exec {lock}>"$cache/kafka.lock"
        flock "$lock" # another process may be fetching the same
        [ -d "$libs" ] || kafka_download "$version" "$cache" "$libs"
        exec {lock}>&-
    fi
    printf '%s\n' "$libs"
}

kafka_download() { # VERSION CACHE LIBS
    local version=$1 cache=$2 libs=$3 new=$3.new log=$2/kafka-$1.log try
    note "fetching Kafka $version, once, into $libs"
    for try in 1 2 3; do
        rm -rf "$new"
        # An own local repository: the user's may be elsewhere or read-only.
        if mvn --quiet --batch-mode --strict-checksums \
               --file "$KAFKA_D/pom-$version.xml" \
               "-Dmaven.repo.local=$cache/maven" \
               dependency:copy-dependencies \
               "-DoutputDirectory=$new" -DincludeScope=runtime \
               >"$log" 2>&1 </dev/null; then
            verify_checksums "$KAFKA_D/jars-$version.sha256" "$new" ||
                die "the jars of Kafka $version in $new are not those expected"
            mv "$new" "$libs" || die "$libs cannot be written"
            return
        fi
        note "fetching Kafka $version failed (try $try of 3)"
    done
    tail -n 30 "$log" >&2
    die "maven could not fetch Kafka $version; its output is in $log"
}
