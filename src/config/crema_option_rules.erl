%% @private Rules between options: what is right in each but wrong together.
-module(crema_option_rules).

-export([check/2]).

-export_type([finding/0]).

-define(MAX_POLL_INTERVAL, 300000).
-define(MESSAGE_TIMEOUT, 150000).
-define(TRANSACTION_TIMEOUT, 165000).
-define(MAX_IN_FLIGHT, 5).

-define(PROTOCOL, <<"security.protocol">>).
-define(PROTOCOLS, ["plaintext", "ssl", "sasl_plaintext", "sasl_ssl"]).

-type finding() :: {fault, Option :: term(), Reason :: iodata()} | {warning, iodata()}.

%% @doc The faults and warnings of a scope's options.
%%
%% `Values' holds the options that are right in themselves, defaults filled in;
%% a rule about an option that is absent there is silent, for that option has a
%% fault already. Times are in milliseconds.
-spec check(crema_options:scope(), Values :: map()) ->
    {[crema_input:fault()], Warnings :: [binary()]}.
check(Scope, Values) ->
    Rules = [
        fun crema_sasl_options:names_mechanism/1, fun known_protocol/1, fun one_protocol/1
        | rules(Scope)
    ],
    Findings = lists:append([Rule(Values) || Rule <- Rules]),
    {
        [#{option => Option, reason => text(Reason)} || {fault, Option, Reason} <- Findings],
        [text(Warning) || {warning, Warning} <- Findings]
    }.

-spec text(iodata()) -> binary().
text(Text) -> iolist_to_binary(Text).

-spec rules(crema_options:scope()) -> [fun((map()) -> [finding()])].
rules(producer) ->
    [
        fun one_partitioner/1,
        fun transactions_need_strict/1,
        fun strict_needs_all/1,
        fun strict_bounds_in_flight/1,
        fun message_before_wait/1,
        fun transaction_before_wait/1
        | crema_sasl_options:rules()
    ];
rules(consumer) ->
    [
        fun drain_before_eviction/1, fun drain_before_stop/1, fun commits_happen/1,
        fun batches_wait/1
    ] ++
        crema_exactly_once_options:rules() ++ crema_failure_options:rules() ++
        crema_prefix:rules() ++
        [fun crema_prefetch:rules/1 | crema_sasl_options:rules()];
rules(reader) ->
    [
        fun something_to_read/1, fun crema_prefetch:rules/1
        | crema_sasl_options:rules()
    ];
rules(Scope) when Scope =:= cluster; Scope =:= variant; Scope =:= pool; Scope =:= topic ->
    [].

-spec known_protocol(map()) -> [finding()].
known_protocol(#{kafka := Kafka}) ->
    case protocol(crema_properties:find(?PROTOCOL, Kafka)) of
        Given when is_binary(Given) ->
            Protocol = crema_input:lower(Given),
            case lists:member(Protocol, ?PROTOCOLS) of
                true -> unused(Protocol, maps:keys(Kafka));
                false -> [{fault, {kafka, ?PROTOCOL}, ["must be one of ", lists:join(", ", ?PROTOCOLS)]}]
            end;
        _Hidden ->
            []
    end;
known_protocol(_) ->
    [].

%% Who gives them thinks that they protect.
-spec unused(Protocol :: string(), [binary()]) -> [finding()].
unused(Protocol, Names) ->
    [
        {warning, [
            lists:join(", ", lists:sort(Given)), ": not looked at, since security.protocol is ",
            Protocol, ": ", Effect
        ]}
     || {false, Part, Effect} <- [
            {lists:prefix("sasl_", Protocol), "sasl.", "nobody logs in"},
            {lists:suffix("ssl", Protocol), "ssl.", "nothing is encrypted"}
        ],
        Given <- [[Name || Name <- Names, lists:prefix(Part, binary_to_list(Name))]],
        Given =/= []
    ].

%% librdkafka takes no notice of brokers of another protocol.
-spec one_protocol(map()) -> [finding()].
one_protocol(#{bootstrap_servers := Servers, kafka := Kafka}) when is_binary(Servers) ->
    Spoken = protocol(crema_properties:find(?PROTOCOL, Kafka)),
    Schemes = [
        Scheme
     || Server <- binary:split(Servers, <<",">>, [global]),
        [Scheme, _] <- [binary:split(Server, <<"://">>)],
        is_binary(Spoken),
        crema_input:lower(Scheme) =/= crema_input:lower(Spoken)
    ],
    [
        {fault, bootstrap_servers, [
            "has brokers of ", Scheme, "://, and security.protocol is ", Spoken,
            ": set that to what they speak, or leave out ", Scheme, "://"
        ]}
     || Scheme <- lists:sublist(Schemes, 1)
    ];
one_protocol(_) ->
    [].

-spec protocol({ok, binary(), crema_properties:value()} | none) -> crema_properties:value().
protocol({ok, _Used, Given}) -> Given;
protocol(none) -> <<"plaintext">>.

-spec something_to_read(map()) -> [finding()].
something_to_read(#{topic := undefined, partitions := undefined}) ->
    [{fault, topic, "is required, or partitions: the topic to read"}];
something_to_read(#{topic := Topic, partitions := Given} = Options) when is_list(Given) ->
    Numbers = [Number || Number <- Given, is_integer(Number)],
    case {Topic, Numbers, [T || {T, _} <- Given, Topic =/= undefined, T =/= Topic]} of
        {undefined, [_ | _], _} ->
            [{fault, partitions, "must be {Topic, Partition} each, for there is no topic"}];
        {_, _, [Other | _]} ->
            [{fault, partitions, ["are of the topic ", Other, " too: leave topic out"]}];
        _ ->
            plain_maps(Options)
    end;
something_to_read(Options) ->
    plain_maps(Options).

%% A number says nothing where there may be several topics.
-spec plain_maps(map()) -> [finding()].
plain_maps(#{topic := undefined} = Options) ->
    [
        {fault, Name, "must name {Topic, Partition} each, for there is no topic"}
     || Name <- [from, to],
        #{Name := #{} = Given} <- [Options],
        lists:any(fun is_integer/1, maps:keys(Given))
    ];
plain_maps(_) ->
    [].

-spec one_partitioner(map()) -> [finding()].
one_partitioner(#{partitioner := Given, kafka := #{<<"partitioner">> := _}}) when
    Given =/= undefined
->
    [{fault, {kafka, <<"partitioner">>}, "is given as the option partitioner too"}];
one_partitioner(_) ->
    [].

-spec transactions_need_strict(map()) -> [finding()].
transactions_need_strict(#{ordering := loose, kafka := #{<<"transactional.id">> := _}}) ->
    [{fault, ordering, "must be strict when kafka has transactional.id"}];
transactions_need_strict(_) ->
    [].

-spec strict_needs_all(map()) -> [finding()].
strict_needs_all(#{ordering := strict, kafka := Kafka}) ->
    case crema_properties:find(<<"acks">>, Kafka) of
        {ok, Used, Acks} when is_binary(Acks), Acks =/= <<"all">>, Acks =/= <<"-1">> ->
            [{fault, {kafka, Used}, "must be all while ordering is strict; give ordering => loose "
                "if a lost or repeated message is acceptable"}];
        _ ->
            []
    end;
strict_needs_all(_) ->
    [].

-spec strict_bounds_in_flight(map()) -> [finding()].
strict_bounds_in_flight(#{ordering := strict, kafka := Kafka}) ->
    Name = <<"max.in.flight.requests.per.connection">>,
    case crema_properties:integer(Name, Kafka, ?MAX_IN_FLIGHT) of
        Requests when is_integer(Requests), Requests > ?MAX_IN_FLIGHT ->
            {ok, Used, _} = crema_properties:find(Name, Kafka),
            [{fault, {kafka, Used}, "must be at most 5 while ordering is strict"}];
        _ ->
            []
    end;
strict_bounds_in_flight(_) ->
    [].

%% Otherwise a synchronous call gives up before the fate of its message is known.
-spec message_before_wait(map()) -> [finding()].
message_before_wait(#{request_timeout := Wait, kafka := Kafka}) ->
    case crema_properties:integer(<<"message.timeout.ms">>, Kafka, ?MESSAGE_TIMEOUT) of
        0 ->
            [{warning, "message.timeout.ms is 0: messages never expire, so that a synchronous "
                "produce may give up before the fate of its message is known"}];
        Message when is_integer(Message), Message >= Wait ->
            [too_long("message.timeout.ms", Message, "request_timeout", Wait,
                "a synchronous produce may give up before the fate of its message is known")];
        _ ->
            []
    end;
message_before_wait(_) ->
    [].

-spec transaction_before_wait(map()) -> [finding()].
transaction_before_wait(#{kafka := #{<<"transactional.id">> := _} = Kafka} = Values) ->
    Name = <<"transaction.timeout.ms">>,
    case crema_properties:integer(Name, Kafka, ?TRANSACTION_TIMEOUT) of
        Transaction when is_integer(Transaction) ->
            transaction_above_message(Transaction, Kafka) ++
                transaction_below_wait(Transaction, Values);
        unknown ->
            []
    end;
transaction_before_wait(_) ->
    [].

%% Only a message time-out that the user gave: crema's own adapts.
-spec transaction_above_message(integer(), map()) -> [finding()].
transaction_above_message(Transaction, Kafka) ->
    case crema_properties:integer(<<"message.timeout.ms">>, Kafka, Transaction - 1) of
        Message when is_integer(Message), Message >= Transaction ->
            [too_long("message.timeout.ms", Message, "transaction.timeout.ms", Transaction,
                "the broker may abort a transaction whose messages are still being sent")];
        _ ->
            []
    end.

-spec transaction_below_wait(integer(), map()) -> [finding()].
transaction_below_wait(Transaction, #{request_timeout := Wait}) when Transaction >= Wait ->
    [too_long("transaction.timeout.ms", Transaction, "request_timeout", Wait,
        "a call may give up before the fate of its transaction is known")];
transaction_below_wait(_, _) ->
    [].

-spec too_long(string(), integer(), string(), integer(), string()) -> finding().
too_long(Name, Value, Bound, Limit, Effect) ->
    {warning, io_lib:format("~s (~b ms) is not below ~s (~b ms): ~s; lower ~s or raise ~s", [
        Name, Value, Bound, Limit, Effect, Name, Bound
    ])}.

%% A drain that long would outlive the membership it is drained for.
-spec drain_before_eviction(map()) -> [finding()].
drain_before_eviction(#{drain_timeout := Drain, kafka := Kafka}) ->
    Name = <<"max.poll.interval.ms">>,
    case crema_properties:integer(Name, Kafka, ?MAX_POLL_INTERVAL) of
        Interval when is_integer(Interval), Drain * 2 >= Interval ->
            Reason = io_lib:format(
                "must be under half of max.poll.interval.ms (~b ms): ~b ms is too long", [
                    Interval, Drain
                ]),
            [{fault, drain_timeout, Reason}];
        _ ->
            []
    end;
drain_before_eviction(_) ->
    [].

-spec drain_before_stop(map()) -> [finding()].
drain_before_stop(#{drain_timeout := Drain, stop_timeout := Stop}) when Stop =< Drain ->
    [too_long("drain_timeout", Drain, "stop_timeout", Stop,
        "a stop may end before handlers have finished and their offsets are committed")];
drain_before_stop(_) ->
    [].

-spec commits_happen(map()) -> [finding()].
commits_happen(#{kafka := Kafka}) ->
    case crema_properties:integer(<<"auto.commit.interval.ms">>, Kafka, 5000) of
        0 ->
            [{warning, "auto.commit.interval.ms is 0: offsets are committed only when a partition "
                "is revoked or the consumer stops, so that a crash repeats everything since"}];
        _ ->
            []
    end;
commits_happen(_) ->
    [].

%% What one handles at a time, or several share, does not wait for more.
-spec batches_wait(map()) -> [finding()].
batches_wait(#{batch_age := Age, concurrency := Concurrency, handler := Handler}) when Age > 0 ->
    TakesBatches = crema_handler:takes_batches(crema_handler:new(Handler())),
    [{fault, batch_age, "is for a handler with handle_messages/2"} || not TakesBatches] ++
        [{fault, batch_age, "must be 0 while concurrency is not 1"} || Concurrency =/= 1];
batches_wait(_) ->
    [].
