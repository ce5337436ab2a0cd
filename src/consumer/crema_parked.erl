%% @private A partition's worker between two clients: it does nothing, keeps its
%% handler's state, and goes on with a slot of the new one, where that begins. What it
%% had of the old one's and has not handled comes again.
-module(crema_parked).

-include("crema_worker.hrl").

-export([park/1, attach/2, gathered/3]).

-type worker() :: #worker{}.

%% @doc It has told what is acknowledged. Who waits for it hears of it.
-spec park(worker()) -> worker().
park(#worker{parallel = none, group = Group, slot = Slot} = Worker) ->
    Group ! {crema_parked, Slot},
    Worker#worker{parked = true};
park(#worker{parallel = Parallel} = Worker) ->
    Parallel ! {crema_parked, self()},
    Worker#worker{parked = true}.

%% @doc It has that slot of the new client. A pause goes on, and so does what the
%% handler had begun with by its `start'.
-spec attach(map(), worker()) -> worker().
attach(#{slot := Slot, port := Port, start := Position}, Worker) ->
    #worker{options = Options, handler = Handler, parallel = Parallel} = Worker,
    Alone = Parallel =:= none,
    Worker#worker{
        slot = Slot,
        port = Port,
        failures = 0,
        start = start(Worker#worker.start, Position),
        sending = none,
        wait = wait(Worker),
        todo = [],
        gathered = gathered(Options, Parallel, Handler),
        share = none,
        nacked = crema_nacked:new({Port, Slot}),
        found = #{},
        expiry = crema_expiry:new(maps:get(ack_timeout, Options), Alone),
        acked = crema_runs:new(),
        parked = false
    }.

%% What was asked of the old client has been answered, or is no more.
-spec start(Before, none | non_neg_integer()) -> none | crema_control:where() when
    Before :: none | crema_control:where() | {asked, reference(), crema_control:where()}.
start({asked, Ref, Where}, _Position) ->
    receive
        {Ref, _} -> Where
    after 0 -> Where
    end;
start(none, Position) ->
    Position;
start(Where, _Position) ->
    Where.

%% But for what is of the old slot: its end, and the outcome of what is sent on.
-spec wait(worker()) -> none | reference().
wait(#worker{wait = for_ever}) ->
    none;
wait(#worker{wait = Monitor} = Worker) ->
    case crema_remedy:is_sending(Worker) of
        true ->
            true = erlang:demonitor(Monitor, [flush]),
            none;
        false ->
            Monitor
    end.

%% @doc Nothing yet. Shares come as soon as those before are done: they are not gathered.
-spec gathered(map(), pid() | none, crema_handler:handler()) -> crema_gather:gathered().
gathered(#{batch_age := Age} = Options, none, Handler) ->
    case crema_handler:takes_batches(Handler) of
        true ->
            #{batch_messages := Messages, batch_bytes := Bytes} = Options,
            crema_gather:new(Age, Messages, Bytes);
        false ->
            crema_gather:new(0, 1, 1)
    end;
gathered(_Options, _Parallel, _Handler) ->
    crema_gather:new(0, 1, 1).
