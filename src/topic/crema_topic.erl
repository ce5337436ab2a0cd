%% @private A topic handle: a producer and a topic, and what is done to each
%% message on its way. It is data and can be kept anywhere; what has a pipeline
%% or batches has a process as well, beside the producer (crema_push), which is
%% started when something is first pushed.
-module(crema_topic).

-export([new/3, producer/1, messages/2, message/2, push/2, flush/2, close/2]).
%% For the process.
-export([encode/3]).

-export_type([handle/0, options/0, topic/0, message/0, batch/0]).

%% A message of a handle: that of a producer without its topic, whose `value' is
%% any term that the serializer takes; or `metadata', such a term, and `data'.
-type message() :: crema_types:topic_message().
-type batch() :: none | adaptive | {fixed, pos_integer()}.
-type topic() :: #{
    id := reference(),
    name := binary(),
    validator := crema_validator:validator(),
    selector := crema_selector:selector(),
    serializer := crema_serializer:serializer(),
    prepend := [crema_middleware:middleware()] | undefined,
    append := [crema_middleware:middleware()] | undefined,
    pipeline := non_neg_integer(),
    ordering := strict | loose,
    batch := batch(),
    max_batches := pos_integer()
}.
-type options() :: map() | list().
-type handle() :: {crema_topic, crema_target:target(), topic()}.
-type encoded() :: crema_packet:message() | skipped.

-define(METADATA, <<"metadata">>).

%% @doc A handle; the options are those of scope `topic'.
-spec new(crema_target:target(), iodata() | atom(), options()) ->
    {ok, handle()} | crema_error:error().
new(Target, Name, Options) ->
    case {crema_options:parse(topic, Options), name(Name)} of
        {{ok, Parsed}, {ok, Topic}} ->
            Config = (maps:remove(warnings, Parsed))#{id => make_ref(), name => Topic},
            {ok, {crema_topic, Target, Config}};
        {{error, _} = Error, _} ->
            Error;
        {_, error} ->
            crema_error:make(bad_message, "topic must be a name", #{field => topic})
    end.

-spec name(term()) -> {ok, binary()} | error.
name(Name) when is_atom(Name), Name =/= undefined, Name =/= nil -> {ok, atom_to_binary(Name)};
name(<<>>) -> error;
name(Name) -> crema_input:text(Name).

%% @doc What its messages go through.
-spec producer(handle()) -> crema_target:target().
producer({crema_topic, Target, _}) ->
    Target.

%% @doc A call's messages as its producer takes them. All or none.
-spec messages(handle(), [message()]) -> {ok, [encoded()]} | crema_error:error().
messages({crema_topic, Target, Topic}, Messages) ->
    messages(Messages, 0, Target, Topic, []).

-spec messages([message()], non_neg_integer(), crema_target:target(), topic(), [encoded()]) ->
    {ok, [encoded()]} | crema_error:error().
messages([Message | Rest], Index, Target, Topic, Done) ->
    case encode(Message, Target, Topic) of
        {ok, Encoded} -> messages(Rest, Index + 1, Target, Topic, [Encoded | Done]);
        skip -> messages(Rest, Index + 1, Target, Topic, [skipped | Done]);
        {error, {Code, Details}} -> {error, {Code, Details#{index => Index}}}
    end;
messages(NoMore, _Index, _Target, _Topic, Done) ->
    %% What is no list the packer tells of.
    {ok, lists:reverse(Done, NoMore)}.

%% @doc The message that {@link push/2} takes for two parts.
-spec message(Metadata :: term(), Data :: iodata() | undefined | nil) -> message().
message(Metadata, Data) ->
    #{metadata => Metadata, data => Data}.

%% @doc Produces a message as the handle's options have it: through its process
%% when it has one.
-spec push(handle(), message()) -> {ok, crema_await:ref()} | crema_error:error().
push({crema_topic, _, #{pipeline := 0, batch := none}} = Handle, Message) ->
    crema_produce:async(Handle, {one, [Message]}, #{});
push({crema_topic, Target, #{pipeline := 0} = Topic}, Message) ->
    case encode(Message, Target, Topic) of
        {ok, Encoded} -> crema_push:push(Target, Topic, {encoded, Encoded});
        skip -> crema_push:push(Target, Topic, skipped);
        {error, _} = Error -> Error
    end;
push({crema_topic, Target, Topic}, Message) ->
    crema_push:push(Target, Topic, {raw, Message});
push(Other, Message) ->
    NoHandle = <<"not a topic handle: crema:topic/3 makes one, of a producer">>,
    erlang:error(badarg, [Other, Message], crema_error:badarg(#{1 => NoHandle})).

%% @doc Everything pushed before is sent and reported.
-spec flush(handle(), timeout()) -> ok | crema_error:error().
flush({crema_topic, Target, Topic}, Timeout) ->
    crema_push:flush(Target, Topic, Timeout).

%% @doc Ends the handle's process, if it has one, when all that was pushed is
%% reported.
-spec close(handle(), timeout()) -> ok | crema_error:error().
close({crema_topic, Target, Topic}, Timeout) ->
    crema_push:close(Target, Topic, Timeout).

%% ---- a message's way -----------------------------------------------------------

%% @doc A message as the producer takes it. What the handle's modules raise is
%% raised here.
-spec encode(message(), crema_target:target(), topic()) ->
    {ok, crema_packet:message()} | skip | crema_error:error().
encode(Message, Target, #{prepend := Prepend, append := Append} = Topic) ->
    through(Message, [
        fun(M) -> middleware(Prepend, M) end,
        fun(M) -> named(M, Topic) end,
        fun(M) -> validated(M, Topic) end,
        fun(M) -> placed(M, Target, Topic) end,
        fun(M) -> serialized(M, Topic) end,
        fun(M) -> middleware(Append, M) end
    ]).

-spec through(message(), [fun((message()) -> {ok, message()} | skip | crema_error:error())]) ->
    {ok, message()} | skip | crema_error:error().
through(Message, [Step | Steps]) ->
    case Step(Message) of
        {ok, Next} -> through(Next, Steps);
        SkipOrError -> SkipOrError
    end;
through(Message, []) ->
    {ok, Message}.

-spec middleware([crema_middleware:middleware()] | undefined, message()) ->
    {ok, message()} | skip | crema_error:error().
middleware(undefined, Message) ->
    {ok, Message};
middleware(Chain, Message) ->
    case crema_middleware:run(Chain, [Message]) of
        {ok, [skipped]} -> skip;
        {ok, [New]} -> {ok, New};
        {error, _} = Error -> Error
    end.

-spec named(message(), topic()) -> {ok, message()} | crema_error:error().
named(Message, _Topic) when not is_map(Message) ->
    bad(message, "must be a map");
named(#{metadata := _, value := _}, _Topic) ->
    bad(value, "and metadata exclude each other: the value of a message with metadata is its data");
named(#{data := _, value := _}, _Topic) ->
    bad(value, "and data exclude each other: data is the value");
named(#{topic := Given} = Message, #{name := Name}) ->
    case name(Given) of
        {ok, Name} -> {ok, Message#{topic := Name}};
        _ -> bad(topic, "is not the handle's: leave it out")
    end;
named(Message, #{name := Name}) ->
    {ok, Message#{topic => Name}}.

%% What is validated and serialized, and the bytes beside it.
-spec parts(message()) -> {Metadata :: term(), Data :: term()}.
parts(#{metadata := Metadata} = Message) -> {Metadata, maps:get(data, Message, undefined)};
parts(#{data := Data}) -> {undefined, Data};
parts(#{value := nil}) -> {undefined, undefined};
parts(#{value := Value}) -> {Value, undefined};
parts(#{}) -> {undefined, undefined}.

-spec validated(message(), topic()) -> {ok, message()} | crema_error:error().
validated(Message, #{validator := Validator}) ->
    {Metadata, Data} = Parts = parts(Message),
    Verdict =
        case Parts of
            {undefined, undefined} -> ok;
            _ -> crema_validator:validate(Validator, Metadata, Data)
        end,
    case Verdict of
        ok -> {ok, Message};
        {error, Reason} -> refused("is refused by the validator: ", Message, Reason);
        Other -> refused("has a validator that returned neither ok nor {error, _}: ", Message, Other)
    end.

-spec placed(message(), crema_target:target(), topic()) -> {ok, message()} | crema_error:error().
placed(Message, Target, #{name := Name, selector := Selector}) ->
    case requested(Message) of
        undefined when Selector =:= undefined ->
            {ok, Message};
        {bad, _} ->
            {ok, Message};
        Requested ->
            case crema_partitions:of_topic(Target, Name) of
                {ok, Count} ->
                    {Metadata, _} = parts(Message),
                    Chosen = crema_selector:select(Selector, Metadata, Requested, Count),
                    chosen(Chosen, Count, Message);
                {error, _} = Error ->
                    Error
            end
    end.

%% What is no partition the packer tells of.
-spec requested(message()) -> crema_selector:requested() | {bad, term()}.
requested(#{partition := -1}) -> undefined;
requested(#{partition := Requested}) when is_integer(Requested), Requested >= 0 -> Requested;
requested(#{partition := Bad}) -> {bad, Bad};
requested(#{}) -> undefined.

-spec chosen(term(), pos_integer(), message()) -> {ok, message()} | crema_error:error().
chosen(-1, _Count, Message) ->
    {ok, maps:remove(partition, Message)};
chosen(Partition, Count, Message) when is_integer(Partition), Partition >= 0, Partition < Count ->
    {ok, Message#{partition => Partition}};
chosen(Other, Count, _Message) ->
    Text = io_lib:format("was selected as ~0tP, of ~b", [Other, 10, Count]),
    bad(partition, Text).

%% Metadata goes into a header, and data is the value as it is; a null header
%% tells data without metadata from a value.
-spec serialized(message(), topic()) -> {ok, message()} | crema_error:error().
serialized(#{metadata := Metadata} = Message, Topic) ->
    case serialize(Metadata, Topic) of
        {ok, Bytes} -> {ok, with_metadata(Bytes, Message)};
        {error, Reason} -> refused("cannot be serialized: ", Message, Reason)
    end;
serialized(#{data := _} = Message, _Topic) ->
    {ok, with_metadata(undefined, Message)};
serialized(#{value := Value} = Message, Topic) ->
    case serialize(Value, Topic) of
        {ok, Bytes} -> {ok, Message#{value := Bytes}};
        {error, Reason} -> refused("cannot be serialized: ", Message, Reason)
    end;
serialized(Message, _Topic) ->
    {ok, Message}.

-spec serialize(term(), topic()) -> {ok, iodata() | undefined} | {error, term()}.
serialize(Null, _Topic) when Null =:= undefined; Null =:= nil -> {ok, undefined};
serialize(Term, #{serializer := Serializer}) -> crema_serializer:serialize(Serializer, Term).

-spec with_metadata(iodata() | undefined, message()) -> message().
with_metadata(Bytes, Message) ->
    Others =
        case maps:get(headers, Message, []) of
            Map when is_map(Map) -> maps:to_list(Map);
            Headers -> Headers
        end,
    (maps:without([metadata, data], Message))#{
        value => maps:get(data, Message, undefined),
        headers => [{?METADATA, Bytes} | Others]
    }.

-spec refused(string(), message(), Reason :: term()) -> crema_error:error().
refused(Text, Message, Reason) ->
    Field =
        case Message of
            #{metadata := _} -> metadata;
            #{data := _} -> data;
            #{} -> value
        end,
    {error, {Code, Details}} = bad(Field, [Text, crema_input:show(Reason)]),
    {error, {Code, Details#{reason => Reason}}}.

-spec bad(atom(), iodata()) -> crema_error:error().
bad(Field, Text) ->
    crema_error:make(bad_message, [atom_to_list(Field), " ", Text], #{field => Field}).
