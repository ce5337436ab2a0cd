%% @private The options of a consumer with `commit => exactly_once', and those of the
%% producer that it has for itself.
-module(crema_exactly_once_options).

-export([check/1, describe/0, rules/0, producer/1]).

%% A member that was killed and does not come back keeps readers with
%% read_committed waiting for so long; it must be enough to produce and commit.
-define(TRANSACTION_TIMEOUT, 15000).

%% What leads to the brokers is the same for the producer.
-define(SHARED, [
    <<"security.">>, <<"sasl.">>, <<"ssl.">>, <<"enable.ssl.">>, <<"enable.sasl.">>,
    <<"https.">>, <<"client.">>, <<"broker.">>, <<"plugin.">>
]).

%% Stands for those of the consumer while options are checked.
-define(SERVERS, <<"localhost:9092">>).

%% @doc Options of a producer, of which none is required. Only what was given comes
%% back, in its parsed form.
-spec check(term()) -> {ok, map()} | {error, Reason :: binary()}.
check(Given) ->
    case crema_input:pairs(Given) of
        {ok, Pairs, []} ->
            Own = maps:from_list(Pairs),
            case crema_options:parse(producer, Own#{bootstrap_servers => ?SERVERS}) of
                _ when is_map_key(bootstrap_servers, Own); is_map_key(env, Own) ->
                    {error, <<"has the consumer's brokers: leave out bootstrap_servers and env">>};
                {ok, Parsed} ->
                    {ok, maps:with(maps:keys(Own), Parsed)};
                {error, {_, #{message := Text}}} ->
                    {error, <<"has ", Text/binary>>}
            end;
        _ ->
            {error, <<"must be ", (describe())/binary>>}
    end.

-spec describe() -> binary().
describe() ->
    <<"options of a producer: a map, property list or keyword list">>.

-spec rules() -> [fun((map()) -> [crema_option_rules:finding()])].
rules() ->
    [fun has_id/1, fun reads_committed/1, fun in_order/1, fun has_use/1, fun own_letters/1].

-spec has_id(map()) -> [crema_option_rules:finding()].
has_id(#{commit := exactly_once, transactional_id := undefined, kafka := Kafka}) when
    not is_map_key(<<"group.instance.id">>, Kafka)
->
    [{fault, transactional_id, "is required while commit is exactly_once: a name that this member "
        "keeps when it is started again and shares with no other (or give group.instance.id)"}];
has_id(_) ->
    [].

-spec reads_committed(map()) -> [crema_option_rules:finding()].
reads_committed(#{commit := exactly_once, kafka := #{<<"isolation.level">> := Level}}) when
    Level =/= <<"read_committed">>
->
    [{fault, {kafka, <<"isolation.level">>}, "must be read_committed while commit is exactly_once"}];
reads_committed(_) ->
    [].

%% A transaction has the offset of a partition up to which all is done.
-spec in_order(map()) -> [crema_option_rules:finding()].
in_order(#{commit := exactly_once, concurrency := Concurrency}) when Concurrency =/= 1 ->
    [{fault, concurrency, "must be 1 while commit is exactly_once"}];
in_order(_) ->
    [].

%% What would do nothing is a mistake. Who gives the default asks for nothing.
-spec has_use(map()) -> [crema_option_rules:finding()].
has_use(#{commit := Commit} = Values) ->
    {Idle, Why} =
        case Commit of
            exactly_once ->
                {[ack_timeout, remote_ack_timeout], "has no use while commit is exactly_once, where "
                    "nobody acknowledges later"};
            _ ->
                {[transactional_id, transaction_interval, transaction_bytes, producer],
                    "is for commit => exactly_once only"}
        end,
    [
        {fault, Name, Why}
     || #{name := Name, scope := [consumer], default := Default} <- crema_options:table(),
        lists:member(Name, Idle),
        maps:get(Name, Values, Default) =/= Default
    ];
has_use(_) ->
    [].

-spec own_letters(map()) -> [crema_option_rules:finding()].
own_letters(#{commit := exactly_once, dead_letter := #{producer := Producer}}) ->
    case is_function(Producer, 0) andalso Producer() =:= #{} of
        true ->
            [];
        false ->
            [{fault, dead_letter, "has a producer, and no use for one while commit is exactly_once: "
                "dead letters go into its transactions"}]
    end;
own_letters(_) ->
    [].

%% @doc The options of the producer: the consumer's own option `producer', and what
%% follows from its others, which are parsed.
-spec producer(map()) -> map().
producer(#{kafka := Kafka, producer := Given, bootstrap_servers := Servers} = Options) ->
    Shared = maps:filter(fun(Key, _) -> is_shared(Key) end, Kafka),
    {Sizes, SizeProperties} = sizes(Options),
    Properties = lists:foldl(fun maps:merge/2, Shared, [
        SizeProperties,
        #{<<"transaction.timeout.ms">> => integer_to_binary(?TRANSACTION_TIMEOUT)},
        maps:get(kafka, Given, #{}),
        #{<<"transactional.id">> => transactional_id(Options)}
    ]),
    Defaults = (maps:merge(Sizes, crema_sasl_options:shared(Options, Properties)))#{
        bootstrap_servers => Servers,
        prefix => maps:get(prefix, Options),
        on_fatal => reload,
        %% A transaction's are awaited at its end.
        max_unclaimed => 16#7FFFFFFF,
        %% No call waits for them.
        request_timeout => 16#FFFFFFFF
    },
    maps:merge(Defaults, Given#{kafka => Properties}).

%% What is sent on may be as large as what was consumed.
-spec sizes(map()) -> {#{atom() => term()}, #{binary() => binary()}}.
sizes(#{dead_letter := undefined}) -> {#{}, #{}};
sizes(_) -> crema_failure_options:any_size().

-spec is_shared(binary()) -> boolean().
is_shared(Key) ->
    lists:any(fun(Prefix) -> string:prefix(Key, Prefix) =/= nomatch end, ?SHARED).

-spec transactional_id(map()) -> binary().
transactional_id(#{transactional_id := Id}) when is_binary(Id) ->
    Id;
transactional_id(#{group := Group, kafka := #{<<"group.instance.id">> := Given}}) ->
    {ok, Instance} = crema_secret:reveal(Given),
    <<Group/binary, "-", Instance/binary>>.
