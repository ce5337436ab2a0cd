%% @private A produce call, in the calling process: from messages to their
%% reports. Nothing here talks to the producer's process; the caller commands
%% the port itself.
-module(crema_produce).

-include("../port/crema_commands.hrl").

-export([sync/3, async/3, await/2, reports/1, flush/2, flush_port/2, purge/1]).

-export_type([ref/0, report/0, result/0, options/0, settings/0]).

%% Stays good after a time-out; only the process that made it may await it.
-opaque ref() :: {crema_ref, port(), Call :: pos_integer(), one | many, [origin()]}.
-type origin() :: {Topic :: term(), Label :: {label, term()} | none}.
-type report() :: #{
    topic => binary(),
    partition := integer(),
    offset := integer(),
    timestamp := integer(),
    label => term()
}.
-type result() :: {ok, report()} | crema_error:error().
-type options() :: #{
    timeout => timeout(),
    on_full => wait | error,
    full_timeout => timeout(),
    report => await | message | none,
    tag => non_neg_integer()
}.
%% What a producer's options say about calls.
-type settings() :: #{on_full := wait | error, full_timeout := timeout(), timeout := timeout()}.
-type messages() :: {one, crema_packet:message()} | {many, [crema_packet:message()]}.

%% @doc Produces and waits for the reports.
-spec sync(crema_registry:ref(), messages(), options()) ->
    result() | {ok, [result()]} | crema_error:error().
sync(Producer, Messages, Options) ->
    with_producer(Producer, Options, fun(Port, Settings) ->
        packed(Messages, fun(Count, Packed, Behind) ->
            Ref = make_ref(),
            Tag = term_to_binary(Ref),
            Call = call_number(),
            Policy = policy(Settings),
            Data = crema_packet:produce(wait, Policy, Call, Tag, Count, Packed),
            Origins = origins(Messages),
            case submit(Port, Data, Behind) of
                ok ->
                    wait_reports(Port, Ref, Call, maps:get(timeout, Settings), Origins);
                wait ->
                    wait_place(Port, Ref, Tag, Call, Settings, Origins);
                {error, _} = Error ->
                    Error
            end
        end)
    end).

%% A sync call waits for its place and for its reports by the same tag: what
%% comes first may be the reports already.
-spec wait_place(port(), reference(), binary(), pos_integer(), settings(), {one | many, [origin()]}) ->
    result() | {ok, [result()]}.
wait_place(Port, Ref, Tag, Call, #{full_timeout := Full, timeout := Timeout}, Origins) ->
    receive
        {Ref, Bytes} -> results(Bytes, Origins)
    after Full ->
        case cancel_admission(Port, Tag) of
            ok -> queue_full(Full);
            {error, _} -> wait_reports(Port, Ref, Call, Timeout, Origins)
        end
    end.

-spec wait_reports(port(), reference(), pos_integer(), timeout(), {one | many, [origin()]}) ->
    result() | {ok, [result()]}.
wait_reports(Port, Ref, Call, Timeout, Origins) ->
    receive
        {Ref, Bytes} -> results(Bytes, Origins)
    after Timeout ->
        case crema_port:command(Port, ?CMD_CANCEL, <<?CANCEL_REPORTS, Call:64>>) of
            ok -> not_final(Port, Call, Origins);
            {error, Reason} -> last_look(Ref, Reason, Port, Call, Origins)
        end
    end.

%% Answered meanwhile: the packet is here. Closed meanwhile: the reaper purges,
%% and what it reports comes soon.
-spec last_look(reference(), crema_error:reason(), port(), pos_integer(), {one | many, [origin()]}) ->
    result() | {ok, [result()]}.
last_look(Ref, {Code, _}, Port, Call, Origins) ->
    Grace =
        case Code of
            closed -> 5000;
            _ -> 0
        end,
    receive
        {Ref, Bytes} -> results(Bytes, Origins)
    after Grace -> not_final(Port, Call, Origins)
    end.

-spec not_final(port(), pos_integer(), {one | many, [origin()]}) -> crema_error:error().
not_final(Port, Call, {Shape, Origins}) ->
    crema_error:make(
        timeout,
        "the delivery report has not come yet. This is not final: the message may still be "
        "delivered; await the ref in these details to learn more",
        #{ref => {crema_ref, Port, Call, Shape, Origins}}
    ).

%% @doc Produces without waiting for the reports.
-spec async(crema_registry:ref(), messages(), options()) ->
    ok | {ok, ref()} | crema_error:error().
async(Producer, Messages, Options) ->
    with_producer(Producer, Options, fun(Port, Settings) ->
        packed(Messages, fun(Count, Packed, Behind) ->
            {Mode, Call} = mode(Options),
            case accept(Port, Mode, Call, Count, Packed, Behind, Settings) of
                ok when Mode =:= keep ->
                    {Shape, Origins} = origins(Messages),
                    {ok, {crema_ref, Port, Call, Shape, Origins}};
                Other ->
                    Other
            end
        end)
    end).

-spec mode(options()) -> {crema_packet:mode(), non_neg_integer()}.
mode(#{report := none}) -> {none, 0};
mode(#{report := message} = Options) -> {send, maps:get(tag, Options, 0)};
mode(_) -> {keep, call_number()}.

%% The first try needs no tag, and mostly it is the last.
-spec accept(port(), crema_packet:mode(), non_neg_integer(), pos_integer(), binary(), [binary()],
    settings()) -> ok | crema_error:error().
accept(Port, Mode, Call, Count, Packed, [], Settings) ->
    Data = crema_packet:produce(Mode, refuse, Call, <<>>, Count, Packed),
    case crema_port:command(Port, ?CMD_PRODUCE, Data) of
        {error, {queue_full, _}} when map_get(on_full, Settings) =:= wait ->
            accept_tagged(Port, Mode, Call, Count, Packed, [], Settings);
        Other ->
            Other
    end;
accept(Port, Mode, Call, Count, Packed, Behind, Settings) ->
    accept_tagged(Port, Mode, Call, Count, Packed, Behind, Settings).

-spec accept_tagged(port(), crema_packet:mode(), non_neg_integer(), pos_integer(), binary(),
    [binary()], settings()) -> ok | crema_error:error().
accept_tagged(Port, Mode, Call, Count, Packed, Behind, Settings) ->
    Ref = make_ref(),
    Tag = term_to_binary(Ref),
    Data = crema_packet:produce(Mode, policy(Settings), Call, Tag, Count, Packed),
    case submit(Port, Data, Behind) of
        ok when Behind =:= [] -> ok;
        {error, _} = Error -> Error;
        _ -> wait_admission(Port, Ref, Tag, maps:get(full_timeout, Settings))
    end.

-spec wait_admission(port(), reference(), binary(), timeout()) -> ok | crema_error:error().
wait_admission(Port, Ref, Tag, Timeout) ->
    receive
        {Ref, Bytes} -> crema_port:answer(Bytes)
    after Timeout ->
        case cancel_admission(Port, Tag) of
            ok ->
                queue_full(Timeout);
            {error, _} ->
                receive
                    {Ref, Bytes} -> crema_port:answer(Bytes)
                after 0 -> crema_error:make(closed, "the producer was closed", #{})
                end
        end
    end.

-spec cancel_admission(port(), binary()) -> ok | crema_error:error().
cancel_admission(Port, Tag) ->
    crema_port:command(Port, ?CMD_CANCEL, <<?CANCEL_ADMISSION, Tag/binary>>).

-spec queue_full(timeout()) -> crema_error:error().
queue_full(Timeout) ->
    crema_error:make(
        queue_full, io_lib:format("no place in the queue within ~b ms", [Timeout]), #{}
    ).

%% Small values are in the command; larger ones come behind it, by reference,
%% which only a port command can do, whose answer is a packet.
-spec submit(port(), iodata(), [binary()]) -> ok | wait | crema_error:error().
submit(Port, Data, []) ->
    crema_port:command(Port, ?CMD_PRODUCE, Data);
submit(Port, Data, Behind) ->
    crema_port:send(Port, [<<(iolist_size(Data)):32>>, Data | Behind]).

%% @doc The reports of an asynchronous call.
-spec await(ref(), timeout()) -> result() | {ok, [result()]} | crema_error:error().
await({crema_ref, Port, Call, Shape, Origins}, Timeout) ->
    Ref = make_ref(),
    Data = [<<Call:64>> | term_to_binary(Ref)],
    case crema_port:command(Port, ?CMD_AWAIT, Data) of
        ok -> wait_reports(Port, Ref, Call, Timeout, {Shape, Origins});
        {packed, Packed} -> results(Packed, {Shape, Origins});
        {error, _} = Error -> Error
    end;
await(_, _) ->
    erlang:error(badarg).

%% @doc What a `{crema_reports, _, _}' message holds.
-spec reports(term()) -> [{Tag :: non_neg_integer(), result()}] | ignored.
reports({crema_reports, Port, Packed}) when is_port(Port), is_binary(Packed) ->
    [
        {Tag, result(Report, {undefined, none})}
     || {Tag, Report} <- crema_packet:tagged_reports(Packed)
    ];
reports(_) ->
    ignored.

-spec flush(crema_registry:ref(), timeout()) -> ok | crema_error:error().
flush(Producer, Timeout) ->
    with_producer(Producer, #{}, fun(Port, _) -> flush_port(Port, Timeout) end).

-spec flush_port(port(), timeout()) -> ok | crema_error:error().
flush_port(Port, Timeout) ->
    crema_port:ask(
        Port,
        fun(Tag) -> {?CMD_FLUSH, Tag} end,
        Timeout,
        fun(Tag) -> crema_port:command(Port, ?CMD_CANCEL, <<?CANCEL_FLUSH, Tag/binary>>) end
    ).

-spec purge(crema_registry:ref()) -> ok | crema_error:error().
purge(Producer) ->
    with_producer(Producer, #{}, fun(Port, _) -> crema_port:command(Port, ?CMD_PURGE, <<>>) end).

-spec with_producer(crema_registry:ref(), options(), fun((port(), settings()) -> Result)) ->
    Result | crema_error:error().
with_producer(Producer, Options, Fun) ->
    case crema_registry:lookup(Producer) of
        {ok, producer, Port, Settings, _} when map_size(Options) =:= 0 -> Fun(Port, Settings);
        {ok, producer, Port, Settings, _} -> Fun(Port, maps:merge(Settings, Options));
        {ok, _, _, _, _} -> erlang:error(badarg);
        not_started -> crema_error:make(closed, "no such producer is running", #{})
    end.

-spec packed(messages(), fun((pos_integer(), binary(), [binary()]) -> Result)) ->
    Result | crema_error:error().
packed({Shape, Given}, Fun) ->
    Messages =
        case Shape of
            one -> [Given];
            many -> Given
        end,
    case crema_packet:pack_messages(Messages) of
        {ok, Count, Packed, Behind} -> Fun(Count, Packed, Behind);
        {error, {Index, Field, Reason}} -> bad_message(Shape, Index, Field, Reason)
    end.

-spec bad_message(one | many, non_neg_integer(), atom(), string()) -> crema_error:error().
bad_message(one, _Index, Field, Reason) ->
    crema_error:make(bad_message, [atom_to_list(Field), " ", Reason], #{field => Field});
bad_message(many, Index, Field, Reason) ->
    Text = io_lib:format("message ~b: ~s ~s; nothing was sent", [Index, Field, Reason]),
    crema_error:make(bad_message, Text, #{field => Field, index => Index}).

-spec policy(settings()) -> refuse | wait.
policy(#{on_full := wait}) -> wait;
policy(#{on_full := error}) -> refuse.

%% Unique in the VM: more than the driver asks for, which is per process.
-spec call_number() -> pos_integer().
call_number() ->
    erlang:unique_integer([positive]).

-spec origins(messages()) -> {one | many, [origin()]}.
origins({one, Message}) -> {one, [origin(Message)]};
origins({many, Messages}) -> {many, [origin(Message) || Message <- Messages]}.

-spec origin(crema_packet:message()) -> origin().
origin(#{topic := Topic, label := Label}) -> {Topic, {label, Label}};
origin(#{topic := Topic}) -> {Topic, none}.

-spec results(binary(), {one | many, [origin()]}) -> result() | {ok, [result()]}.
results(<<131, _/binary>> = Term, _Origins) ->
    crema_port:answer(Term);
results(Packed, {one, [Origin]}) ->
    [Report] = crema_packet:reports(Packed),
    result(Report, Origin);
results(Packed, {many, Origins}) ->
    {ok, lists:zipwith(fun result/2, crema_packet:reports(Packed), Origins)}.

-spec result(crema_packet:report(), origin()) -> result().
result({0, _Status, Partition, Offset, Timestamp}, Origin) ->
    Report = #{partition => Partition, offset => Offset, timestamp => Timestamp},
    {ok, with_origin(Report, Origin)};
result({Code, Status, Partition, _Offset, _Timestamp}, Origin) ->
    {Name, Text} = error_name(Code),
    Details = with_origin(#{partition => Partition, status => status(Status)}, Origin),
    crema_error:from_kafka(Name, Text, Details).

-spec with_origin(map(), origin()) -> map().
with_origin(Map, {undefined, none}) -> Map;
with_origin(Map, {Topic, none}) -> Map#{topic => topic(Topic)};
with_origin(Map, {Topic, {label, Label}}) -> Map#{topic => topic(Topic), label => Label}.

-spec topic(iodata() | atom()) -> binary().
topic(Topic) when is_binary(Topic) -> Topic;
topic(Topic) when is_atom(Topic) -> atom_to_binary(Topic);
topic(Topic) -> iolist_to_binary(Topic).

-spec error_name(integer()) -> {binary(), binary()}.
error_name(Code) ->
    case crema_anchor:error_name(Code) of
        {ok, NameAndText} -> NameAndText;
        {error, _} -> {<<"UNKNOWN">>, integer_to_binary(Code)}
    end.

-spec status(byte()) -> not_persisted | possibly_persisted | persisted.
status(?STATUS_NOT_PERSISTED) -> not_persisted;
status(?STATUS_POSSIBLY_PERSISTED) -> possibly_persisted;
status(?STATUS_PERSISTED) -> persisted.
