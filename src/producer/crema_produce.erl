%% @private A produce call, in the calling process: from messages to their
%% reports. Nothing here talks to the producer's process; the caller commands
%% the port itself.
-module(crema_produce).

-include("../port/crema_commands.hrl").

-export([sync/3, async/3, await/2, reports/1, flush/2, flush_port/2, purge/1]).

-export_type([ref/0, report/0, result/0, options/0]).

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
%% The port, and what the producer's options say about calls.
-type client() ::
    {port() | none, #{on_full := wait | error, full_timeout := timeout(), timeout := timeout()}}.
-type messages() :: {one | many, [crema_packet:message()]}.

%% @doc Produces and waits for the reports.
-spec sync(crema_registry:ref(), messages(), options()) ->
    result() | {ok, [result()]} | crema_error:error().
sync(Producer, Call, Options) ->
    case bad_option(Options) of
        none -> do_sync(Producer, Call, Options);
        {error, _} = Error -> Error
    end.

-spec do_sync(crema_registry:ref(), messages(), options()) ->
    result() | {ok, [result()]} | crema_error:error().
do_sync(Producer, {Shape, Messages}, Options) ->
    {Port, _} = Client = client(Producer),
    Ref = make_ref(),
    Tag = term_to_binary(Ref),
    Call = call_number(),
    Timeout = setting(timeout, Options, Client),
    case crema_packet:produce(wait, policy(Options, Client), Call, Tag, Messages) of
        {ok, Data, Behind} ->
            Origins = {Shape, [origin(Message) || Message <- Messages]},
            case submit(Port, Data, Behind) of
                ok when Behind =:= [] -> wait_reports(Port, Ref, Call, Timeout, Origins);
                {error, _} = Error -> refused(Producer, Error);
                %% What comes behind a command has no answer at once: it may wait.
                _ -> wait_place(Port, Ref, Tag, Call, {Options, Client}, Origins)
            end;
        {error, Fault} ->
            bad_message(Shape, Fault)
    end.

%% A sync call waits for its place and for its reports by the same tag: what
%% comes first may be the reports already.
-spec wait_place(
    port(), reference(), binary(), pos_integer(), {options(), client()}, {one | many, [origin()]}
) -> result() | {ok, [result()]}.
wait_place(Port, Ref, Tag, Call, {Options, Client}, Origins) ->
    Timeout = setting(timeout, Options, Client),
    Full = min(setting(full_timeout, Options, Client), Timeout),
    receive
        {Ref, Bytes} -> results(Bytes, Origins)
    after Full ->
        case cancel_admission(Port, Tag) of
            ok -> queue_full(Full);
            {error, _} -> wait_reports(Port, Ref, Call, less(Timeout, Full), Origins)
        end
    end.

-spec less(timeout(), timeout()) -> timeout().
less(infinity, _) -> infinity;
less(Timeout, Spent) -> Timeout - Spent.

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
        "the delivery report has not come yet; await the ref in these details to learn more",
        #{ref => {crema_ref, Port, Call, Shape, Origins}}
    ).

%% @doc Produces without waiting for the reports. The first try needs no tag,
%% and mostly it is the last.
-spec async(crema_registry:ref(), messages(), options()) ->
    ok | {ok, ref()} | crema_error:error().
async(Producer, Call, Options) ->
    case bad_option(Options) of
        none -> do_async(Producer, Call, Options);
        {error, _} = Error -> Error
    end.

-spec do_async(crema_registry:ref(), messages(), options()) ->
    ok | {ok, ref()} | crema_error:error().
do_async(Producer, {Shape, Messages}, Options) ->
    {Port, _} = Client = client(Producer),
    {Mode, Call} = mode(Options),
    case crema_packet:produce(Mode, refuse, Call, <<>>, Messages) of
        {ok, Data, []} ->
            case crema_port:command(Port, ?CMD_PRODUCE, Data) of
                ok -> accepted(Mode, Port, Call, Shape, Messages);
                {error, {queue_full, _}} = Full -> full(Full, Client, Call, Shape, Messages, Options);
                {error, _} = Error -> refused(Producer, Error)
            end;
        {ok, _, _} ->
            refused(Producer, tagged(Client, Call, Shape, Messages, Options));
        {error, Fault} ->
            bad_message(Shape, Fault)
    end.

-spec mode(options()) -> {crema_packet:mode(), non_neg_integer()}.
mode(#{report := none}) -> {none, 0};
mode(#{report := message} = Options) -> {send, maps:get(tag, Options, 0)};
mode(_) -> {keep, call_number()}.

-spec accepted(crema_packet:mode(), port(), non_neg_integer(), one | many, [
    crema_packet:message()
]) -> ok | {ok, ref()}.
accepted(keep, Port, Call, Shape, Messages) ->
    {ok, {crema_ref, Port, Call, Shape, [origin(Message) || Message <- Messages]}};
accepted(_, _Port, _Call, _Shape, _Messages) ->
    ok.

-spec full(crema_error:error(), client(), non_neg_integer(), one | many, [
    crema_packet:message()
], options()) -> ok | {ok, ref()} | crema_error:error().
full(Full, Client, Call, Shape, Messages, Options) ->
    case policy(Options, Client) of
        wait -> tagged(Client, Call, Shape, Messages, Options);
        refuse -> Full
    end.

%% With a tag, by which a place, or the answer to a command with values behind
%% it, is told.
-spec tagged(client(), non_neg_integer(), one | many, [crema_packet:message()], options()) ->
    ok | {ok, ref()} | crema_error:error().
tagged({Port, _} = Client, Call, Shape, Messages, Options) ->
    Ref = make_ref(),
    Tag = term_to_binary(Ref),
    {Mode, _} = mode(Options),
    {ok, Data, Behind} = crema_packet:produce(Mode, policy(Options, Client), Call, Tag, Messages),
    Answer =
        case submit(Port, Data, Behind) of
            ok when Behind =:= [] -> ok;
            {error, _} = Error -> Error;
            _ -> wait_admission(Port, Ref, Tag, setting(full_timeout, Options, Client))
        end,
    case Answer of
        ok -> accepted(Mode, Port, Call, Shape, Messages);
        {error, _} -> Answer
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
        queue_full, io_lib:format("no place in the queue within ~w ms", [Timeout]), #{}
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
    is_timeout(Timeout) orelse erlang:error(badarg),
    Ref = make_ref(),
    Data = [<<Call:64>> | term_to_binary(Ref)],
    case crema_port:command(Port, ?CMD_AWAIT, Data) of
        ok -> wait_reports(Port, Ref, Call, Timeout, {Shape, Origins});
        {packed, Packed} -> results(Packed, {Shape, Origins});
        {error, {closed, _}} = Closed -> await_left(Closed, Call, Timeout, {Shape, Origins});
        {error, _} = Error -> Error
    end;
await(_, _) ->
    erlang:error(badarg).

%% The producer has ended; what it reported last was left for us.
-spec await_left(crema_error:error(), pos_integer(), timeout(), {one | many, [origin()]}) ->
    result() | {ok, [result()]}.
await_left(Closed, Call, Timeout, Origins) ->
    case crema_anchor:left(Call, Timeout) of
        {ok, Packed} -> results(Packed, Origins);
        error -> Closed
    end.

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
    is_timeout(Timeout) orelse erlang:error(badarg),
    {Port, _} = client(Producer),
    refused(Producer, flush_port(Port, Timeout)).

-spec flush_port(port() | none, timeout()) -> ok | crema_error:error().
flush_port(Port, Timeout) ->
    crema_port:ask(
        Port,
        fun(Tag) -> {?CMD_FLUSH, Tag} end,
        Timeout,
        fun(Tag) -> crema_port:command(Port, ?CMD_CANCEL, <<?CANCEL_FLUSH, Tag/binary>>) end
    ).

-spec purge(crema_registry:ref()) -> ok | crema_error:error().
purge(Producer) ->
    {Port, _} = client(Producer),
    refused(Producer, crema_port:command(Port, ?CMD_PURGE, <<>>)).

%% A process remembers the ports of the producers it uses, by what it calls
%% them: the table costs a quarter of a whole call. Pids are not used again, so
%% what is remembered can only be closed; then it is forgotten.
-spec client(crema_registry:ref()) -> client().
client(Producer) ->
    Pid = crema_registry:whereis_name(Producer),
    case get(?MODULE) of
        {Producer, Pid, Client} -> Client;
        _ -> remembered(Producer, Pid)
    end.

%% The one used last has a key of its own, which is found faster.
-spec remembered(crema_registry:ref(), pid() | undefined) -> client().
remembered(Producer, Pid) ->
    case get({?MODULE, Producer}) of
        {Producer, Pid, Client} = Known ->
            _ = put(?MODULE, Known),
            Client;
        _ ->
            look_up(Producer, Pid)
    end.

-spec look_up(crema_registry:ref(), pid() | undefined) -> client().
look_up(Producer, Pid) when is_pid(Pid) ->
    case crema_registry:lookup(Pid) of
        {ok, producer, Port, Settings, _} ->
            _ = put({?MODULE, Producer}, {Producer, Pid, {Port, Settings}}),
            {Port, Settings};
        _ ->
            no_client()
    end;
look_up(_Producer, undefined) ->
    no_client().

%% Commands to it are answered as by one that was closed: see refused/2.
-spec no_client() -> client().
no_client() ->
    {none, #{on_full => error, full_timeout => 0, timeout => 0}}.

-spec refused(crema_registry:ref(), Result) -> Result | crema_error:error().
refused(Producer, {error, {closed, _}}) ->
    _ = erase(?MODULE),
    _ = erase({?MODULE, Producer}),
    crema_registry:missing(producer, Producer);
refused(_Producer, Result) ->
    Result.

-spec bad_message(one | many, {non_neg_integer(), atom(), string()}) -> crema_error:error().
bad_message(one, {_Index, Field, Reason}) ->
    crema_error:make(bad_message, [atom_to_list(Field), " ", Reason], #{field => Field});
bad_message(many, {Index, Field, Reason}) ->
    Text = io_lib:format("message ~b: ~s ~s", [Index, Field, Reason]),
    crema_error:make(bad_message, Text, #{field => Field, index => Index}).

%% Before anything is sent: a wait that cannot be would otherwise be found when
%% the message is on its way.
-spec bad_option(options()) -> none | crema_error:error().
bad_option(Options) when map_size(Options) =:= 0 ->
    none;
%% The only option of most calls that are in a hurry.
bad_option(#{report := Report} = Options) when
    map_size(Options) =:= 1, Report =:= none orelse Report =:= message
->
    none;
bad_option(Options) ->
    case [Option || {Key, Value} = Option <- maps:to_list(Options), not is_option(Key, Value)] of
        [] ->
            none;
        [{Key, Value} | _] ->
            Text = io_lib:format("~0tp => ~0tP is no option of a call", [Key, Value, 5]),
            crema_error:make(bad_call, Text, #{field => Key})
    end.

-spec is_option(term(), term()) -> boolean().
is_option(timeout, Time) -> is_timeout(Time);
is_option(full_timeout, Time) -> is_timeout(Time);
is_option(on_full, Policy) -> Policy =:= wait orelse Policy =:= error;
is_option(report, Report) -> lists:member(Report, [await, message, none]);
is_option(tag, Tag) -> is_integer(Tag) andalso Tag >= 0 andalso Tag < 1 bsl 64;
is_option(_, _) -> false.

%% What `receive' takes.
-spec is_timeout(term()) -> boolean().
is_timeout(infinity) -> true;
is_timeout(Time) -> is_integer(Time) andalso Time >= 0 andalso Time < 1 bsl 32.

-spec policy(options(), client()) -> refuse | wait.
policy(Options, Client) ->
    case setting(on_full, Options, Client) of
        wait -> wait;
        error -> refuse
    end.

-spec setting(on_full | full_timeout | timeout, options(), client()) -> term().
setting(Key, Options, {_, Settings}) ->
    case Options of
        #{Key := Value} -> Value;
        _ -> maps:get(Key, Settings)
    end.

%% Unique in the VM: more than the driver asks for, which is per process.
-spec call_number() -> pos_integer().
call_number() ->
    erlang:unique_integer([positive]).

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
