%% Certificates, keys and passphrases that are wrong, and what is said of them.
-module(crema_ct_broken_pem).

-include("crema_ct_secrets.hrl").

-import(crema_ct_certificates, [identity/2, identity/3, pem/1, key/1, key/3]).

-export([made/1, table/2, of_options/2, of_env/2, file/3]).

%% @doc Who there is, and what openssl makes of their keys.
made(Config) ->
    Directory = proplists:get_value(priv_dir, Config),
    Ca = identity(<<"ca">>, self),
    Middle = identity(<<"middle">>, Ca),
    Me = identity(<<"me">>, Ca, #{hosts => []}),
    Pass = " -passout pass:right" ?MARKER,
    Seal = "pkcs8 -topk8 -v2 aes-256-cbc" ++ Pass,
    #{
        ca => Ca,
        me => Me,
        below => identity(<<"below">>, Middle, #{hosts => []}),
        middle => Middle,
        %% As brokers may have a newer one.
        old => identity(<<"middle">>, Ca, #{key => map_get(key, Middle), days => {-10, -1}}),
        rsa => identity(<<"rsa">>, Ca, #{hosts => [], rsa => true}),
        expired => identity(<<"expired">>, Ca, #{hosts => [], days => {-10, -1}}),
        young => identity(<<"young">>, Ca, #{hosts => [], days => {1, 10}}),
        ending => identity(<<"ending">>, Ca, #{hosts => [], days => {-10, 29}}),
        impostor => identity(<<"ca">>, self),
        stranger => identity(<<"stranger">>, self),
        sealed => key(Me, Directory, Seal),
        plain => key(Me, Directory, "pkcs8 -topk8 -nocrypt"),
        traditional => key(Me, Directory, "ec -aes128" ++ Pass),
        public => key(Me, Directory, "ec -pubout"),
        parameters => key(Me, Directory, "ec -param_out"),
        request => key(Me, Directory, "req -new -subj /CN=me -key " ++
            filename:join(Directory, "key") ++ " -config /dev/null"),
        ssh => <<"-----BEGIN OPENSSH PRIVATE KEY-----\nb3Blbn\n-----END OPENSSH PRIVATE KEY-----\n">>
    }.

%% @doc What is wrong with properties that are given, and what names it and is said; like
%% crema_ct_broken:of_env/1.
of_options(Table, Address) ->
    [
        {{Names, Says}, Kind, options(Kind, Kafka, Address), [], Names, Says}
     || {Kafka, Names, Says} <- Table, Kind <- [producer, consumer]
    ].

options(producer, Kafka, Address) ->
    [{bootstrap_servers, Address}, {kafka, Kafka#{'security.protocol' => ssl}}];
options(consumer, Kafka, Address) ->
    [{group, g}, {topics, [t]}, {handler, crema_ct_handler} | options(producer, Kafka, Address)].

%% @doc The same from variables.
of_env(Table, Address) ->
    Common = [{"K_BOOTSTRAP_SERVERS", Address}, {"K_SECURITY_PROTOCOL", "SSL"}],
    [
        {{variable, Names, Says}, producer, [{env, {prefix, "K"}}],
            Common ++ [{variable(Property), value(Value)} || {Property, Value} <- maps:to_list(Kafka)],
            named(list_to_atom(Names), Kafka), Says}
     || {Kafka, Names, Says} <- Table
    ].

variable(Property) ->
    "K_" ++ lists:append(string:replace(string:uppercase(atom_to_list(Property)), ".", "_", all)).

value(Value) -> binary_to_list(iolist_to_binary(Value)).

%% What is not given has no variable.
named(Property, Kafka) when is_map_key(Property, Kafka) -> ["variable ", variable(Property)];
named(Property, _) -> atom_to_list(Property).

%% @doc What is wrong, of which property, and what is said of it.
table(#{ca := Ca, me := Me, middle := Middle, below := Below} = Made, Directory) ->
    #{
        expired := Expired, young := Young, impostor := Impostor, stranger := Stranger,
        sealed := Sealed, public := Public, request := Request
    } = Made,
    CaPem = pem([Ca]),
    Cert = pem([Me]),
    Key = key(Me),
    Missing = filename:join(Directory, "missing.pem"),
    KeyFile = file(Directory, "key.pem", [?MARKER "\n", Key]),
    CertFile = file(Directory, "cert.pem", Cert),
    Der = file(Directory, "cert.der", maps:get(certificate, Me)),
    Given = fun(C, K) -> #{'ssl.certificate.pem' => C, 'ssl.key.pem' => K} end,
    With = fun(C, K, P) -> (Given(C, K))#{'ssl.key.password' => P} end,
    Trust = fun(Pem) -> #{'ssl.ca.pem' => Pem} end,
    [
        %% the authority
        {Trust(<<" \n">>), "ssl.ca.pem", "is empty"},
        {Trust(<<"/etc/ssl/ca.pem">>), "ssl.ca.pem", "Is it the name of a file?"},
        {Trust(<<"not PEM, ", ?MARKER>>), "ssl.ca.pem", "is no PEM"},
        {Trust(base64:encode(CaPem)), "ssl.ca.pem", "is the base64 of PEM"},
        {Trust(Key), "ssl.ca.pem", "holds EC PRIVATE KEY where a certificate"},
        {Trust(one_line(CaPem)), "ssl.ca.pem", "has lost its line ends"},
        {Trust(half(CaPem)), "ssl.ca.pem", "is cut"},
        {Trust(spoilt(CaPem)), "ssl.ca.pem", "is broken at certificate 1"},
        {Trust(<<CaPem/binary, (spoilt(Cert))/binary>>), "ssl.ca.pem", "at certificate 2"},
        {Trust(<<$", CaPem/binary, $">>), "ssl.ca.pem", "has something before -----BEGIN"},
        {Trust(pem([Expired])), "ssl.ca.pem", "has expired on "},
        {Trust(pem([Young])), "ssl.ca.pem", "is not valid before "},
        {Trust(pem([Expired, Young])), "ssl.ca.pem", "has no certificate that is valid now"},
        {#{'ssl.ca.location' => Missing}, "ssl.ca.location", "cannot be read: No such file"},
        {#{'ssl.ca.location' => KeyFile}, "ssl.ca.location", "holds EC PRIVATE KEY"},
        {#{'ssl.ca.location' => Der}, "ssl.ca.location", "is no PEM"},
        %% the certificate
        {Given(Key, Key), "ssl.certificate.pem", "holds EC PRIVATE KEY where a certificate"},
        {Given(Request, Key), "ssl.certificate.pem", "holds CERTIFICATE REQUEST where a cert"},
        {Given(Public, Key), "ssl.certificate.pem", "holds PUBLIC KEY where a certificate"},
        {Given(spoilt(Cert), Key), "ssl.certificate.pem", "is broken at certificate 1"},
        {Given(half(Cert), Key), "ssl.certificate.pem", "is cut"},
        {Given(<<(pem([Below]))/binary, (spoilt(pem([Middle])))/binary>>, key(Below)),
            "ssl.certificate.pem", "is broken at certificate 2"},
        {Given(pem([Expired]), key(Expired)), "ssl.certificate.pem", "has expired on "},
        {Given(pem([Young]), key(Young)), "ssl.certificate.pem", "is not valid before "},
        {maps:merge(Trust(pem([Impostor])), Given(Cert, Key)), "ssl.certificate.pem",
            "is not signed by the given authority CN = ca"},
        {Given(pem([Below, Me, (identity(<<"middle">>, self))]), key(Below)),
            "ssl.certificate.pem", "is not signed by the given authority CN = middle"},
        {#{'ssl.key.pem' => Key}, "ssl.certificate.pem", "is not given, but a key is"},
        {#{'ssl.certificate.location' => KeyFile, 'ssl.key.location' => KeyFile},
            "ssl.certificate.location", "holds EC PRIVATE KEY where a certificate"},
        %% the key
        {#{'ssl.certificate.pem' => Cert}, "ssl.key.pem", "is not given, but a certificate is"},
        {Given(Cert, Cert), "ssl.key.pem", "holds CERTIFICATE where a private key"},
        {Given(Cert, Public), "ssl.key.pem", "holds PUBLIC KEY where a private key"},
        {Given(Cert, map_get(ssh, Made)), "ssl.key.pem", "holds OPENSSH PRIVATE KEY where"},
        {Given(Cert, map_get(parameters, Made)), "ssl.key.pem", "holds EC PARAMETERS where"},
        {Given(Cert, spoilt(Key)), "ssl.key.pem", "is a broken private key"},
        {Given(Cert, half(Key)), "ssl.key.pem", "is cut"},
        {Given(Cert, one_line(Key)), "ssl.key.pem", "has lost its line ends"},
        {Given(Cert, <<?MARKER>>), "ssl.key.pem", "is no PEM"},
        {Given(Cert, <<"-----BEGIN " ?MARKER "-----\nAA==\n-----END " ?MARKER "-----\n">>),
            "ssl.key.pem", "holds something else where a private key"},
        {Given(Cert, key(Stranger)), "ssl.key.pem", "does not belong to the certificate"},
        {Given(pem([map_get(rsa, Made)]), Key), "ssl.key.pem", "does not belong"},
        {#{'ssl.certificate.location' => CertFile, 'ssl.key.location' => CertFile},
            "ssl.key.location", "holds CERTIFICATE where a private key"},
        {#{'ssl.certificate.location' => CertFile, 'ssl.key.location' => Missing},
            "ssl.key.location", "cannot be read: No such file"},
        %% the passphrase
        {Given(Cert, Sealed), "ssl.key.password", "is not given, but the private key is encr"},
        {With(Cert, Sealed, <<"wrong" ?MARKER>>), "ssl.key.password", "does not open the private"},
        {With(Cert, map_get(traditional, Made), <<"wrong" ?MARKER>>), "ssl.key.password",
            "does not open the private key"}
    ].

file(Directory, Name, Text) ->
    File = filename:join(Directory, Name),
    ok = file:write_file(File, Text),
    File.

one_line(Pem) -> binary:replace(Pem, <<"\n">>, <<" ">>, [global]).

half(Pem) -> binary:part(Pem, 0, byte_size(Pem) div 2).

%% The marker in the middle of the text.
spoilt(Pem) ->
    {Before, <<_:18/binary, After/binary>>} = split_binary(Pem, byte_size(Pem) div 2),
    <<Before/binary, ?MARKER "!", After/binary>>.
