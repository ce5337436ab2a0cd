%% @private The librdkafka side of the configuration: what users may set under
%% `kafka', what crema sets itself, and the list of properties that results.
%%
%% Properties pass through verbatim: librdkafka judges their names and values.
%% Only those that crema's own promises rest on are refused here, each with the
%% crema option to use instead.
-module(crema_properties).

-export([parse/2, kafka_properties/2, kafka_properties/3]).
-export([find/2, canonical/1, integer/3, doc/1]).

-export_type([scope/0, properties/0, value/0]).

-type scope() :: producer | consumer | reader.
-type value() :: binary() | crema_secret:secret().
-type properties() :: #{Key :: binary() => value()}.

-define(DEFAULT_MESSAGE_TIMEOUT, 150000).
-define(DEFAULT_TRANSACTION_TIMEOUT, 165000).

%% The other name of a property, and the name it is known by here.
-define(ALIASES, #{
    <<"metadata.broker.list">> => <<"bootstrap.servers">>,
    <<"max.in.flight">> => <<"max.in.flight.requests.per.connection">>,
    <<"delivery.timeout.ms">> => <<"message.timeout.ms">>,
    <<"request.required.acks">> => <<"acks">>,
    <<"queue.buffering.max.ms">> => <<"linger.ms">>,
    <<"message.send.max.retries">> => <<"retries">>,
    <<"compression.codec">> => <<"compression.type">>,
    <<"fetch.message.max.bytes">> => <<"max.partition.fetch.bytes">>,
    <<"sasl.mechanisms">> => <<"sasl.mechanism">>
}).

%% @doc Reads the option `kafka': a map, property list or keyword list with keys
%% of binaries, strings or atoms.
%%
%% Keys and values come back as binaries (numbers and booleans in their text
%% form), functions without arguments as they are, and the values of
%% secret-named keys wrapped into functions. Refused are: properties that crema
%% owns, values that cannot be written as text, and a property given twice
%% (also once by its alias). A fault never holds a secret.
-spec parse(scope(), term()) -> {properties(), [crema_input:fault()]}.
parse(Scope, Term) ->
    case crema_input:pairs(Term) of
        {ok, Pairs, Faults} ->
            Read = [property(Scope, Key, Value) || {Key, Value} <- Pairs],
            Good = [Property || {ok, Property} <- Read],
            Wrong = [Fault || {error, Fault} <- Read],
            {Properties, Twice} = once(Good),
            {Properties, kafka_elements(Faults) ++ Wrong ++ Twice};
        error ->
            {#{}, [#{option => kafka, reason => must_be_properties()}]}
    end.

-spec must_be_properties() -> binary().
must_be_properties() ->
    <<"must be ", (crema_option_type:describe(properties))/binary>>.

-spec kafka_elements([crema_input:fault()]) -> [crema_input:fault()].
kafka_elements(Faults) ->
    [Fault#{option := {kafka, Option}} || #{option := Option} = Fault <- Faults].

-spec property(scope(), term(), term()) ->
    {ok, {binary(), value()}} | {error, crema_input:fault()}.
property(Scope, Key, Value) ->
    case crema_input:text(Key) of
        {ok, Name} when Name =/= <<>> ->
            case crema_owned:refusal(Scope, Name) of
                none -> valued(Name, value(Name, Value), Value);
                Reason -> {error, #{option => {kafka, Name}, reason => Reason}}
            end;
        _ ->
            Reason = <<"must be named by a binary, string or atom">>,
            {error, #{option => {kafka, Key}, reason => Reason}}
    end.

-spec valued(binary(), {ok, value()} | {error, binary()}, term()) ->
    {ok, {binary(), value()}} | {error, crema_input:fault()}.
valued(Name, {ok, Value}, _Given) ->
    %% Addresses of brokers are looked at for that by themselves.
    IsEvident =
        canonical(Name) =/= <<"bootstrap.servers">> andalso crema_secret:is_evident(Name, Value),
    case IsEvident orelse crema_secret:is_secret(Name) of
        true -> {ok, {Name, crema_secret:wrap(Value)}};
        false -> {ok, {Name, Value}}
    end;
valued(Name, {error, Reason}, Given) ->
    Fault = #{option => {kafka, Name}, reason => Reason},
    case crema_secret:is_credential(Name) of
        true -> {error, Fault};
        false -> {error, Fault#{value => crema_secret:redact(Given)}}
    end.

%% What os:getenv/1 returns of a variable that is not set would else be a password.
-spec value(binary(), term()) -> {ok, value()} | {error, binary()}.
value(Name, false) ->
    case crema_secret:is_credential(Name) of
        true -> {error, crema_input:no_value()};
        false -> value(false)
    end;
value(_Name, Value) ->
    value(Value).

-spec value(term()) -> {ok, value()} | {error, binary()}.
value(Absent) when Absent =:= undefined; Absent =:= nil ->
    {error, crema_input:no_value()};
value(Fun) when is_function(Fun, 0) -> {ok, Fun};
value(Integer) when is_integer(Integer) -> {ok, integer_to_binary(Integer)};
value(Float) when is_float(Float) -> {ok, float_to_binary(Float, [short])};
value(Text) ->
    case crema_input:text(Text) of
        {ok, Value} ->
            {ok, Value};
        error ->
            {error, <<
                "must be a binary, string, atom, number or a function without arguments, "
                "and hold no zero byte"
            >>}
    end.

%% librdkafka would take the last of two, and which that is would depend on the
%% order of a map.
-spec once([{binary(), value()}]) -> {properties(), [crema_input:fault()]}.
once(Good) ->
    {Properties, _, Faults} = lists:foldl(fun once/2, {#{}, #{}, []}, Good),
    {Properties, lists:reverse(Faults)}.

-spec once({binary(), value()}, Acc) -> Acc when
    Acc :: {properties(), #{binary() => binary()}, [crema_input:fault()]}.
once({Name, Value}, {Properties, Seen, Faults}) ->
    Known = canonical(Name),
    case Seen of
        #{Known := Other} ->
            Reason =
                case Other of
                    Name -> <<"is given twice">>;
                    _ -> <<"is the same property as ", Other/binary, ", which is given too">>
                end,
            {Properties, Seen, [#{option => {kafka, Name}, reason => Reason} | Faults]};
        #{} ->
            {Properties#{Name => Value}, Seen#{Known => Name}, Faults}
    end.

%% @doc The name that a property and its alias are both known by.
-spec canonical(binary()) -> binary().
canonical(Name) ->
    maps:get(Name, ?ALIASES, Name).

%% @doc The value a user gave to a property, by that name or its alias, and the
%% name used. `Name' is the one that is not in the first column of the aliases.
-spec find(Name :: binary(), properties()) -> {ok, Used :: binary(), value()} | none.
find(Name, Properties) ->
    Names = [Name | [Alias || {Alias, Known} <- maps:to_list(?ALIASES), Known =:= Name]],
    case [Used || Used <- Names, is_map_key(Used, Properties)] of
        [Used | _] -> {ok, Used, maps:get(Used, Properties)};
        [] -> none
    end.

%% @doc The integer a property will have: the user's, else `Default'; `unknown'
%% when the user's is a function or no integer (librdkafka will judge that).
-spec integer(Name :: binary(), properties(), Default) -> integer() | unknown | Default.
integer(Name, Properties, Default) ->
    case find(Name, Properties) of
        none ->
            Default;
        {ok, _, Value} when is_binary(Value) ->
            case string:to_integer(Value) of
                {Integer, <<>>} when is_integer(Integer) -> Integer;
                _ -> unknown
            end;
        {ok, _, _Fun} ->
            unknown
    end.

%% @equiv kafka_properties(Scope, Parsed, #{})
-spec kafka_properties(scope(), Parsed :: map()) -> [{Key :: binary(), value()}].
kafka_properties(Scope, Parsed) ->
    kafka_properties(Scope, Parsed, #{}).

%% @doc Every librdkafka property of a client, the user's over crema's defaults,
%% sorted by key. `Parsed' is the result of {@link crema_options:parse/2}.
%%
%% `known' tells whether the librdkafka in use has a property; it is asked only
%% for those that the oldest supported release lacks (`fetch.queue.backoff.ms'),
%% and without it they are left out. Values that are functions are secrets: call
%% them through {@link crema_secret:reveal/1} when packing, never earlier.
-spec kafka_properties(scope(), Parsed :: map(), Options) -> [{Key :: binary(), value()}] when
    Options :: #{known => fun((Key :: binary()) -> boolean())}.
kafka_properties(Scope, #{kafka := User} = Parsed, Options) ->
    Known = maps:get(known, Options, fun(_) -> false end),
    Defaults = [
        Property
     || {Key, _} = Property <-
            common(Parsed) ++ tls(User) ++ defaults(Scope, Parsed) ++ newer(Scope, Known),
        find(Key, User) =:= none
    ],
    Given = crema_sasl_options:without_ours(maps:to_list(User)),
    first_plugins(lists:sort(Defaults ++ Given)).

%% Properties of a plugin are known only once the plugin is loaded.
-spec first_plugins([{binary(), value()}]) -> [{binary(), value()}].
first_plugins(Properties) ->
    {Plugins, Others} = lists:partition(
        fun({Key, _}) -> Key =:= <<"plugin.library.paths">> end, Properties
    ),
    Plugins ++ Others.

-spec common(map()) -> [{binary(), binary()}].
common(#{bootstrap_servers := Servers} = Parsed) ->
    [
        {<<"bootstrap.servers">>, Servers},
        {<<"client.id">>, <<"crema">>},
        %% Small requests wait up to 40 ms for an acknowledgement otherwise;
        %% librdkafka's own default from 2.10 on.
        {<<"socket.nagle.disable">>, <<"true">>},
        {<<"log.queue">>, <<"true">>}
        | crema_sasl_options:properties(Parsed)
    ].

%% librdkafka's defaults have not always been these. Without TLS they are left out, for
%% a librdkafka that was built without it does not know them.
-spec tls(properties()) -> [{binary(), binary()}].
tls(#{<<"security.protocol">> := Protocol}) when is_binary(Protocol) ->
    case lists:member(crema_input:lower(Protocol), ["ssl", "sasl_ssl"]) of
        true ->
            [
                {<<"enable.ssl.certificate.verification">>, <<"true">>},
                {<<"ssl.endpoint.identification.algorithm">>, <<"https">>}
            ];
        false ->
            []
    end;
tls(_User) ->
    [].

-spec defaults(scope(), map()) -> [{binary(), binary()}].
defaults(producer, #{ordering := Ordering, kafka := User} = Parsed) ->
    partitioner(Parsed) ++
        ordering(Ordering) ++
        timeouts(User) ++
        [
            %% A lone message is not held up by librdkafka's 5 ms, and a tenth
            %% of one is enough for batches to form: none at all costs a third
            %% of the throughput.
            {<<"linger.ms">>, <<"1">>},
            %% crema admits messages itself (max_queue_messages, max_queue_bytes)
            %% and lets a caller wait; librdkafka's limits would only refuse what
            %% was already admitted. 0 is no limit; for the bytes there is no such
            %% value, so its largest (2 TiB).
            {<<"queue.buffering.max.messages">>, <<"0">>},
            {<<"queue.buffering.max.kbytes">>, <<"2147483647">>}
        ];
defaults(consumer, #{group := Group, kafka := User} = Parsed) ->
    [
        {<<"group.id">>, Group},
        %% Offsets are stored by the acknowledgement window, committed by librdkafka.
        {<<"enable.auto.commit">>, <<"true">>},
        {<<"auto.commit.interval.ms">>, <<"5000">>},
        %% A topic that comes into being after the subscription is noticed by
        %% this refresh only; librdkafka's default is five minutes.
        {<<"topic.metadata.refresh.interval.ms">>, <<"60000">>}
        | strategy(User) ++ fetching(Parsed)
    ];
defaults(reader, Parsed) ->
    [{<<"enable.auto.commit">>, <<"false">>} | fetching(Parsed)].

-spec fetching(map()) -> [{binary(), binary()}].
fetching(Parsed) ->
    [
        {<<"enable.auto.offset.store">>, <<"false">>},
        {<<"auto.offset.reset">>, <<"error">>},
        {<<"enable.partition.eof">>, <<"true">>},
        %% A fetch that waits at one partition's end holds up the others.
        {<<"fetch.wait.max.ms">>, <<"100">>}
        | crema_prefetch:properties(Parsed)
    ].

%% One of librdkafka's own is left to it.
-spec partitioner(map()) -> [{binary(), binary()}].
partitioner(#{partitioner := Strategy}) ->
    [
        {<<"partitioner">>, atom_to_binary(Strategy)}
     || crema_partitioner:is_librdkafkas(Strategy)
    ];
partitioner(_) ->
    [].

-spec ordering(strict | loose) -> [{binary(), binary()}].
ordering(strict) ->
    [{<<"enable.idempotence">>, <<"true">>}, {<<"acks">>, <<"all">>}];
ordering(loose) ->
    %% librdkafka's own default sends each small message as a request of its own.
    [{<<"max.in.flight.requests.per.connection">>, <<"5">>}].

%% A message's time-out below the transaction's below the synchronous wait, so
%% that a call normally ends with a final verdict. librdkafka refuses a message
%% time-out above the transaction's: ours follows a shorter one.
-spec timeouts(properties()) -> [{binary(), binary()}].
timeouts(#{<<"transactional.id">> := _} = User) ->
    Default = ?DEFAULT_TRANSACTION_TIMEOUT,
    Message =
        case integer(<<"transaction.timeout.ms">>, User, Default) of
            Timeout when is_integer(Timeout) ->
                max(1, min(?DEFAULT_MESSAGE_TIMEOUT, Timeout * 10 div 11));
            unknown ->
                ?DEFAULT_MESSAGE_TIMEOUT
        end,
    [
        {<<"message.timeout.ms">>, integer_to_binary(Message)},
        {<<"transaction.timeout.ms">>, integer_to_binary(Default)}
    ];
timeouts(_User) ->
    [{<<"message.timeout.ms">>, integer_to_binary(?DEFAULT_MESSAGE_TIMEOUT)}].

%% The broker assigns the partitions under the newer group protocol, and
%% librdkafka refuses a strategy together with it.
-spec strategy(properties()) -> [{binary(), binary()}].
strategy(#{<<"group.protocol">> := Protocol}) when Protocol =/= <<"classic">> -> [];
strategy(_User) -> [{<<"partition.assignment.strategy">>, <<"cooperative-sticky">>}].

%% A consumer whose prefetch queue was full would not fetch for a whole second.
-spec newer(scope(), fun((binary()) -> boolean())) -> [{binary(), binary()}].
newer(producer, _Known) ->
    [];
newer(_Consumer, Known) ->
    [{Key, <<"10">>} || Key <- [<<"fetch.queue.backoff.ms">>], Known(Key)].

%% @doc A markdown table of the properties crema sets for a client with default
%% options. A property of the same name under `kafka' replaces one of them,
%% except those that {@link crema_owned:doc/1} lists.
-spec doc(scope()) -> binary().
doc(Scope) ->
    Sample = #{
        bootstrap_servers => <<"the option bootstrap_servers">>,
        group => <<"the option group">>,
        ordering => strict,
        kafka => #{}
    },
    Rows = [
        ["| `", Key, "` | ", Value, " |\n"]
     || {Key, Value} <- kafka_properties(Scope, Sample, #{known => fun(_) -> true end})
    ],
    iolist_to_binary(["| Property | Value |\n|---|---|\n" | Rows]).
