%% @private Topics' properties that a variant of a producer may have for itself.
-module(crema_topic_config).

-export([parse/1, names/0, over/2]).

-export_type([config/0]).

%% By canonical names: aliases are not told apart.
-type config() :: #{Name :: binary() => binary()}.

%% @doc The properties there are, by the names they are known by here. Their
%% aliases (`request.required.acks', `delivery.timeout.ms', `compression.codec')
%% do as well.
-spec names() -> [binary()].
names() ->
    [
        <<"acks">>,
        <<"compression.level">>,
        <<"compression.type">>,
        <<"message.timeout.ms">>,
        <<"partitioner">>,
        <<"request.timeout.ms">>
    ].

%% @doc Reads the option `topic_config', as {@link crema_properties:parse/2} reads
%% `kafka'; librdkafka judges the values.
-spec parse(term()) -> {config(), [crema_input:fault()]}.
parse(Term) ->
    {Properties, Faults} = crema_properties:parse(producer, Term),
    Read = [property(Name, Value) || {Name, Value} <- maps:to_list(Properties)],
    {
        maps:from_list([Pair || {ok, Pair} <- Read]),
        [of_topic(Fault) || Fault <- Faults] ++ [Fault || {error, Fault} <- Read]
    }.

-spec of_topic(crema_input:fault()) -> crema_input:fault().
of_topic(#{option := {kafka, Name}} = Fault) ->
    Fault#{option := {topic_config, Name}};
of_topic(#{option := kafka} = Fault) ->
    Fault#{option := topic_config}.

-spec property(binary(), crema_properties:value()) ->
    {ok, {binary(), binary()}} | {error, crema_input:fault()}.
property(Name, Value) ->
    Known = crema_properties:canonical(Name),
    case lists:member(Known, names()) of
        true when is_binary(Value) ->
            {ok, {Known, Value}};
        true ->
            {error, #{option => {topic_config, Name}, reason => <<"must be text">>}};
        false ->
            Reason = [<<"is not one of ">>, lists:join(<<", ">>, names())],
            {error, #{option => {topic_config, Name}, reason => iolist_to_binary(Reason)}}
    end.

%% @doc A producer's properties with those of a variant over them.
-spec over(config(), crema_properties:properties()) -> crema_properties:properties().
over(Config, Properties) ->
    Others = maps:filter(
        fun(Name, _) -> not is_map_key(crema_properties:canonical(Name), Config) end, Properties
    ),
    maps:merge(Others, Config).
