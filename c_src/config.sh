#!/bin/sh
# Asks `erl` and pkg-config what the driver is built with, and prints it as
# variables of make. What is missing is told in one sentence that names the
# package to install.
#
#   config.sh KEY      KEY is kept as CONFIG_WAS: see the Makefile
set -eu

key=$1
cc=${CC:-cc}
pkg_config=${PKG_CONFIG:-pkg-config}
erl=${ERL:-erl}
oldest_librdkafka=2.0.2

fail() {
    echo "crema: $*" >&2
    exit 1
}

# install DEBIAN ALPINE HOMEBREW: the command for the system at hand.
install() {
    if command -v apk >/dev/null 2>&1; then echo "apk add $2"
    elif command -v brew >/dev/null 2>&1; then echo "brew install $3"
    else echo "apt-get install $1"
    fi
}

need_command() { # COMMAND WHAT PACKAGES...
    name=$1 what=$2
    shift 2
    command -v "$name" >/dev/null 2>&1 ||
        fail "$what (the command $name) is missing: $(install "$@")"
}

need_library() { # MODULE WHAT PACKAGES...
    module=$1 what=$2
    shift 2
    "$pkg_config" --exists "$module" ||
        fail "$what and its headers are missing: $(install "$@")"
}

ask_erl() {
    # One line: where the emulator's headers and those of ei are.
    "$erl" -noshell -noinput -boot start_clean -eval '
        Ei = case code:lib_dir(erl_interface) of
                 {error, _} -> "none";
                 Dir -> Dir
             end,
        io:format("~ts/erts-~s ~ts~n",
                  [code:root_dir(), erlang:system_info(version), Ei]),
        halt().'
}

need_command "$cc" "a C compiler" gcc build-base gcc
need_command "$pkg_config" "pkg-config" pkg-config pkgconf pkgconf
need_command "$erl" "Erlang/OTP" "erlang-base erlang-dev" "erlang erlang-dev" erlang

answer=$(ask_erl) || fail "\`$erl\` does not run: see its message above"
erts=${answer%% *}
ei=${answer#* }
[ -f "$erts/include/erl_driver.h" ] ||
    fail "the header erl_driver.h of Erlang/OTP is missing: $(install erlang-dev erlang-dev erlang)"
[ -f "$ei/include/ei.h" ] ||
    fail "the C library ei of Erlang/OTP is missing: $(install erlang-dev erlang-dev erlang)"

need_library libcrypto OpenSSL libssl-dev openssl-dev openssl@3
need_library jansson "the JSON library jansson" libjansson-dev jansson-dev jansson

which=${CREMA_LIBRDKAFKA:-system}
if [ "$which" != system ]; then
    # shellcheck disable=SC2086  # words, or none
    prefix=$(../scripts/librdkafka ${which#bundled} ${CREMA_SANITIZER:-}) || exit 1
    PKG_CONFIG_PATH=$prefix/lib/pkgconfig${PKG_CONFIG_PATH:+:$PKG_CONFIG_PATH}
    export PKG_CONFIG_PATH
    rdkafka='rdkafka-static'
    bundled=' -DCR_BUNDLED=1'
else
    rdkafka=rdkafka
    need_library rdkafka librdkafka librdkafka-dev librdkafka-dev librdkafka
    "$pkg_config" --atleast-version=$oldest_librdkafka rdkafka ||
        fail "librdkafka $("$pkg_config" --modversion rdkafka) is too old, crema needs" \
             "$oldest_librdkafka or later: build with CREMA_LIBRDKAFKA=bundled," \
             "or get a newer one: $(install librdkafka-dev librdkafka-dev librdkafka)"
fi

# As headers of the system: warnings about them are for their own authors.
lib_cflags=$("$pkg_config" --cflags $rdkafka libssl libcrypto jansson | sed 's/-I */-isystem /g')

cat <<END
CONFIG_WAS := $key
CONFIG_INPUTS := $erts/include/erl_driver.h $ei/include/ei.h $("$pkg_config" --path $rdkafka)
LIB_CFLAGS := $lib_cflags${bundled:-}
EI_CFLAGS := -isystem $ei/include
ERTS_CFLAGS := -isystem $erts/include
LIBS := $("$pkg_config" --libs $rdkafka libssl libcrypto jansson) -L$ei/lib -lei
END
