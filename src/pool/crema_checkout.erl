%% @private Gives out the members of a pool, each to one process at a time, and
%% lets others wait in the order of arrival.
-module(crema_checkout).
-behaviour(gen_server).

-export([start_link/3]).
-export([init/1, handle_call/3, handle_cast/2, handle_info/2, terminate/2]).

-record(waiter, {
    monitor :: reference(),
    from :: gen_server:from(),
    since :: integer(),
    timer :: reference() | none
}).

-record(state, {
    pool :: pid(),
    options :: fun(() -> map()),
    %% those that run
    members = #{} :: #{Index :: pos_integer() => pid()},
    %% of these, which nobody has, the one given back last at the end
    free = [] :: [Index :: pos_integer()],
    held = #{} :: #{Member :: pid() => {Index :: pos_integer(), Holder :: reference(), pid()}},
    waiting = [] :: [#waiter{}]
}).

-spec start_link(Pool :: pid(), Members :: pid(), Options :: fun(() -> map())) ->
    gen_server:start_ret().
start_link(Pool, Members, Options) ->
    gen_server:start_link(?MODULE, {Pool, Members, Options}, []).

-spec init({pid(), pid(), fun(() -> map())}) -> {ok, #state{}} | {stop, term()}.
init({Pool, Members, Options}) ->
    process_flag(trap_exit, true),
    #{size := Size} = Options(),
    ok = crema_registry:register_pool(Pool, self(), Size),
    case start_members(Members, lists:seq(1, Size)) of
        ok ->
            State = #state{pool = Pool, options = Options},
            event([crema, pool, started], #{size => Size}, State),
            {ok, State};
        {error, Reason} ->
            {stop, Reason}
    end.

-spec start_members(pid(), [pos_integer()]) -> ok | {error, term()}.
start_members(Members, [Index | Rest]) ->
    case supervisor:start_child(Members, [self(), Index]) of
        {ok, _} -> start_members(Members, Rest);
        {error, _} = Error -> Error
    end;
start_members(_Members, []) ->
    ok.

-spec handle_call(term(), gen_server:from(), #state{}) ->
    {reply, term(), #state{}} | {noreply, #state{}}.
handle_call({checkout, default}, From, #state{options = Options} = State) ->
    #{checkout_timeout := Timeout} = Options(),
    handle_call({checkout, Timeout}, From, State);
handle_call({checkout, Timeout}, {Pid, _} = From, #state{waiting = Waiting} = State) ->
    Waiter = #waiter{
        monitor = erlang:monitor(process, Pid),
        from = From,
        since = erlang:monotonic_time(millisecond),
        timer = timer(Timeout)
    },
    {noreply, serve(State#state{waiting = Waiting ++ [Waiter]})};
handle_call({checkin, Member}, {Pid, _}, #state{held = Held} = State) ->
    case Held of
        #{Member := {_, Monitor, Pid}} ->
            true = erlang:demonitor(Monitor, [flush]),
            {reply, ok, serve(given_back(Member, State))};
        #{} ->
            Text = <<"the caller does not have this member: it was given back, or is another process's">>,
            {reply, {error, {not_found, #{message => Text}}}, State}
    end;
handle_call(stats, _From, #state{options = Options, free = Free, held = Held} = State) ->
    Stats = #{
        size => maps:get(size, Options()),
        available => length(Free),
        checked_out => map_size(Held),
        waiting => length(State#state.waiting)
    },
    {reply, Stats, State};
handle_call(_, _From, State) ->
    {reply, {error, unknown_call}, State}.

-spec timer(timeout()) -> reference() | none.
timer(infinity) -> none;
timer(Timeout) -> erlang:start_timer(Timeout, self(), checkout).

-spec handle_cast(term(), #state{}) -> {noreply, #state{}}.
handle_cast(_, State) ->
    {noreply, State}.

-spec handle_info(term(), #state{}) -> {noreply, #state{}}.
handle_info({member, Index, Member}, #state{members = Members, held = Held, free = Free} = State) ->
    _ = erlang:monitor(process, Member),
    Holders = [H || {H, _, _} <- maps:values(Held), H =:= Index],
    Now = State#state{members = Members#{Index => Member}},
    case Holders of
        [] -> {noreply, serve(Now#state{free = lists:delete(Index, Free) ++ [Index]})};
        %% It is for the one who still has it to give it back.
        [_] -> {noreply, Now}
    end;
handle_info({timeout, Timer, checkout}, #state{waiting = Waiting} = State) ->
    case lists:keytake(Timer, #waiter.timer, Waiting) of
        {value, Waiter, Rest} -> {noreply, too_late(Waiter, State#state{waiting = Rest})};
        false -> {noreply, State}
    end;
handle_info({'DOWN', Monitor, process, Pid, _}, State) ->
    {noreply, serve(gone(Monitor, Pid, State))};
handle_info(_, State) ->
    {noreply, State}.

%% A member, who has one, or who waits for one.
-spec gone(reference(), pid(), #state{}) -> #state{}.
gone(Monitor, Pid, #state{members = Members, held = Held, free = Free, waiting = Waiting} = State) ->
    Ended = [Index || {Index, Member} <- maps:to_list(Members), Member =:= Pid],
    Given = [Member || {Member, {_, Holder, _}} <- maps:to_list(Held), Holder =:= Monitor],
    Left = State#state{
        members = maps:without(Ended, Members),
        free = Free -- Ended,
        waiting = lists:keydelete(Monitor, #waiter.monitor, Waiting)
    },
    lists:foldl(fun given_back/2, Left, Given).

-spec given_back(pid(), #state{}) -> #state{}.
given_back(Member, #state{held = Held, members = Members, free = Free} = State) ->
    {{Index, _, _}, Rest} = maps:take(Member, Held),
    case Members of
        #{Index := _} -> State#state{held = Rest, free = Free ++ [Index]};
        %% It is being started again, and free then.
        #{} -> State#state{held = Rest}
    end.

%% Members to those who wait.
-spec serve(#state{}) -> #state{}.
serve(#state{free = [Index | Free], waiting = [Waiter | Waiting], members = Members} = State) ->
    #{Index := Member} = Members,
    case is_process_alive(Member) of
        true -> serve(give(Member, Index, Waiter, State#state{free = Free, waiting = Waiting}));
        %% It has just ended.
        false -> serve(State#state{free = Free, members = maps:remove(Index, Members)})
    end;
serve(State) ->
    State.

-spec give(pid(), pos_integer(), #waiter{}, #state{}) -> #state{}.
give(Member, Index, #waiter{from = {Pid, _} = From} = Waiter, #state{held = Held} = State) ->
    #waiter{monitor = Monitor, timer = Timer} = Waiter,
    _ = Timer =/= none andalso erlang:cancel_timer(Timer),
    gen_server:reply(From, {ok, Member}),
    State#state{held = Held#{Member => {Index, Monitor, Pid}}}.

-spec too_late(#waiter{}, #state{}) -> #state{}.
too_late(#waiter{from = From, monitor = Monitor, since = Since}, #state{waiting = Others} = State) ->
    true = erlang:demonitor(Monitor, [flush]),
    Waited = erlang:monotonic_time(millisecond) - Since,
    Text = io_lib:format("no member was given back within ~b ms", [Waited]),
    gen_server:reply(From, crema_error:make(pool_timeout, Text, #{})),
    event([crema, pool, checkout_timeout], #{waited => Waited, waiting => length(Others)}, State),
    State.

-spec terminate(term(), #state{}) -> ok.
terminate(_Reason, State) ->
    event([crema, pool, stopped], #{}, State).

-spec event(crema_events:event_name(), map(), #state{}) -> ok.
event(Name, Measurements, #state{pool = Pool, options = Options}) ->
    Shown = crema_child:shown_name(maps:get(name, Options())),
    crema_events:execute(Name, Measurements, #{pool => Pool, name => Shown}).
