%% @private What is known not to work with some releases of librdkafka: one table,
%% for {@link crema:info/0}, for errors and for documentation. A row is here when a
%% test of crema meets the limit, or when librdkafka's own list of changes tells
%% of it.
-module(crema_limits).

-export([of_release/1, table/0, login/1, scram/1, doc/0]).

-export_type([limit/0]).

-type limit() :: #{
    code := atom(),
    %% What does not work, and what to do.
    message := binary(),
    %% The first release that has it, where it is not all of the older.
    since => binary(),
    %% The first that has it no more.
    fixed_in := binary()
}.

-type row() :: {
    Code :: atom(),
    Since :: release(),
    FixedIn :: release(),
    When :: binary(),
    What :: binary(),
    Proof :: binary()
}.

-type release() :: {non_neg_integer(), non_neg_integer(), non_neg_integer()}.

-define(OLDEST, {2, 0, 2}).

-spec rows() -> [row()].
rows() ->
    [
        {scram_with_kafka_4, ?OLDEST, {2, 6, 1}, <<"SASL/SCRAM, brokers of Kafka 4">>,
            <<"SCRAM cannot log in to Kafka 4, which answers as if the credentials were wrong: use a "
                "newer librdkafka (CREMA_LIBRDKAFKA=bundled), or SASL/PLAIN over TLS.">>,
            <<"`crema_security_kafka_SUITE`">>},
        {consumer_protocol, ?OLDEST, {2, 12, 0}, <<"`group.protocol=consumer`">>,
            <<"The newer group protocol is not there, or not for production: such a consumer is "
                "refused.">>,
            <<"`crema_group_kafka_SUITE:newer_protocol_refuses`">>},
        {client_chain, ?OLDEST, {2, 8, 0}, <<"`ssl.certificate.pem` with intermediate certificates">>,
            <<"librdkafka does not send the chain of a client's certificate that was given as text: "
                "crema has OpenSSL send it.">>,
            <<"`crema_tls_SUITE`, librdkafka #4894">>},
        {deleted_topics, ?OLDEST, {2, 1, 1}, <<"a topic that is deleted while it is consumed">>,
            <<"The client may never end: a stop takes all of stop_timeout, and a reaper stays.">>,
            <<"`crema_group_kafka_SUITE`">>},
        {fetch_pause, ?OLDEST, {2, 2, 0}, <<"prefetch queues that are full">>,
            <<"fetch.queue.backoff.ms is not there: a queue that was full may fetch nothing for up to "
                "a second.">>,
            <<"librdkafka #2879">>},
        {idempotent_fatal, ?OLDEST, {2, 3, 0}, <<"an idempotent producer, a broker that restarts">>,
            <<"A request whose answer was lost may end the client with a fatal error; on_fatal decides "
                "what follows.">>,
            <<"librdkafka #4438">>},
        {telemetry_assert, {2, 5, 0}, {2, 5, 3}, <<"brokers that ask for clients' metrics">>,
            <<"An assertion ends the VM: set enable.metrics.push to false, or use another release.">>,
            <<"librdkafka #4826">>},
        {group_rights, ?OLDEST, {2, 10, 0}, <<"`crema:check/1` of a consumer">>,
            <<"Rights to a group are not asked for: an assertion could end the VM.">>,
            <<"librdkafka #4941">>},
        {reconnect_loop, {2, 10, 0}, {2, 10, 1}, <<"all brokers down for a while">>,
            <<"The client may not come back to the brokers it knew: use another release.">>,
            <<"librdkafka #5088">>}
    ].

%% @doc All of it, for documentation.
-spec table() -> [limit()].
table() -> [limit(Row) || Row <- rows()].

%% @doc The limits of a release, by the number that `rd_kafka_version()' gives.
-spec of_release(Number :: integer()) -> [limit()].
of_release(Number) ->
    [limit(Row) || {_, Since, FixedIn, _, _, _} = Row <- rows(), is_within(Number, Since, FixedIn)].

-spec is_within(integer(), release(), release()) -> boolean().
is_within(Number, Since, FixedIn) ->
    <<Major, Minor, Patch, _>> = <<Number:32>>,
    {Major, Minor, Patch} >= Since andalso {Major, Minor, Patch} < FixedIn.

-spec limit(row()) -> limit().
limit({Code, Since, FixedIn, _When, What, _Proof}) ->
    Limit = #{code => Code, message => What, fixed_in => text(FixedIn)},
    case Since of
        ?OLDEST -> Limit;
        _ -> Limit#{since => text(Since)}
    end.

-spec text(release()) -> binary().
text({Major, Minor, Patch}) ->
    iolist_to_binary(io_lib:format("~b.~b.~b", [Major, Minor, Patch])).

%% @doc What to say of a log-in that a broker has refused, where that is known to be
%% a limit of this librdkafka; empty otherwise.
-spec login(Mechanism :: binary()) -> binary().
login(<<"SCRAM-", _/binary>>) ->
    case crema_anchor:runtime() of
        {ok, Runtime} -> scram(Runtime);
        {error, _} -> <<>>
    end;
login(_) ->
    <<>>.

%% @doc The same of SCRAM and any librdkafka, whose SCRAM may not be Kafka 4's.
-spec scram(Runtime :: [{atom(), term()}]) -> binary().
scram(Runtime) ->
    Number = proplists:get_value(librdkafka_number, Runtime, 0),
    case [What || #{code := scram_with_kafka_4, message := What} <- of_release(Number)] of
        [] ->
            <<>>;
        [What] ->
            <<"This is librdkafka ", (proplists:get_value(librdkafka, Runtime))/binary,
                ", before 2.6.1: ", What/binary>>
    end.

%% @doc The table as markdown.
-spec doc() -> binary().
doc() ->
    unicode:characters_to_binary([
        "| Limit | librdkafka | When | What | Known by |\n|---|---|---|---|---|\n"
        | [
            io_lib:format("| `~s` | ~ts | ~ts | ~ts | ~ts |\n", [
                Code, span(Since, FixedIn), When, What, Proof
            ])
         || {Code, Since, FixedIn, When, What, Proof} <- rows()
        ]
    ]).

-spec span(release(), release()) -> iodata().
span(?OLDEST, FixedIn) -> ["before ", text(FixedIn)];
span(Since, FixedIn) -> [text(Since), " to before ", text(FixedIn)].
