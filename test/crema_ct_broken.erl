%% Inputs that are wrong in variables and options: what names them, and what is said.
%% Those of certificates and keys are in crema_ct_broken_pem.
-module(crema_ct_broken).

-include("crema_ct_secrets.hrl").

-export([of_env/1, with/2]).

%% {What, Kind, Options, Variables, Names, Says}: a start fails, and its message has
%% both, the variable or key and the fault. At the address somebody may listen.
of_env(Address) ->
    Brokers = [{"K_BOOTSTRAP_SERVERS", Address}],
    urls() ++ halves() ++ pems() ++ prefixed(Brokers) ++ refused_by_librdkafka(Brokers) ++
        of_consumers(Brokers) ++ elsewhere(Address).

urls() ->
    [
        {{url, Url}, producer, [{env, heroku}], [{"KAFKA_URL", Url}], "variable KAFKA_URL", Says}
     || {Url, Says} <- [
            {"", "is not set"},
            {" ,, ", "names no broker"},
            {"http://a:9092", "scheme other than kafka+ssl://"},
            {"ssl://a:9092", "scheme other than kafka+ssl://"},
            {"kafka://", "no host:port"},
            {"kafka+ssl:///", "no host:port"},
            {"kafka://:9092", "no host:port"},
            {"kafka://a:", "no host:port"},
            {"kafka://a:0", "no host:port"},
            {"kafka://a:65536", "no host:port"},
            {"kafka://a:port", "no host:port"},
            {"kafka://a:9092/path", "no host:port"},
            {"kafka://[::1:9092", "no host:port"},
            {"kafka://a:9092?password=" ?MARKER, "no host:port"},
            {"kafka+ssl://me:" ?MARKER "@a:9092", "user's name"},
            {"kafka+ssl://a:9092,kafka://b:9092", "mixes"},
            {"kafka+ssl://a:9092 b:9092", "mixes"}
        ]
    ] ++
        [
            {{addon, Name}, producer, [{env, {heroku, Name}}], [{"KAFKA_URL", "kafka://a:9092"}],
                "variable HEROKU_KAFKA_AMBER_URL", "is not set"}
         || Name <- ["HEROKU_KAFKA_AMBER", "HEROKU_KAFKA_AMBER_URL"]
        ].

halves() ->
    Url = {"KAFKA_URL", "kafka+ssl://a:9092"},
    [
        {key_missing, producer, [{env, heroku}], [Url, {"KAFKA_CLIENT_CERT", "c"}],
            "variable KAFKA_CLIENT_CERT_KEY", "is not set, but KAFKA_CLIENT_CERT is"},
        {certificate_missing, producer, [{env, heroku}], [Url, {"KAFKA_CLIENT_CERT_KEY", ?MARKER}],
            "variable KAFKA_CLIENT_CERT", "is not set, but KAFKA_CLIENT_CERT_KEY is"},
        {no_certificate, producer, [{env, heroku}], [Url, {"KAFKA_TRUSTED_CERT", ?MARKER}],
            "variable KAFKA_TRUSTED_CERT", "is no PEM"}
    ].

%% What is wrong in each has its own table; here they are known by their variables.
pems() ->
    Good = [
        {"KAFKA_URL", "kafka+ssl://a:9092"}, {"KAFKA_CLIENT_CERT", "c"},
        {"KAFKA_CLIENT_CERT_KEY", ?MARKER}
    ],
    [
        {{pem, Name}, producer, [{env, heroku}], lists:keystore(Name, 1, Good, {Name, Value}),
            "variable " ++ Name, "is no PEM"}
     || {Name, Value} <- [
            {"KAFKA_TRUSTED_CERT", "/no/file"},
            {"KAFKA_CLIENT_CERT", "c"},
            {"KAFKA_CLIENT_CERT_KEY", ?MARKER}
        ]
    ].

prefixed(Brokers) ->
    [
        {{variable, Name, Value}, producer, [{env, {prefix, "K"}}], [{Name, Value} | More],
            "variable " ++ Name, Says}
     || {Name, Value, More, Says} <- [
            {"K_BOOTSTRAP_SERVERS", "", [], "is not set: it names the brokers"},
            {"K_BOOTSTRAP_SERVERS", "a:x:1", [], "must be \"host:port\""},
            {"K_BOOTSTRAP_SERVERS", "a:9092,,b:9092", [], "must be \"host:port\""},
            {"K_BOOTSTRAP_SERVERS", "me:" ?MARKER "@a:9092", [], "must be \"host:port\""},
            {"K_SECURITY_PROTOCOL", "tls", Brokers, "must be one of plaintext, ssl"},
            {"K_SASL_MECHANISM", "SCRAM", Brokers, "must be one of plain, scram-sha-256"},
            {"K_SASL_USERNAME", "a", [{"K_CONF_SASL_USERNAME", "b"} | Brokers], "says the same as"},
            {"K_SASL_PASSWORD", ?MARKER, [{"K_CONF_SASL_PASSWORD", ?MARKER} | Brokers],
                "says the same as"},
            {"K_CONF_QUEUE_BUFFERING_MAX_MS", "1", [{"K_CONF_LINGER_MS", "2"} | Brokers],
                "says the same as"},
            {"K_PREFIX", "amber/", Brokers, "must be a text of letters"},
            {"K_CONF_ACKS", "1", Brokers, "must be all while ordering is strict"},
            {"K_CONF_MAX_IN_FLIGHT", "6", Brokers, "must be at most 5"},
            {"K_CONF_ENABLE_IDEMPOTENCE", "false", Brokers, "use the option ordering"},
            {"K_CONF_DR_MSG_CB", "f", Brokers, "No such configuration property"},
            {"K_CONF_LOG_QUEUE", "false", Brokers, "belongs to crema"}
        ]
    ].

%% Whose names and values librdkafka judges.
refused_by_librdkafka(Brokers) ->
    [
        {{property, Name, Value}, producer, [{env, {prefix, "K"}}], [{Name, Value} | Brokers],
            "variable " ++ Name, Says}
     || {Name, Value, Says} <- [
            {"K_CONF_LINGER_MS", "soon", "Invalid value"},
            {"K_CONF_STATISTICS_INTERVAL_MS", "-1", "outside allowed range"},
            {"K_CONF_SOCKET_TIMEOUT_MS", "99999999999", "outside allowed range"},
            {"K_CONF_COMPRESSION_TYPE", "brotli", "Invalid value"},
            {"K_CONF_BROKER_ADDRESS_FAMILY", "v5", "Invalid value"},
            {"K_CONF_DEBUG", "everything", "Invalid value"},
            {"K_CONF_NO_SUCH", "x", "No such configuration property"},
            {"K_SASL_JAAS_CONFIG", ?MARKER, "ava JAAS"},
            {"K_SSL_ENDPOINT_IDENTIFICATION_ALGORITHM", "maybe", "Invalid value"}
        ]
    ] ++
        [
            {{together, Name}, producer, [{env, {prefix, "K"}}],
                [{Name, Value}, {"K_SECURITY_PROTOCOL", Protocol} | Brokers], Names, Says}
         || {Name, Value, Protocol, Names, Says} <- [
                {"K_SSL_CA_LOCATION", "/no/such", "ssl", "variable K_SSL_CA_LOCATION", "cannot be read"},
                {"K_SSL_CIPHER_SUITES", "none", "SSL", "variable K_SSL_CIPHER_SUITES", "failed"},
                {"K_SSL_KEYSTORE_LOCATION", "/no", "ssl", "variable K_SSL_KEYSTORE_LOCATION",
                    "mandatory"},
                {"K_SASL_MECHANISM", "PLAIN", "sasl_plaintext", "sasl.username", "must be set"},
                {"K_SASL_MECHANISM", "SCRAM-SHA-512", "sasl_ssl", "sasl.password", "must be set"}
            ]
        ].

of_consumers(Brokers) ->
    Env = [{env, {prefix, "K"}}, {handler, crema_ct_handler}],
    [
        {group_missing, consumer, Env, [{"K_TOPICS", "t"} | Brokers], "variable K_GROUP", "is required"},
        {topics_missing, consumer, Env, [{"K_GROUP", "g"} | Brokers], "variable K_TOPICS",
            "is required"},
        {topics_empty, consumer, Env, [{"K_GROUP", "g"}, {"K_TOPICS", " , "} | Brokers],
            "variable K_TOPICS", "must be a list of topic names"},
        {group_twice, consumer, Env,
            [{"K_GROUP", "g"}, {"K_TOPICS", "t"}, {"K_CONF_GROUP_ID", "h"} | Brokers],
            "variable K_CONF_GROUP_ID", "use the option group"},
        {poll_interval, consumer, Env,
            [{"K_GROUP", "g"}, {"K_TOPICS", "t"}, {"K_CONF_MAX_POLL_INTERVAL_MS", "9000"} | Brokers],
            "drain_timeout", "must be under half of max.poll.interval.ms"}
    ].

%% Keys of options that say where to look.
elsewhere(Address) ->
    [
        {{env, Env}, producer, [{env, Env}, {bootstrap_servers, Address}], [], "env", "must be heroku"}
     || Env <- [kafka, true, "KAFKA", {prefix, ""}, {prefix, "A B"}, {heroku, undefined}]
    ].

%% Runs a function while these variables are set, and no others of these names.
with(Variables, Fun) ->
    Names = [Name || {Name, _} <- os:env(), is_ours(Name)],
    Before = [{Name, os:getenv(Name)} || Name <- Names],
    lists:foreach(fun os:unsetenv/1, Names),
    lists:foreach(fun({Name, Value}) -> os:putenv(Name, Value) end, Variables),
    try
        Fun()
    after
        lists:foreach(fun({Name, _}) -> os:unsetenv(Name) end, Variables),
        lists:foreach(fun({Name, Value}) -> os:putenv(Name, Value) end, Before)
    end.

is_ours(Name) ->
    lists:any(fun(Prefix) -> lists:prefix(Prefix, Name) end, ["KAFKA_", "K_", "HEROKU_KAFKA_"]).
