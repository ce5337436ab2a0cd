%% @private The process of one assigned partition whose messages are handled by
%% several workers at once (option `concurrency'). It takes the slot's batches and
%% shares them out; the workers handle, acknowledge and fail as they would alone.
%%
%% `{key, N}': a key's messages go to one worker, so each key's are handled in
%% order; those without a key go round. `{any, N}': whoever is free gets the next
%% few. The window in the core (c_src/core/window.c) keeps offsets without a gap,
%% whatever the order.
%%
%% The partition is one in failure: when a worker ends, the others finish the
%% message they are at, and all begin anew with what is not acknowledged.
-module(crema_parallel).
-behaviour(gen_server).

-include("../port/crema_commands.hrl").
-include("crema_worker.hrl").

-export([start_link/1, kill/1]).
-export([init/1, handle_call/3, handle_cast/2, handle_info/2, terminate/2]).
-export([format_status/1]).

%% Fresh ones were asked for, as others are once they are handled; what is
%% delivered again was paid for, and may have failed.
-type entry() ::
    {fresh | again | {Reason :: term(), Before :: non_neg_integer()}, crema_consumer:message()}.

-record(parallel, {
    slot :: pos_integer(),
    port :: port(),
    source :: {Group :: pid(), Slot :: pos_integer()},
    place :: {Topic :: binary(), Partition :: non_neg_integer(), crema_record_batch:form()},
    order :: key | any,
    count :: pos_integer(),
    %% in the order of their numbers
    workers = [] :: [pid()],
    %% whose share is not handled yet; `any' only: those without one
    free = [] :: [pid()],
    %% messages that nobody has a share in yet: `any' only
    backlog = [] :: [entry()],
    %% what was declared failed and comes again
    nacked :: crema_nacked:nacked(),
    %% the next worker for a message without a key
    next = 0 :: non_neg_integer(),
    %% who is not parked yet, while they are to be
    parking = [] :: [pid()],
    %% why it ends, once it does
    ending = none :: none | {because, Reason :: term()}
}).
-type state() :: #parallel{}.
-type next() :: {noreply, state()} | {stop, term(), state()}.

%% So many messages a share of `any' has at most: behind a slow message they wait.
-define(SHARE, 20).

%% Far more than it takes.
-define(KILL_MS, 1000).

-spec start_link(map()) -> gen_server:start_ret().
start_link(Work) ->
    gen_server:start_link(?MODULE, Work, [{hibernate_after, ?QUIET_MS}]).

%% @doc Called in the group's member: ends it at once, and all of its workers, whatever
%% they are doing.
-spec kill(pid()) -> ok.
kill(Parallel) ->
    Monitor = erlang:monitor(process, Parallel),
    true = exit(Parallel, kill_workers),
    receive
        {'DOWN', Monitor, process, Parallel, _} -> ok
    after ?KILL_MS ->
        %% Somebody has suspended it.
        true = exit(Parallel, kill),
        true = erlang:demonitor(Monitor, [flush]),
        ok
    end.

-spec init(map()) -> {ok, state()}.
init(#{slot := Slot, options := #{concurrency := {Order, Count}} = Options} = Work) ->
    process_flag(trap_exit, true),
    #{port := Port, group := Group, topic := Topic, partition := Partition} = Work,
    {ok, #parallel{
        slot = Slot,
        port = Port,
        source = {Group, Slot},
        place = {Topic, Partition, crema_record_batch:form(Options)},
        order = Order,
        count = Count,
        nacked = crema_nacked:new({Port, Slot})
    }}.

-spec handle_call(term(), gen_server:from(), state()) -> {reply, term(), state()}.
handle_call(_, _From, State) ->
    {reply, {error, unknown_call}, State}.

-spec handle_cast(term(), state()) -> next().
handle_cast({begin_work, Work}, #parallel{count = Count} = State) ->
    Workers = [start_worker(Number, Work) || Number <- lists:seq(1, Count)],
    take(Work, State#parallel{workers = Workers, free = Workers});
handle_cast({drain, Why}, State) ->
    finish(normal, Why, State);
handle_cast({nacked, Runs, Reason}, #parallel{nacked = Nacked} = State) ->
    {noreply, State#parallel{nacked = crema_nacked:redeliver(Runs, Reason, Nacked)}};
handle_cast({partition_error, Reason}, #parallel{workers = Workers} = State) ->
    ok = lists:foreach(fun(W) -> crema_worker:partition_error(W, Reason) end, Workers),
    {noreply, State};
handle_cast(park, #parallel{workers = Workers} = State) ->
    ok = lists:foreach(fun(Worker) -> gen_server:cast(Worker, park) end, Workers),
    {noreply, State#parallel{parking = Workers}};
handle_cast({attach, #{slot := Slot, port := Port} = Work}, #parallel{workers = Workers} = State) ->
    ok = lists:foreach(fun(Worker) -> gen_server:cast(Worker, {attach, Work}) end, Workers),
    {Group, _} = State#parallel.source,
    take(Work, State#parallel{
        slot = Slot,
        port = Port,
        source = {Group, Slot},
        free = Workers,
        backlog = [],
        parking = [],
        nacked = crema_nacked:new({Port, Slot})
    });
handle_cast(resume, #parallel{workers = Workers} = State) ->
    ok = lists:foreach(fun crema_worker:resume/1, Workers),
    {noreply, State};
handle_cast(_, State) ->
    {noreply, State}.

-spec start_worker(pos_integer(), map()) -> pid().
start_worker(Number, Work) ->
    Own = Work#{parallel => {self(), Number}},
    {ok, Worker} = crema_worker:start_link(Own),
    ok = crema_worker:begin_work(Worker, Own),
    Worker.

-spec take(map(), state()) -> next().
take(#{options := #{batch_messages := Most}}, #parallel{port = Port, slot = Slot} = State) ->
    case crema_port:command(Port, ?CMD_TAKE, <<Slot:64>>) of
        ok -> {noreply, demand(2 * Most, State)};
        {error, _} -> finish({shutdown, {slot_gone, Slot}}, revoked, State)
    end.

-spec demand(non_neg_integer(), state()) -> state().
demand(0, State) ->
    State;
demand(Count, #parallel{port = Port, slot = Slot} = State) ->
    _ = crema_port:command(Port, ?CMD_DEMAND, <<Slot:64, Count:32>>),
    State.

-spec handle_info(term(), state()) -> next().
handle_info({crema_batch, Slot, Packed, Mask}, #parallel{slot = Slot, ending = none} = State) ->
    Messages = crema_record_batch:messages(Packed, Mask, State#parallel.source, State#parallel.place),
    {noreply, share_out_again(Mask, Messages, State)};
%% The group tells why, and to end.
handle_info({crema_slot_end, Slot} = End, #parallel{slot = Slot, workers = Workers} = State) ->
    ok = lists:foreach(fun(Worker) -> Worker ! End end, Workers),
    {noreply, State};
handle_info({crema_parked, Worker}, #parallel{parking = Parking, source = {Group, Slot}} = State) ->
    Left = lists:delete(Worker, Parking),
    _ = Left =:= [] andalso (Group ! {crema_parked, Slot}),
    {noreply, State#parallel{parking = Left, backlog = []}};
handle_info({crema_share_done, Worker, Fresh}, #parallel{ending = none} = State) ->
    {noreply, next_share(Worker, demand(Fresh, State))};
handle_info({'EXIT', Group, kill_workers}, #parallel{source = {Group, _}} = State) ->
    {stop, {shutdown, kill_workers}, State};
handle_info({'EXIT', Pid, Reason}, #parallel{workers = Workers} = State) ->
    case lists:member(Pid, Workers) of
        true -> finish(why(Pid, Reason), reset, State#parallel{workers = lists:delete(Pid, Workers)});
        false -> {noreply, State}
    end;
handle_info(_, State) ->
    {noreply, State}.

%% Who was killed is known, for the group's member knows what it was at.
-spec why(pid(), Reason :: term()) -> term().
why(_Pid, normal) -> normal;
why(_Pid, {shutdown, _} = Reason) -> Reason;
why(Pid, Reason) -> {shutdown, {killed, Pid, Reason}}.

%% The first reason is the partition's.
-spec finish(term(), crema_worker:ending(), state()) -> next().
finish(Reason, Why, #parallel{ending = none, workers = Workers} = State) ->
    ok = lists:foreach(fun(Worker) -> crema_worker:drain(Worker, Why) end, Workers),
    ended(State#parallel{ending = {because, Reason}});
finish(_Reason, _Why, State) ->
    ended(State).

-spec ended(state()) -> next().
ended(#parallel{workers = [], ending = {because, Reason}} = State) -> {stop, Reason, State};
ended(State) -> {noreply, State}.

%% A handler that traps exits would outlive the link.
-spec terminate(term(), state()) -> ok.
terminate(_Reason, #parallel{workers = Workers}) ->
    lists:foreach(fun(Worker) -> exit(Worker, kill) end, Workers).

%% ---- shares --------------------------------------------------------------------

-spec share_out_again(Mask :: binary(), [crema_consumer:message()], state()) -> state().
share_out_again(<<>>, Messages, State) ->
    share_out([{fresh, Message} || Message <- Messages], State);
share_out_again(_Mask, Messages, #parallel{nacked = Before} = State) ->
    {Found, Nacked} = crema_nacked:found(Messages, Before),
    Entries = [{maps:get(Offset, Found, again), M} || #{offset := Offset} = M <- Messages],
    come_again(Entries, State#parallel{nacked = Nacked}).

%% In the order of offsets, as all shares are: by that a worker acknowledges them.
-spec come_again([entry()], state()) -> state().
come_again(Entries, #parallel{order = any, backlog = Backlog} = State) ->
    IsBefore = fun({_, #{offset := One}}, {_, #{offset := Other}}) -> One =< Other end,
    share_out([], State#parallel{backlog = lists:merge(IsBefore, Backlog, Entries)});
come_again(Entries, State) ->
    share_out(Entries, State).

-spec share_out([entry()], state()) -> state().
share_out(Entries, #parallel{order = any, backlog = Backlog, free = Free} = State) ->
    lists:foldl(fun next_share/2, State#parallel{backlog = Backlog ++ Entries, free = []}, Free);
share_out(Entries, #parallel{order = key, workers = Workers, next = Next} = State) ->
    Count = State#parallel.count,
    {Numbered, New} = lists:mapfoldl(fun(E, N) -> number(E, N, Count) end, Next, Entries),
    Shares = maps:groups_from_list(fun({N, _}) -> N end, fun({_, Entry}) -> Entry end, Numbered),
    maps:foreach(fun(N, Share) -> give(lists:nth(N, Workers), Share) end, Shares),
    State#parallel{next = New}.

%% The worker that an entry is for; messages without a key go round.
-spec number(entry(), non_neg_integer(), pos_integer()) ->
    {{pos_integer(), entry()}, non_neg_integer()}.
number({_, #{key := Key}} = Entry, Next, Count) when is_binary(Key) ->
    {{erlang:phash2(Key, Count) + 1, Entry}, Next};
number(Entry, Next, Count) ->
    {{Next + 1, Entry}, (Next + 1) rem Count}.

%% Few at a time, so that all have some and nothing waits long behind a slow one.
-spec next_share(pid(), state()) -> state().
next_share(_Worker, #parallel{order = key} = State) ->
    State;
next_share(Worker, #parallel{backlog = [], free = Free} = State) ->
    State#parallel{free = [Worker | Free]};
next_share(Worker, #parallel{backlog = Backlog, count = Count} = State) ->
    Size = max(1, min(?SHARE, length(Backlog) div Count)),
    {Share, Rest} = alike(lists:split(Size, Backlog)),
    ok = give(Worker, Share),
    State#parallel{backlog = Rest}.

%% What was declared failed is judged by the first of it for all of a batch: so nothing
%% else is in a share with it.
-spec alike({[entry(), ...], [entry()]}) -> {[entry(), ...], [entry()]}.
alike({[First | _] = Share, Rest}) ->
    Failed = has_failed(First),
    {Alike, Others} = lists:splitwith(fun(Entry) -> has_failed(Entry) =:= Failed end, Share),
    {Alike, Others ++ Rest}.

-spec has_failed(entry()) -> boolean().
has_failed({{_, _}, _}) -> true;
has_failed({_, _}) -> false.

-spec give(pid(), [entry(), ...]) -> ok.
give(Worker, Share) ->
    Fresh = length([Message || {fresh, Message} <- Share]),
    Found = maps:from_list([{O, Failed} || {{_, _} = Failed, #{offset := O}} <- Share]),
    Worker ! {crema_share, [Message || {_, Message} <- Share], Fresh, Found},
    ok.

-spec format_status(gen_server:format_status()) -> gen_server:format_status().
format_status(Status) ->
    crema_secret:status(Status, fun(#parallel{slot = Slot, place = Place}) -> {Slot, Place} end).
