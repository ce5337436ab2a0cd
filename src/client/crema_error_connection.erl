%% @private Errors of connections, of logging in, and of what a diagnosis says of them.
-module(crema_error_connection).

-export([rows/0]).

-spec rows() -> crema_error_table:rows().
rows() ->
    #{
        transport =>
            {yes,
                <<"A connection could not be made, or has broken.">>,
                <<"Check that the broker runs, that bootstrap_servers names its host and "
                    "port, and that security.protocol is what that port speaks.">>},
        all_brokers_down =>
            {yes,
                <<"Every connection there was is down.">>,
                <<"No broker can be reached: check bootstrap_servers, the network and that "
                    "the brokers run. crema goes on trying.">>},
        resolve =>
            {yes,
                <<"A host name cannot be resolved.">>,
                <<"A host name cannot be resolved: check bootstrap_servers, DNS, and the "
                    "names the brokers advertise (advertised.listeners).">>},
        ssl =>
            {no,
                <<"TLS could not be set up, or a certificate was refused.">>,
                <<"TLS failed: check ssl.ca.location or ssl.ca.pem, that the certificate is "
                    "valid for the host name, and that the port speaks TLS.">>},
        unknown_host =>
            {no,
                <<"There is no such host name. (A diagnosis.)">>,
                <<"Correct the name in bootstrap_servers, or have it known here (DNS, "
                    "/etc/hosts).">>},
        name_servers_silent =>
            {yes,
                <<"No name server answers. (A diagnosis.)">>,
                <<"Check /etc/resolv.conf, and that the name servers can be reached.">>},
        connection_refused =>
            {yes,
                <<"The host refuses the connection. (A diagnosis.)">>,
                <<"The host is there, and nothing listens on that port: start the broker, or "
                    "correct the port.">>},
        firewalled =>
            {yes,
                <<"Nothing answers when a connection is made. (A diagnosis.)">>,
                <<"Something on the way swallows it: let a firewall, security group or "
                    "network policy pass the port, or check that the host is up.">>},
        unreachable =>
            {yes,
                <<"No way leads to the address. (A diagnosis.)">>,
                <<"Check routes and the address: a VPN, a private network or IPv6 may be "
                    "missing here.">>},
        no_answer =>
            {yes,
                <<"A connection is made, and nothing comes over it. (A diagnosis.)">>,
                <<"The broker is stopped, hangs or is overloaded, or the port is of something"
                    " else.">>},
        no_kafka =>
            {no,
                <<"What answers is no Kafka. (A diagnosis.)">>,
                <<"Check host and port: it is of another service, or the broker ended the "
                    "connection; its log tells why.">>},
        tls_expected =>
            {no,
                <<"The port speaks TLS, and the client does not. (A diagnosis.)">>,
                <<"Set security.protocol to ssl, or to sasl_ssl.">>},
        tls_not_spoken =>
            {no,
                <<"The client speaks TLS, and the port does not. (A diagnosis.)">>,
                <<"Set security.protocol to plaintext or sasl_plaintext, or use the port of a"
                    " listener with TLS.">>},
        tls_untrusted =>
            {no,
                <<"The broker's certificate is of no authority that the client trusts. (A "
                    "diagnosis.)">>,
                <<"Give the certificate of the authority that signed it, as ssl.ca.pem or "
                    "ssl.ca.location.">>},
        tls_expired =>
            {no,
                <<"The broker's certificate has expired, or is not valid yet. (A diagnosis.)">>,
                <<"Renew the broker's certificate, and check the clocks of both.">>},
        tls_host_mismatch =>
            {no,
                <<"The broker's certificate is of another host. (A diagnosis.)">>,
                <<"Use a name that the certificate has, or renew it with this one; with "
                    "ssl.endpoint.identification.algorithm set to none any certificate of the "
                    "authority will do.">>},
        tls_client_refused =>
            {no,
                <<"The broker does not take the client's certificate, or it has none. (A "
                    "diagnosis.)">>,
                <<"The broker wants a client's certificate that it trusts: "
                    "ssl.certificate.pem and ssl.key.pem, or their locations.">>},
        tls_settings =>
            {no,
                <<"A file or text with a certificate or key is of no use. (A diagnosis.)">>,
                <<"Correct the file or text that the property names.">>},
        tls_failed =>
            {no,
                <<"Both sides found no TLS in common. (A diagnosis.)">>,
                <<"Compare versions, ciphers and curves with those of the broker.">>},
        sasl_expected =>
            {no,
                <<"The listener wants a log-in, and the client has none. (A diagnosis.)">>,
                <<"Set security.protocol to sasl_plaintext or sasl_ssl, and a user.">>},
        sasl_not_expected =>
            {no,
                <<"The client wants to log in, and the listener knows no log-in. (A "
                    "diagnosis.)">>,
                <<"Set security.protocol to plaintext or ssl, or use the port of a listener "
                    "with SASL.">>},
        advertised_unreachable =>
            {no,
                <<"A broker's advertised address cannot be reached from here. (A diagnosis.)">>,
                <<"Clients connect to what the broker's advertised.listeners says, not to "
                    "what they began with: correct it there, or make that name and port "
                    "reachable here.">>},
        authentication =>
            {no,
                <<"The log-in failed.">>,
                <<"Check sasl.mechanism, sasl.username and sasl.password (or the token), and "
                    "that the broker has this user for that mechanism.">>},
        sasl_authentication_failed =>
            {no,
                <<"The broker refuses name, password or token.">>,
                <<"Check sasl.mechanism, sasl.username and sasl.password (or the token), and "
                    "that the broker has this user for that mechanism.">>},
        unsupported_sasl_mechanism =>
            {no,
                <<"The broker does not offer that way to log in.">>,
                <<"Set sasl.mechanism to one the broker has enabled.">>},
        illegal_sasl_state =>
            {no,
                <<"A request came before the log-in.">>,
                <<"Set security.protocol to what the listener speaks.">>},
        topic_authorization_failed =>
            {no,
                <<"The user may not do this with the topic.">>,
                <<"Grant this user the right to the topic (an ACL) or use another topic.">>},
        group_authorization_failed =>
            {no,
                <<"The user may not use the group.">>,
                <<"Grant this user the right to the group (an ACL) or use another group.">>},
        cluster_authorization_failed =>
            {no,
                <<"The user may not do this in the cluster.">>,
                <<"Grant this user the right on the cluster (an ACL; IdempotentWrite for a "
                    "producer with ordering => strict on old brokers).">>},
        transactional_id_authorization_failed =>
            {no,
                <<"The user may not use that transactional.id.">>,
                <<"Grant this user the right to the transactional.id (an ACL).">>},
        security_disabled =>
            {no,
                <<"The cluster knows no users or rights.">>,
                <<"Set up an authorizer on the brokers, or leave this out.">>},
        timed_out =>
            {yes,
                <<"Brokers did not answer in time.">>,
                <<"The broker did not answer in time: check that it runs and is not "
                    "overloaded.">>},
        request_timed_out =>
            {yes,
                <<"A broker gave up waiting, for replicas say.">>,
                <<"The broker did not answer in time: check that it and its replicas run.">>},
        network_exception =>
            {yes,
                <<"A connection broke before the answer.">>,
                <<"crema tries again; when it lasts, check network and brokers.">>},
        fail =>
            {yes,
                <<"The connection to a broker failed.">>,
                <<"Check that the broker runs, and its log.">>},
        destroy =>
            {no,
                <<"The client is being ended.">>,
                <<"Start it again, or call it only while its supervisor runs it.">>}
    }.
