%% @private A produce call, in the calling process: from messages to their
%% reports. Nothing here talks to the producer's process; the caller commands
%% the port itself.
-module(crema_produce).

-include("../port/crema_commands.hrl").

-export([sync/3, async/3, async_by/4, flush/2, flush_port/2, purge/1]).
-export([bad_message/2, call_number/0]).

-export_type([call/0]).

-type call() :: {one | many, [crema_packet:message()]}.
-type prepared() :: {one | many, [crema_prepare:prepared()]}.
-type sent() ::
    ok
    | {ok, crema_await:ref()}
    | crema_report:result()
    | {ok, [crema_report:result()]}
    | crema_error:error().
%% `unprepared': there is something to do before that could not be told before.
-type send() :: fun(
    (crema_target:client(), crema_target:target(), prepared(), crema_call:options()) ->
        sent() | unprepared
).

%% @doc Produces and waits for the reports.
-spec sync(crema_target:target(), call(), crema_call:options()) ->
    crema_report:result() | {ok, [crema_report:result()]} | crema_error:error().
sync({crema_topic, _, _} = Handle, {Shape, Messages}, Options) ->
    case crema_topic:messages(Handle, Messages) of
        {ok, Encoded} -> sync(crema_topic:producer(Handle), {Shape, Encoded}, Options);
        {error, _} = Error -> Error
    end;
sync(Producer, Call, Options) ->
    call(sync, fun sync_by/4, Producer, Call, Options).

-spec call(sync | async, send(), crema_target:target(), call(), crema_call:options()) -> sent().
call(Kind, Send, Producer, Call, Options) ->
    case crema_call:fault(Options) of
        none ->
            case crema_target:client(Producer) of
                {_, _, #{call_events := _} = Settings} = Client ->
                    crema_producer_events:call(Kind, Settings, Call, fun() ->
                        unprepared(Send, Client, Producer, Call, Options)
                    end);
                Client ->
                    unprepared(Send, Client, Producer, Call, Options)
            end;
        {error, _} = Error ->
            Error
    end.

-spec unprepared(
    send(), crema_target:client(), crema_target:target(), call(), crema_call:options()
) -> sent().
unprepared(Send, Client, Producer, Call, Options) ->
    Sent =
        case crema_prepare:is_needed(Options, Client) of
            false -> Send(Client, Producer, Call, Options);
            true -> unprepared
        end,
    case Sent of
        unprepared -> prepared(Send, Client, Producer, Call, Options);
        _ -> Sent
    end.

%% What is waited for meanwhile comes off the time of the call.
-spec prepared(
    send(), crema_target:client(), crema_target:target(), call(), crema_call:options()
) -> sent().
prepared(Send, Client, Producer, {Shape, Messages}, Options) ->
    Since = erlang:monotonic_time(millisecond),
    case crema_prepare:through(Messages, Client) of
        {ok, Through} ->
            Left = crema_call:later(Options, Client, Since),
            chosen(Send, Client, Producer, {Shape, Through}, Left);
        {error, _} = Error ->
            Error
    end.

-spec chosen(
    send(), crema_target:client(), crema_target:target(), prepared(), crema_call:options()
) -> sent().
chosen(Send, Client, Producer, {Shape, Messages} = Given, Options) ->
    Since = erlang:monotonic_time(millisecond),
    case crema_prepare:choose(Messages, Options, Client) of
        {ok, Chosen} ->
            Send(Client, Producer, {Shape, Chosen}, crema_call:later(Options, Client, Since));
        {fault, Fault} ->
            bad_message(Shape, Fault);
        {error, {closed, _}} ->
            Choose = fun(Next, _, _, Left) -> chosen(Send, Next, Producer, Given, Left) end,
            again(Choose, Client, Producer, Given, Options);
        {error, _} = Error ->
            Error
    end.

%% The client was closed and has accepted nothing: the call goes on with the next.
%% Where there was none, what its messages go through was not known either.
-spec again(
    send(), crema_target:client(), crema_target:target(), prepared(), crema_call:options()
) -> sent() | unprepared.
again(Send, Client, Producer, Given, Options) ->
    Since = erlang:monotonic_time(millisecond),
    Wait = crema_call:wait(Options, Client),
    case crema_target:again(Producer, Client, crema_call:purpose(Options, Client), Wait) of
        {ok, Next} ->
            Left = crema_call:later(Options, Next, Since),
            case crema_target:is_known(Client) of
                true -> Send(Next, Producer, Given, Left);
                false -> unprepared(Send, Next, Producer, Given, Left)
            end;
        {error, _} = Error ->
            Error
    end.

-spec sync_by(crema_target:client(), crema_target:target(), prepared(), crema_call:options()) ->
    sent() | unprepared.
sync_by({_, _, #{transactions := _}} = Client, Producer, Given, Options) ->
    crema_transaction:sync(Producer, Client, Given, Options);
sync_by({Port, Via, Settings} = Client, Producer, {Shape, Messages} = Given, Options) ->
    #{max_payload_size := Max} = Settings,
    Ref = make_ref(),
    Tag = term_to_binary(Ref),
    Call = call_number(),
    Timeout = crema_call:setting(timeout, Options, Client),
    Policy = crema_call:policy(Options, Client),
    case crema_packet:produce(wait, Policy, Via, Call, Tag, Max, Messages) of
        {ok, Data, Behind} ->
            Origins = {Shape, [crema_report:origin(Message) || Message <- Messages]},
            case submit(Port, Data, Behind) of
                ok when Behind =:= [] ->
                    crema_await:reports(Port, Ref, Call, Timeout, Origins);
                {error, {closed, _}} ->
                    again(fun sync_by/4, Client, Producer, Given, Options);
                {error, _} = Error ->
                    Error;
                %% What comes behind a command has no answer at once: it may wait.
                _ ->
                    Since = erlang:monotonic_time(millisecond),
                    case wait_place(Port, Ref, Tag, Call, {Options, Client}, Origins) of
                        {error, {closed, _}} ->
                            Left = crema_call:later(Options, Client, Since),
                            again(fun sync_by/4, Client, Producer, Given, Left);
                        Result ->
                            Result
                    end
            end;
        {error, unprepared} ->
            unprepared;
        {error, Fault} ->
            bad_message(Shape, Fault)
    end.

%% A sync call waits for its place and for its reports by the same tag: what
%% comes first may be the reports already.
-spec wait_place(
    crema_port:client(),
    reference(),
    binary(),
    pos_integer(),
    {crema_call:options(), crema_target:client()},
    crema_report:origins()
) -> crema_report:result() | {ok, [crema_report:result()]}.
wait_place(Port, Ref, Tag, Call, {Options, Client}, Origins) ->
    Timeout = crema_call:setting(timeout, Options, Client),
    Full = min(crema_call:setting(full_timeout, Options, Client), Timeout),
    receive
        {Ref, Bytes} -> crema_report:results(Bytes, Origins)
    after Full ->
        case cancel_admission(Port, Tag) of
            ok -> queue_full(Full);
            {error, _} -> crema_await:reports(Port, Ref, Call, crema_call:less(Timeout, Full), Origins)
        end
    end.

%% @doc Produces without waiting for the reports. The first try needs no tag,
%% and mostly it is the last.
-spec async(crema_target:target(), call(), crema_call:options()) ->
    ok | {ok, crema_await:ref()} | crema_error:error().
async({crema_topic, _, _} = Handle, {Shape, Messages}, Options) ->
    case crema_topic:messages(Handle, Messages) of
        {ok, Encoded} -> async(crema_topic:producer(Handle), {Shape, Encoded}, Options);
        {error, _} = Error -> Error
    end;
%% The calls in the greatest hurry, and the plainest messages: the layers between would
%% take as long as the rest.
async(Producer, {one, [Message]} = Call, #{report := none} = Options) when
    map_size(Options) =:= 1
->
    Client = crema_target:client(Producer),
    case crema_intake:offer(Message, Client) of
        ok ->
            ok;
        {refused, Packed} ->
            Data = crema_packet:unheard(Packed),
            Answer = crema_port:command(element(1, Client), ?CMD_PRODUCE, Data),
            answered(Answer, none, 0, Client, Producer, Call, Options);
        not_plain ->
            call(async, fun async_by/4, Producer, Call, Options)
    end;
async(Producer, Call, Options) ->
    call(async, fun async_by/4, Producer, Call, Options).

%% @doc The same by a client that is known.
-spec async_by(crema_target:client(), crema_target:target(), prepared(), crema_call:options()) ->
    ok | {ok, crema_await:ref()} | crema_error:error() | unprepared.
async_by({_, _, #{transactions := _}} = Client, Producer, Given, Options) ->
    crema_transaction:async(Producer, Client, Given, Options);
async_by(Client, Producer, Given, #{report := Callback} = Options) when
    is_function(Callback); is_tuple(Callback)
->
    called_back(Client, Producer, Given, Options);
async_by({Port, Carried, Settings} = Client, Producer, {Shape, Messages} = Given, Options) ->
    #{max_payload_size := Max} = Settings,
    {Mode, Call, Via} = mode(Options, Carried),
    case crema_packet:produce(Mode, refuse, Via, Call, <<>>, Max, Messages) of
        {ok, Data, []} ->
            Answer = crema_port:command(Port, ?CMD_PRODUCE, Data),
            answered(Answer, Mode, Call, Client, Producer, Given, Options);
        {ok, _, _} ->
            tagged(Client, Producer, Call, Given, Options);
        {error, unprepared} ->
            unprepared;
        {error, Fault} ->
            bad_message(Shape, Fault)
    end.

%% What the port says to a first try.
-spec answered(
    ok | crema_error:error(),
    crema_packet:mode(),
    non_neg_integer(),
    crema_target:client(),
    crema_target:target(),
    prepared(),
    crema_call:options()
) -> ok | {ok, crema_await:ref()} | crema_error:error() | unprepared.
answered(ok, Mode, Call, {Port, _, _}, _Producer, {Shape, Messages}, _Options) ->
    accepted(Mode, Port, Call, Shape, Messages);
answered({error, {closed, _}}, _Mode, _Call, Client, Producer, Given, Options) ->
    again(fun async_by/4, Client, Producer, Given, forgotten(Options, Client));
answered({error, {queue_full, _}} = Error, _Mode, Call, Client, Producer, Given, Options) ->
    case crema_call:policy(Options, Client) of
        wait -> tagged(Client, Producer, Call, Given, Options);
        refuse -> Error
    end;
answered({error, _} = Error, _Mode, _Call, _Client, _Producer, _Given, _Options) ->
    Error.

%% The reporter's part is noted before. Of a call that is refused it is forgotten,
%% and noted anew with the next client, whose reporter is another.
-spec called_back(
    crema_target:client(), crema_target:target(), prepared(), crema_call:options()
) -> ok | crema_error:error() | unprepared.
called_back({_, _, Settings} = Client, Producer, {_, Messages} = Given, Options) ->
    #{report := Callback} = Options,
    Callbacks = maps:get(callbacks, Settings, none),
    Noted = crema_callbacks:note(Callback, Messages, Callbacks),
    Noting = Options#{report := #{noted => Noted, callback => Callback}},
    case async_by(Client, Producer, Given, Noting) of
        ok ->
            ok;
        Refused ->
            ok = crema_callbacks:forget(Noted, Callbacks),
            Refused
    end.

-spec forgotten(crema_call:options(), crema_target:client()) -> crema_call:options().
forgotten(#{report := #{noted := Noted, callback := Callback}} = Options, {_, _, Settings}) ->
    ok = crema_callbacks:forget(Noted, maps:get(callbacks, Settings, none)),
    Options#{report := Callback};
forgotten(Options, _Client) ->
    Options.

-spec mode(crema_call:options(), crema_packet:via()) ->
    {crema_packet:mode(), Call :: non_neg_integer(), crema_packet:via()}.
mode(#{report := none}, Via) -> {none, 0, Via};
mode(#{report := message} = Options, Via) -> {send, maps:get(tag, Options, 0), Via};
mode(#{report := #{noted := {First, _}}}, Via) ->
    {send, First, crema_packet:to_reporter(Via)};
mode(_, Via) -> {keep, call_number(), Via}.

-spec accepted(crema_packet:mode(), crema_port:client(), non_neg_integer(), one | many, [
    crema_prepare:prepared()
]) -> ok | {ok, crema_await:ref()}.
accepted(keep, Port, Call, Shape, Messages) ->
    Origins = [crema_report:origin(Message) || Message <- Messages],
    {ok, crema_await:ref(Port, Call, {Shape, Origins})};
accepted(_, _Port, _Call, _Shape, _Messages) ->
    ok.

%% With a tag, by which a place, or the answer to a command with values behind
%% it, is told.
-spec tagged(
    crema_target:client(),
    crema_target:target(),
    non_neg_integer(),
    prepared(),
    crema_call:options()
) -> ok | {ok, crema_await:ref()} | crema_error:error().
tagged({Port, Carried, Settings} = Client, Producer, Call, {Shape, Messages} = Given, Options) ->
    #{max_payload_size := Max} = Settings,
    Since = erlang:monotonic_time(millisecond),
    Ref = make_ref(),
    Tag = term_to_binary(Ref),
    {Mode, _, Via} = mode(Options, Carried),
    Policy = crema_call:policy(Options, Client),
    {ok, Data, Behind} = crema_packet:produce(Mode, Policy, Via, Call, Tag, Max, Messages),
    Answer =
        case submit(Port, Data, Behind) of
            ok when Behind =:= [] -> ok;
            {error, _} = Error -> Error;
            _ -> wait_admission(Port, Ref, Tag, crema_call:setting(full_timeout, Options, Client))
        end,
    case Answer of
        ok ->
            accepted(Mode, Port, Call, Shape, Messages);
        {error, {closed, _}} ->
            Left = crema_call:later(Options, Client, Since),
            again(fun async_by/4, Client, Producer, Given, forgotten(Left, Client));
        {error, _} ->
            Answer
    end.

-spec wait_admission(crema_port:client(), reference(), binary(), timeout()) -> ok | crema_error:error().
wait_admission(Port, Ref, Tag, Timeout) ->
    receive
        {Ref, Bytes} -> crema_port:answer(Bytes)
    after Timeout ->
        case cancel_admission(Port, Tag) of
            ok ->
                queue_full(Timeout);
            {error, Reason} ->
                case crema_port:last_answer(Ref, Reason) of
                    {ok, Bytes} -> crema_port:answer(Bytes);
                    none -> crema_error:make(closed, "the producer was closed", #{})
                end
        end
    end.

-spec cancel_admission(crema_port:client(), binary()) -> ok | crema_error:error().
cancel_admission(Port, Tag) ->
    crema_port:command(Port, ?CMD_CANCEL, <<?CANCEL_ADMISSION, Tag/binary>>).

-spec queue_full(timeout()) -> crema_error:error().
queue_full(Timeout) ->
    Text = io_lib:format("no place in the queue within ~w ms", [Timeout]),
    crema_error:make(queue_full, Text, #{retriable => true}).

%% Small values are in the command; larger ones come behind it, by reference,
%% which only a port command can do, whose answer is a packet.
-spec submit(crema_port:client(), iodata(), [binary()]) -> ok | wait | crema_error:error().
submit(Port, Data, []) ->
    crema_port:command(Port, ?CMD_PRODUCE, Data);
submit(Port, Data, Behind) ->
    crema_port:send(Port, [<<(iolist_size(Data)):32>>, Data | Behind]).

-spec flush(crema_target:target(), timeout()) -> ok | crema_error:error().
flush({crema_topic, _, _} = Handle, Timeout) ->
    crema_call:is_timeout(Timeout) orelse erlang:error(badarg),
    crema_topic:flush(Handle, Timeout);
flush(Producer, Timeout) ->
    crema_call:is_timeout(Timeout) orelse erlang:error(badarg),
    {_, _, Settings} = Client = crema_target:client(Producer),
    crema_producer_events:flush(Settings, fun() ->
        flush_by(Client, Producer, crema_deadline:in(Timeout))
    end).

-spec flush_by(crema_target:client(), crema_target:target(), crema_deadline:deadline()) ->
    ok | crema_error:error().
flush_by({Port, _, _} = Client, Producer, Deadline) ->
    case flush_port(Port, crema_deadline:left(Deadline)) of
        {error, {closed, _}} ->
            case crema_target:again(Producer, Client, flush, crema_deadline:left(Deadline)) of
                {ok, Next} -> flush_by(Next, Producer, Deadline);
                none -> ok;
                {error, _} = Error -> Error
            end;
        Answer ->
            Answer
    end.

-spec flush_port(crema_port:client() | none, timeout()) -> ok | crema_error:error().
flush_port(Port, Timeout) ->
    crema_port:ask(
        Port,
        fun(Tag) -> {?CMD_FLUSH, Tag} end,
        Timeout,
        fun(Tag) -> crema_port:command(Port, ?CMD_CANCEL, <<?CANCEL_FLUSH, Tag/binary>>) end
    ).

-spec purge(crema_target:target()) -> ok | crema_error:error().
purge(Producer) ->
    {_, _, Settings} = Client = crema_target:client(Producer),
    crema_producer_events:purge(Settings, fun() -> purge_by(Client, Producer) end).

-spec purge_by(crema_target:client(), crema_target:target()) -> ok | crema_error:error().
purge_by({Port, _, _} = Client, Producer) ->
    case crema_port:command(Port, ?CMD_PURGE, <<>>) of
        {error, {closed, _}} ->
            case crema_target:again(Producer, Client, purge, infinity) of
                {ok, Next} -> purge_by(Next, Producer);
                none -> ok;
                {error, _} = Error -> Error
            end;
        Answer ->
            Answer
    end.

%% @doc The error of a call with a message that is wrong.
-spec bad_message(one | many, crema_packet:fault()) -> crema_error:error().
bad_message(one, {_Index, Field, Reason}) ->
    crema_error:make(bad_message, [atom_to_list(Field), " ", Reason], #{field => Field});
%% It is not a message that is wrong.
bad_message(many, {_Index, messages, _} = Fault) ->
    bad_message(one, Fault);
bad_message(many, {Index, Field, Reason}) ->
    Text = ["message ", integer_to_list(Index), ": ", atom_to_list(Field), " ", Reason],
    crema_error:make(bad_message, Text, #{field => Field, index => Index}).

%% @doc Unique in the VM: more than the driver asks for, which is per process.
-spec call_number() -> pos_integer().
call_number() ->
    erlang:unique_integer([positive]).
