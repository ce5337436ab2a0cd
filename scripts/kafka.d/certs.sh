# A certificate authority for one cluster, a certificate for its brokers and
# one for a client that authenticates by it. And the same as Heroku has it: an
# authority of its own, brokers whose certificates are not for the hosts that
# clients know, and clients with a chain.
# shellcheck shell=bash

make_certificates() { # FOLDER
    local tls=$1 heroku
    mkdir -p "$tls/heroku"
    cat >"$tls/openssl.cnf" <<'END'
[req]
distinguished_name = none
[none]
[ca]
basicConstraints = critical, CA:true
keyUsage = critical, keyCertSign, cRLSign
subjectKeyIdentifier = hash
[broker]
subjectAltName = DNS:localhost, IP:127.0.0.1
extendedKeyUsage = serverAuth, clientAuth
[elsewhere]
subjectAltName = DNS:ec2-1-2-3-4.compute.invalid
extendedKeyUsage = serverAuth, clientAuth
[client]
extendedKeyUsage = clientAuth
END
    {
        # Beside the others.
        (make_heroku "$tls/openssl.cnf" "$tls/heroku") &
        heroku=$!
        authority "$tls/openssl.cnf" "$tls/ca" "crema test CA" &&
            sign "$tls/openssl.cnf" "$tls/ca" broker "$tls/broker" localhost &&
            sign "$tls/openssl.cnf" "$tls/ca" client "$tls/client" alice &&
            # Kafka wants the key and its chain in one file.
            cat "$tls/broker.key" "$tls/broker.crt" "$tls/ca.pem" >"$tls/broker.pem" &&
            wait "$heroku"
    } >"$tls/log" 2>&1 || {
        cat "$tls/log" >&2
        die "openssl could not make the certificates in $tls"
    }
}

make_heroku() { # CONFIG FOLDER
    local config=$1 heroku=$2
    authority "$config" "$heroku/ca" "crema test Heroku CA" &&
        sign "$config" "$heroku/ca" elsewhere "$heroku/broker" ec2-1-2-3-4.compute.invalid &&
        sign "$config" "$heroku/ca" ca "$heroku/between" "crema test Heroku clients" &&
        mv "$heroku/between.crt" "$heroku/between.pem" &&
        sign "$config" "$heroku/between" client "$heroku/client" wisteria &&
        authority "$config" "$heroku/other-ca" "crema test other CA" &&
        cat "$heroku/client.crt" "$heroku/between.pem" >"$heroku/client.pem" &&
        cat "$heroku/broker.key" "$heroku/broker.crt" "$heroku/ca.pem" >"$heroku/broker.pem"
}

new_key() { # FILE; PKCS#8
    openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out "$1"
}

authority() { # CONFIG NAME SUBJECT; NAME.key and NAME.pem
    new_key "$2.key" &&
        openssl req -x509 -new -config "$1" -extensions ca -key "$2.key" \
            -subj "/CN=$3" -days 3650 -out "$2.pem"
}

sign() { # CONFIG AUTHORITY SECTION NAME SUBJECT; NAME.key and NAME.crt
    local config=$1 authority=$2 section=$3 name=$4 subject=$5
    new_key "$name.key" &&
        openssl req -new -config "$config" -key "$name.key" \
            -subj "/CN=$subject" -out "$name.csr" &&
        openssl x509 -req -in "$name.csr" -CA "$authority.pem" \
            -CAkey "$authority.key" -CAcreateserial -days 3650 \
            -extfile "$config" -extensions "$section" -out "$name.crt"
}
