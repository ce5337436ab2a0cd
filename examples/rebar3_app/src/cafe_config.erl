%% What the environment says.
-module(cafe_config).

-export([bootstrap_servers/0, topic/0, group/0, selftest/0]).

%% Without brokers the application brings its own: an embedded cluster.
-spec bootstrap_servers() -> string() | embedded.
bootstrap_servers() ->
    case os:getenv("KAFKA_BOOTSTRAP_SERVERS") of
        false -> embedded;
        Brokers -> Brokers
    end.

-spec topic() -> binary().
topic() ->
    list_to_binary(os:getenv("KAFKA_TOPIC", "orders")).

-spec group() -> binary().
group() ->
    list_to_binary(os:getenv("KAFKA_GROUP", "baristas")).

-spec selftest() -> boolean().
selftest() ->
    os:getenv("CREMA_SAMPLE_SELFTEST") =:= "1".
