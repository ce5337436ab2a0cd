%% @private Variants: a producer with settings and topics' properties of its own.
%%
%% A variant is only a description. Where it is used, the producer that runs then
%% is told of its topics' configuration, so that it outlives the producer.
-module(crema_variant).

-include("../port/crema_commands.hrl").

-export([new/2, producer/1, with_producer/2, process/1, client/3]).

-export_type([variant/0]).

-type variant() :: {
    crema_variant,
    Producer :: crema_registry:ref() | crema_transaction:handle(),
    Settings :: map(),
    crema_topic_config:config(),
    Client :: shared | own
}.

%% @doc A variant of a producer, or of another variant, whose own settings it is
%% put over. What librdkafka refuses of it is refused now.
-spec new(crema_target:target(), Options :: map() | list()) ->
    {ok, variant()} | crema_error:error().
new(Target, Options) ->
    case crema_options:parse(variant, Options) of
        {ok, Parsed} -> checked(over(Target, Parsed));
        {error, _} = Error -> Error
    end.

-spec over(crema_target:target(), map()) -> variant().
over({crema_variant, Producer, Settings, Config, Client}, #{topic_config := More} = Parsed) ->
    Given = maps:filter(fun(_, Value) -> Value =/= undefined end, Parsed),
    Own = maps:merge(maps:with([timeout, on_full, full_timeout], Given), partitioner(Given)),
    {
        crema_variant,
        Producer,
        maps:merge(maps:merge(Settings, crema_prepare:settings_of_topics(More)), Own),
        maps:merge(Config, More),
        maps:get(client, Given, Client)
    };
over(Producer, Parsed) ->
    over({crema_variant, Producer, #{}, #{}, shared}, Parsed).

%% Whatever the topics have: it chooses as in a call's own options.
-spec partitioner(map()) -> map().
partitioner(#{partitioner := Strategy}) ->
    #{prepare => true, partitioner => Strategy, topic_partitioners => #{}};
partitioner(_) ->
    #{}.

-spec checked(variant()) -> {ok, variant()} | crema_error:error().
checked(Variant) ->
    case crema_target:find(Variant) of
        {ok, {none, _, #{full_timeout := Wait}} = Client} ->
            %% Only librdkafka can tell: its client is made.
            case crema_target:again(Variant, Client, produce, Wait) of
                {ok, _} -> {ok, Variant};
                {error, _} = Error -> Error
            end;
        {ok, _} ->
            {ok, Variant};
        {error, _} = Error ->
            Error
    end.

%% @doc What it is a variant of.
-spec producer(variant()) -> crema_registry:ref() | crema_transaction:handle().
producer({crema_variant, Producer, _, _, _}) ->
    Producer.

%% @doc The same of another producer.
-spec with_producer(variant(), crema_registry:ref()) -> variant().
with_producer(Variant, Producer) ->
    setelement(2, Variant, Producer).

%% @doc The process that owns the client it uses; none while one of its own is started
%% again, for the producer is another. A pool stands for those of all its members.
-spec process(variant()) -> pid() | undefined.
process({crema_variant, Producer, _, Config, Client}) ->
    Pid = crema_registry:whereis_name(Producer),
    case Client =:= own andalso crema_registry:lookup(Pid) of
        {ok, producer, _, _, _} ->
            case crema_registry:own(Pid, Config) of
                {ok, Own} -> Own;
                none -> undefined
            end;
        _ ->
            Pid
    end.

%% @doc The producer's client as the variant uses it, or one of its own.
-spec client(variant(), pid(), crema_target:client()) ->
    {ok, crema_target:client()} | crema_error:error().
client({crema_variant, _, Over, _, shared}, _Pid, {none, Via, Settings}) ->
    {ok, {none, Via, maps:merge(Settings, Over)}};
client({crema_variant, _, Over, Config, shared}, _Pid, {Port, Via, Settings}) ->
    case number(Port, Config) of
        {ok, Number} ->
            {ok, {Port, crema_packet:via_variant(Via, Number), maps:merge(Settings, Over)}};
        {error, _} = Error ->
            Error
    end;
client({crema_variant, _, Over, Config, own}, Pid, {_, Via, Settings}) ->
    Merged = maps:merge(Settings, Over),
    #{timeout := Timeout, full_timeout := Full} = Merged,
    case crema_own:find(Pid, Config, min(Timeout, Full)) of
        {ok, {Port, Own}} ->
            {ok, {Port, Via, maps:merge(Merged, maps:with([callbacks, intake], Own))}};
        {error, _} = Error ->
            Error
    end.

-spec number(crema_port:client(), crema_topic_config:config()) ->
    {ok, non_neg_integer()} | crema_error:error().
number(_Port, Config) when map_size(Config) =:= 0 ->
    {ok, 0};
number(Port, Config) ->
    %% Sorted, so that equal configurations are one.
    Pairs = lists:sort(maps:to_list(Config)),
    crema_port:command(Port, ?CMD_TOPIC_CONFIG, term_to_binary(Pairs)).
