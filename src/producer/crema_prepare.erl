%% @private What is done to a call's messages before they are packed, in the
%% process that produces: middleware, then the choice of partitions that is not
%% librdkafka's. Most calls need neither, and are not even looked at here.
-module(crema_prepare).

-export([settings/1, settings_of_topics/1, change/1, is_needed/2, through/2, choose/3]).

-export_type([settings/0, prepared/0]).

%% `prepare': whether every call of the producer needs it. The chain that is in
%% force is in the registry's settings, where it may change; what callers
%% remember only tells whether there may be one, and whose.
-type settings() :: #{
    prepare := boolean(),
    prefix := crema_prefix:prefix(),
    max_payload_size := pos_integer(),
    partitioner := crema_partitioner:in_force(),
    topic_partitioners := #{binary() => crema_partitioner:strategy()},
    middleware := undefined | {pid(), [crema_middleware:middleware()]}
}.
%% Packed, what is `skipped' is only reported.
-type prepared() :: crema_packet:message() | skipped.

-record(choice, {
    client :: crema_target:client(),
    prefix :: crema_prefix:prefix(),
    %% the call's own
    call :: {ok, crema_partitioner:strategy()} | error,
    topics :: #{binary() => crema_partitioner:strategy()},
    own :: crema_partitioner:in_force(),
    deadline :: crema_deadline:deadline()
}).

%% @doc What a producer's parsed options say, for its settings. Called by the
%% producer's process.
-spec settings(crema_options:parsed()) -> settings().
settings(#{middleware := Chain, max_payload_size := Max, prefix := Prefix} = Options) ->
    #{topic_partitioners := Topics} = crema_prefix:names(Options),
    InForce = crema_partitioner:of_client(Options),
    Leaves =
        is_librdkafkas(InForce) andalso map_size(Topics) =:= 0 andalso Chain =:= undefined andalso
            Prefix =:= undefined,
    #{
        prepare => not Leaves,
        prefix => Prefix,
        max_payload_size => Max,
        partitioner => InForce,
        topic_partitioners => Topics,
        middleware =>
            case Chain of
                undefined -> undefined;
                _ -> {self(), Chain}
            end
    }.

%% @doc The same of a variant's topics: their partitioner goes before the
%% producer's own, for any topic.
-spec settings_of_topics(crema_topic_config:config()) -> map().
settings_of_topics(#{<<"partitioner">> := _} = Config) ->
    InForce = crema_partitioner:of_client(#{partitioner => undefined, kafka => Config}),
    #{partitioner => InForce, topic_partitioners => #{}};
settings_of_topics(_) ->
    #{}.

-spec is_librdkafkas(crema_partitioner:in_force()) -> boolean().
is_librdkafkas({librdkafka, _}) -> true;
is_librdkafkas(_) -> false.

%% @doc Changes the chain of the calling process's producer.
-spec change(crema_middleware:change()) -> ok | crema_error:error().
change(Change) ->
    {ok, producer, _, Settings, _} = crema_registry:lookup(self()),
    case Settings of
        #{middleware := undefined} ->
            Text = "the producer was started without the option middleware; [] will do",
            crema_error:make(bad_options, Text, #{field => middleware});
        #{middleware := {Owner, Chain}} ->
            case crema_middleware:change(Change, Chain) of
                {ok, New} -> crema_registry:set_settings(Settings#{middleware := {Owner, New}});
                {error, _} = Error -> Error
            end
    end.

%% @doc Whether a call cannot do without this, for all that can be told before its
%% messages are read.
-spec is_needed(crema_call:options(), crema_target:client()) -> boolean().
%% A transaction is begun for it: not before its messages are ready.
is_needed(_Options, {_, _, #{transactions := _}}) -> true;
is_needed(Options, {_, _, #{prepare := false}}) -> is_map_key(partitioner, Options);
is_needed(_Options, _Client) -> true.

%% @doc The messages that come out of the middleware.
-spec through([crema_packet:message()], crema_target:client()) ->
    {ok, [prepared()]} | crema_error:error().
through(Messages, {_, _, Settings}) ->
    crema_middleware:run(chain(Settings), Messages).

%% Of a producer that has ended the one that was remembered: the port refuses.
-spec chain(crema_target:settings()) -> [crema_middleware:middleware()].
chain(#{middleware := undefined}) ->
    [];
chain(#{middleware := {Owner, Remembered}}) ->
    case crema_registry:lookup(Owner) of
        {ok, producer, _, #{middleware := {_, Chain}}, _} -> Chain;
        _ -> Remembered
    end.

%% @doc The messages that go to the packer, each with its partition unless that is
%% left to librdkafka. A fault is of a message, in the packer's form. `closed': the
%% client, if there was one, had to be asked for a number of partitions.
-spec choose([prepared()], crema_call:options(), crema_target:client()) ->
    {ok, [prepared()]} | {fault, crema_packet:fault()} | crema_error:error().
choose(Messages, Options, {_, _, Settings} = Client) ->
    Choice = #choice{
        client = Client,
        prefix = maps:get(prefix, Settings),
        call =
            case Options of
                #{partitioner := Given} -> crema_partitioner:strategy(Given);
                _ -> error
            end,
        topics = maps:get(topic_partitioners, Settings),
        own = maps:get(partitioner, Settings),
        deadline = crema_deadline:in(crema_call:wait(Options, Client))
    },
    try
        {ok, each(Messages, 0, Choice)}
    catch
        throw:{?MODULE, Refused} -> Refused
    end.

%% What is no message, or no list of them, is the packer's to tell of.
-spec each([prepared()], non_neg_integer(), #choice{}) -> [prepared()].
each([skipped | Rest], Index, Choice) ->
    [skipped | each(Rest, Index + 1, Choice)];
each([#{topic := Given} = Message | Rest], Index, Choice) ->
    Source = source(Message, Index),
    {Topic, Plain} = named(crema_packet:topic(Given), maps:remove(partition_key, Message), Choice),
    Chosen =
        case Plain of
            #{partition := Partition} when Partition =/= -1 -> Plain;
            #{} -> with_choice(Topic, Source, Plain, Index, Choice)
        end,
    [Chosen | each(Rest, Index + 1, Choice)];
each([Message | Rest], Index, Choice) when is_map(Message) ->
    [maps:remove(partition_key, Message) | each(Rest, Index + 1, Choice)];
each([Message | Rest], Index, Choice) ->
    [Message | each(Rest, Index + 1, Choice)];
each(NoMore, _Index, _Choice) ->
    NoMore.

-spec named(binary() | error, crema_packet:message(), #choice{}) ->
    {binary() | error, crema_packet:message()}.
named(Topic, Message, #choice{prefix = Prefix}) when Topic =:= error; Prefix =:= undefined ->
    {Topic, Message};
named(Topic, Message, #choice{prefix = Prefix}) ->
    Name = crema_prefix:add(Prefix, Topic),
    {Name, Message#{topic := Name}}.

%% Where the key comes from that a strategy is to look at.
-spec source(crema_packet:message(), non_neg_integer()) -> {partition_key | key, term()}.
source(#{partition_key := Given} = Message, Index) when Given =/= undefined, Given =/= nil ->
    case crema_packet:bytes(Given) of
        error -> refuse({fault, {Index, partition_key, "must be iodata, or undefined (nil)"}});
        _ -> {partition_key, maps:get(partition_key, Message)}
    end;
source(Message, _Index) ->
    {key, maps:get(key, Message, undefined)}.

-spec with_choice(binary() | error, {partition_key | key, term()}, crema_packet:message(),
    non_neg_integer(), #choice{}) -> crema_packet:message().
with_choice(error, _Source, Message, _Index, _Choice) ->
    Message;
with_choice(Topic, {From, Key}, Message, Index, #choice{own = Own} = Choice) ->
    case strategy(Topic, Choice) of
        {librdkafka, _} when From =:= key -> Message;
        Strategy when From =:= key, {librdkafka, Strategy} =:= Own -> Message;
        {librdkafka, Name} -> put_partition(Name, Topic, Key, Message, Index, Choice);
        Strategy -> put_partition(Strategy, Topic, Key, Message, Index, Choice)
    end.

-spec strategy(binary(), #choice{}) -> crema_partitioner:in_force().
strategy(_Topic, #choice{call = {ok, Strategy}}) -> Strategy;
strategy(Topic, #choice{topics = Topics, own = Own}) -> maps:get(Topic, Topics, Own).

-spec put_partition(crema_partitioner:strategy(), binary(), term(), crema_packet:message(),
    non_neg_integer(), #choice{}) -> crema_packet:message().
put_partition(Strategy, Topic, Key, Message, Index, #choice{client = {Port, _, _}} = Choice) ->
    Count = count(Topic, Choice),
    Value = maps:get(value, Message, undefined),
    case crema_partitioner:choose(Strategy, {Port, Topic}, Count, Key, Value) of
        {ok, Partition} ->
            Message#{partition => Partition};
        skip ->
            Message;
        {fault, Field, Reason} ->
            refuse({fault, {Index, Field, Reason}});
        {bad_partitioner, Text} ->
            refuse(crema_error:make(bad_partitioner, Text, #{index => Index, topic => Topic}))
    end.

-spec count(binary(), #choice{}) -> pos_integer().
count(Topic, #choice{client = Client, deadline = Deadline}) ->
    case crema_partitions:count(Client, Topic, Deadline) of
        {ok, Count} -> Count;
        {error, _} = Error -> refuse(Error)
    end.

-spec refuse({fault, crema_packet:fault()} | crema_error:error()) -> no_return().
refuse(Refused) ->
    throw({?MODULE, Refused}).
