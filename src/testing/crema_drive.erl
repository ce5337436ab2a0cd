%% @private Gives made-up messages to a consumer's handler, without a consumer: what a
%% partition's worker does (crema_handler, crema_verdict and crema_remedy, on a worker's
%% state), in the calling process, and up to the first wait.
-module(crema_drive).

-include("../port/crema_commands.hrl").
-include("../consumer/crema_worker.hrl").

-export([handle/3]).

-export_type([driven/0]).

%% What the handler returned, without its state; `{crash, Class, Reason}' when it raised.
-type verdict() :: atom() | tuple().
%% What the worker would do now: give it the next message; wait, for so long or until it
%% is told to end; end, of a crash.
-type next() :: continue | {wait, Millis :: non_neg_integer()} | stop | crash.
-type driven() :: crema_test:handled().

-record(drive, {
    worker :: #worker{},
    %% the last one first
    verdicts = [] :: [verdict()],
    %% of waits that are passed over
    retries :: non_neg_integer(),
    %% for each call of a handler of batches
    most :: pos_integer(),
    %% behind what the worker has to do
    rest :: [crema_consumer:message()]
}).

-define(SLOT, 1).
%% What a message's timestamp is of.
-define(CREATED, 1).
-define(OWN, [topic, partition, offset, state, retries]).

%% @doc The options are those of a consumer, of which none is required, and `topic',
%% `partition', the `offset' of the first message, the `state' to begin with, and
%% `retries'.
-spec handle(crema_consumer:handler(), [map() | binary()], map()) -> driven().
handle(Handler, Given, Options) ->
    Before = logger:get_process_metadata(),
    try
        driven(Handler, Given, Options)
    after
        %% The caller is no worker any more.
        case Before of
            undefined -> logger:unset_process_metadata();
            _ -> logger:set_process_metadata(Before)
        end
    end.

-spec driven(crema_consumer:handler(), [map() | binary()], map()) -> driven().
driven(Handler, Given, Options) ->
    Parsed = parsed(Handler, maps:without(?OWN, Options)),
    Topic = iolist_to_binary(topic(Options, Parsed)),
    {ok, Consumer, Letters} = crema_drive_consumer:start(Parsed),
    Place = {Topic, maps:get(partition, Options, 0)},
    #worker{place = Decoded} = Fresh = worker(Consumer, Place, with_letters(Letters, Parsed)),
    Packed = pack(Given, maps:get(offset, Options, 0)),
    Messages = crema_record_batch:messages(Packed, <<>>, {Consumer, ?SLOT}, Decoded),
    ok = crema_drive_consumer:given(Consumer, Messages),
    {Next, #drive{worker = Worker} = Drive} = go_on(
        start(Options, #drive{
            worker = Fresh,
            retries = maps:get(retries, Options, 0),
            most = maps:get(batch_messages, Parsed),
            rest = Messages
        })
    ),
    {Acked, Produced} = crema_drive_consumer:done(Consumer),
    #{
        verdicts => lists:reverse(Drive#drive.verdicts),
        acked => Acked,
        produced => Produced,
        left => Worker#worker.todo ++ Drive#drive.rest,
        next => Next,
        state => Worker#worker.handler_state,
        messages => Messages
    }.

-spec topic(map(), map()) -> iodata().
topic(#{topic := Topic}, _) when is_atom(Topic) -> atom_to_binary(Topic);
topic(#{topic := Topic}, _) -> Topic;
topic(_, #{topics := [First | _]}) -> First.

-spec parsed(crema_consumer:handler(), map()) -> map().
parsed(Handler, Options) ->
    Required = #{bootstrap_servers => "none", group => test, topics => [test], handler => Handler},
    case crema_options:parse(consumer, maps:merge(Required, Options)) of
        {ok, Parsed} -> Parsed;
        {error, Reason} -> erlang:error(Reason)
    end.

%% Dead letters are recorded, unless they have a producer of their own.
-spec with_letters(pid() | none, map()) -> map().
with_letters(none, Parsed) -> Parsed;
with_letters(Pid, #{dead_letter := Letter} = Parsed) -> Parsed#{dead_letter := Letter#{producer := Pid}}.

%% ---- messages -----------------------------------------------------------------------

%% As a batch of a broker's, so that the worker's own decoder makes them.
-spec pack([map() | binary()], Offset :: integer()) -> binary().
pack(Given, First) ->
    {Packed, _} = lists:mapfoldl(fun pack_one/2, First, Given),
    iolist_to_binary([<<(length(Given)):32>> | Packed]).

-spec pack_one(map() | binary(), integer()) -> {iodata(), integer()}.
pack_one(Value, Next) when not is_map(Value) ->
    pack_one(#{value => Value}, Next);
pack_one(Given, Next) ->
    Offset = maps:get(offset, Given, Next),
    Offset >= Next orelse erlang:error({offsets_fall, Offset}),
    case maps:keys(maps:without([offset, key, value, headers, timestamp], Given)) of
        [] -> ok;
        [Unknown | _] -> erlang:error({not_a_field, Unknown})
    end,
    {KeyFlag, Key} = part(?MESSAGE_KEY, maps:get(key, Given, undefined)),
    {ValueFlag, Value} = part(?MESSAGE_VALUE, maps:get(value, Given, undefined)),
    {HeaderFlag, Headers} = headers(maps:get(headers, Given, [])),
    Flags = (?CREATED bsl 4) bor KeyFlag bor ValueFlag bor HeaderFlag,
    Timestamp = maps:get(timestamp, Given, erlang:system_time(millisecond)),
    Sizes = <<(byte_size(Key)):32, (byte_size(Value)):32>>,
    {[<<Flags, Offset:64, Timestamp:64>>, Sizes, Key, Value, Headers], Offset + 1}.

-spec part(byte(), term()) -> {byte(), binary()}.
part(_Flag, Null) when Null =:= undefined; Null =:= nil -> {0, <<>>};
part(Flag, Bytes) -> {Flag, iolist_to_binary(Bytes)}.

-spec headers(map() | list()) -> {byte(), iodata()}.
headers(Headers) when is_map(Headers) -> headers(maps:to_list(Headers));
headers([]) -> {0, <<>>};
headers(Headers) -> {?MESSAGE_HEADERS, [<<(length(Headers)):16>> | lists:map(fun header/1, Headers)]}.

-spec header({iodata() | atom(), iodata() | undefined | nil}) -> iodata().
header({Name, Value}) when is_atom(Name) ->
    header({atom_to_binary(Name), Value});
header({Name, Value}) ->
    Size =
        case part(1, Value) of
            {0, _} -> -1;
            {1, Bytes} -> byte_size(Bytes)
        end,
    {_, Given} = part(1, Value),
    [<<(iolist_size(Name)):16>>, Name, <<Size:32>>, Given].

%% ---- the worker ---------------------------------------------------------------------

-spec worker(pid(), crema_group_events:place(), map()) -> #worker{}.
worker(Consumer, {Topic, Partition}, #{commit := Commit} = Parsed) ->
    Client = crema_client:new(consumer, none, Parsed, Consumer),
    {ok, Worker} = crema_worker:init(#{
        slot => ?SLOT,
        port => Consumer,
        group => Consumer,
        consumer => Consumer,
        topic => Topic,
        partition => Partition,
        about => crema_group_events:about(Client, Parsed),
        exactly_once =>
            case Commit of
                exactly_once -> Consumer;
                _ -> none
            end,
        policies => crema_failure:policies(Parsed),
        failed => #{},
        paused => atomics:new(1, []),
        options => Parsed
    }),
    %% The caller works for nobody.
    _ = erase(crema_child),
    Worker.

-spec start(map(), #drive{}) -> {next(), #drive{}}.
start(#{state := State}, #drive{worker = Worker} = Drive) ->
    {continue, Drive#drive{worker = Worker#worker{handler_state = State}}};
start(_, #drive{worker = #worker{handler = Handler, info = Info} = Worker} = Drive) ->
    case crema_handler:start(Handler, Info) of
        {ok, State, _Where} -> assigned(Drive#drive{worker = Worker#worker{handler_state = State}});
        Crash -> ended(Crash, crash, Drive)
    end.

-spec assigned(#drive{}) -> {next(), #drive{}}.
assigned(#drive{worker = #worker{handler = Handler, info = Info} = Worker} = Drive) ->
    case crema_handler:tell(Handler, handle_assigned, Info, Worker#worker.handler_state) of
        {ok, State} ->
            {continue, Drive#drive{worker = Worker#worker{handler_state = State}}};
        {stop, Reason, State} ->
            ended({stop, Reason, State}, stop, Drive);
        Crash ->
            ended(Crash, crash, Drive)
    end.

-spec ended(crema_handler:verdict(), next(), #drive{}) -> {next(), #drive{}}.
ended(Verdict, Next, #drive{verdicts = Verdicts} = Drive) ->
    {Next, Drive#drive{verdicts = [shown(Verdict) | Verdicts]}}.

-spec go_on({next(), #drive{}}) -> {next(), #drive{}}.
go_on({continue, #drive{worker = #worker{todo = []}, rest = []} = Drive}) ->
    {continue, Drive};
go_on({continue, #drive{worker = #worker{todo = []} = Worker, rest = Rest, most = Most} = Drive}) ->
    {Batch, Later} = lists:split(min(Most, length(Rest)), Rest),
    go_on({continue, Drive#drive{worker = Worker#worker{todo = Batch}, rest = Later}});
go_on({continue, #drive{worker = #worker{sending = none, failed = Failed}} = Drive}) when
    map_size(Failed) =:= 0
->
    go_on(call(Drive));
go_on({continue, #drive{worker = Worker} = Drive}) ->
    go_on(next(crema_remedy:first(Worker), Drive));
go_on(Ended) ->
    Ended.

-spec call(#drive{}) -> {next(), #drive{}}.
call(#drive{worker = #worker{handler = Handler, todo = Todo} = Worker, verdicts = Before} = Drive) ->
    {Given, Last, Rest} =
        case crema_handler:takes_batches(Handler) of
            true -> {Todo, lists:last(Todo), []};
            false -> {hd(Todo), hd(Todo), tl(Todo)}
        end,
    Verdict = crema_handler:call(Handler, Given, Worker#worker.handler_state),
    next(
        crema_verdict:apply(Verdict, Last, Rest, Worker),
        Drive#drive{verdicts = [shown(Verdict) | Before]}
    ).

%% Without the state, which is told at the end.
-spec shown(crema_handler:verdict()) -> verdict().
shown({crash, Class, Reason, _Stack}) -> {crash, Class, Reason};
shown({Verdict, _State}) -> Verdict;
shown(Verdict) -> erlang:delete_element(tuple_size(Verdict), Verdict).

-spec next(crema_verdict:next() | {call, list(), #worker{}}, #drive{}) -> {next(), #drive{}}.
next({next, Worker}, Drive) ->
    {continue, told(Worker, Drive)};
next({call, _Rest, Worker}, Drive) ->
    call(Drive#drive{worker = Worker});
next({wait, infinity, Worker}, Drive) ->
    {stop, told(Worker, Drive)};
next({wait, _Millis, Worker}, #drive{retries = Left} = Drive) when Left > 0 ->
    {continue, (told(Worker, Drive))#drive{retries = Left - 1}};
next({wait, Millis, Worker}, Drive) ->
    {{wait, Millis}, told(Worker, Drive)};
next({hold, Monitor, Worker}, Drive) ->
    receive
        {'DOWN', Monitor, process, _, Outcome} ->
            next(crema_remedy:sent(Monitor, Outcome, Worker), Drive)
    end;
next({stop, _Reason, Worker}, Drive) ->
    {crash, told(Worker, Drive)}.

%% What is acknowledged is told as a worker tells it, at the end of its slice.
-spec told(#worker{}, #drive{}) -> #drive{}.
told(#worker{port = Consumer, acked = Acked} = Worker, Drive) ->
    [ok] = crema_ack:tell(ack, {Consumer, Consumer}, [{?SLOT, Acked}]),
    Drive#drive{worker = Worker#worker{acked = crema_runs:new()}}.
