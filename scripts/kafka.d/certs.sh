# A certificate authority for one cluster, a certificate for its brokers and
# one for a client that authenticates by it.
# shellcheck shell=bash

make_certificates() { # FOLDER
    local tls=$1
    mkdir -p "$tls"
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
[client]
extendedKeyUsage = clientAuth
END
    {
        new_key "$tls/ca.key" &&
            openssl req -x509 -new -config "$tls/openssl.cnf" -extensions ca \
                -key "$tls/ca.key" -subj "/CN=crema test CA" -days 3650 \
                -out "$tls/ca.pem" &&
            sign "$tls" broker localhost &&
            sign "$tls" client alice &&
            # Kafka wants the key and its chain in one file.
            cat "$tls/broker.key" "$tls/broker.crt" "$tls/ca.pem" >"$tls/broker.pem"
    } >"$tls/log" 2>&1 || {
        cat "$tls/log" >&2
        die "openssl could not make the certificates in $tls"
    }
}

new_key() { # FILE; PKCS#8
    openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out "$1"
}

sign() { # FOLDER NAME SUBJECT
    local tls=$1 name=$2 subject=$3
    new_key "$tls/$name.key" &&
        openssl req -new -config "$tls/openssl.cnf" -key "$tls/$name.key" \
            -subj "/CN=$subject" -out "$tls/$name.csr" &&
        openssl x509 -req -in "$tls/$name.csr" -CA "$tls/ca.pem" \
            -CAkey "$tls/ca.key" -CAcreateserial -days 3650 \
            -extfile "$tls/openssl.cnf" -extensions "$name" -out "$tls/$name.crt"
}
