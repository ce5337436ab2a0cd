%% @private Stands in for the consumer of a handler that is given made-up messages
%% (crema_drive): takes what is acknowledged or declared failed, by whatever process,
%% and is asked for it by tests. It ends with the process that has started it.
-module(crema_drive_consumer).
-behaviour(gen_server).

-include("../port/crema_commands.hrl").

-export([start/1, given/2, done/1, await/2]).
-export([init/1, handle_call/3, handle_cast/2, handle_info/2]).

-record(state, {
    test :: pid(),
    options :: map(),
    given = [] :: [integer()],
    acked = [] :: [integer()],
    nacked = [] :: [{integer(), Reason :: term()}],
    %% the last one first
    produced = [] :: [map()],
    %% who waits for the acknowledgement of one
    waiting = [] :: [{gen_server:from(), integer()}]
}).

%% @doc For a handler with these parsed options; and who takes its dead letters.
-spec start(map()) -> {ok, pid(), Letters :: pid() | none}.
start(Options) ->
    {ok, Pid} = gen_server:start(?MODULE, {self(), Options}, []),
    {ok, Pid, gen_server:call(Pid, letters)}.

%% @doc Of these offsets it is told.
-spec given(pid(), [crema_consumer:message()]) -> ok.
given(Pid, Messages) ->
    gen_server:call(Pid, {given, [Offset || #{offset := Offset} <- Messages]}).

%% @doc What is acknowledged, and what was produced with it, exactly once.
-spec done(pid()) -> {Acked :: [integer()], Produced :: [map()]}.
done(Pid) ->
    gen_server:call(Pid, done).

%% @doc Waits until a message is acknowledged, for so many milliseconds at most; what it
%% is then.
-spec await(crema_consumer:token(), timeout()) -> waiting | acked | {nacked, Reason :: term()}.
await({crema_token, Pid, _, Offset}, 0) ->
    gen_server:call(Pid, {state, Offset});
await({crema_token, Pid, _, Offset} = Token, Timeout) ->
    try
        gen_server:call(Pid, {await, Offset}, Timeout)
    catch
        exit:{timeout, _} -> await(Token, 0)
    end.

-spec init({pid(), map()}) -> {ok, #state{}}.
init({Test, #{commit := Commit} = Options}) ->
    process_flag(trap_exit, true),
    _ = erlang:monitor(process, Test),
    ok = crema_registry:register(consumer, self(), #{commit => Commit}, #{}),
    {ok, #state{test = Test, options = Options}}.

-spec handle_call(term(), gen_server:from(), #state{}) ->
    {reply, term(), #state{}} | {noreply, #state{}}.
handle_call(letters, _From, #state{options = #{dead_letter := Letter}} = State) ->
    {reply, letters(Letter), State};
handle_call({given, Offsets}, _From, State) ->
    {reply, ok, State#state{given = Offsets}};
handle_call(done, _From, #state{acked = Acked, produced = Produced} = State) ->
    {reply, {lists:sort(Acked), lists:reverse(Produced)}, State};
handle_call({await, Offset}, From, #state{acked = Acked, waiting = Waiting} = State) ->
    case lists:member(Offset, Acked) of
        true -> {reply, acked, State};
        false -> {noreply, State#state{waiting = [{From, Offset} | Waiting]}}
    end;
handle_call({state, Offset}, _From, #state{acked = Acked, nacked = Nacked} = State) ->
    case {lists:member(Offset, Acked), lists:keyfind(Offset, 1, Nacked)} of
        {true, _} -> {reply, acked, State};
        {false, {_, Reason}} -> {reply, {nacked, Reason}, State};
        {false, false} -> {reply, waiting, State}
    end;
handle_call({add, _Worker, _Slot, {From, To}, Messages}, _From, #state{produced = Before} = State) ->
    New = acked([{From, To}], State),
    {reply, ok, New#state{produced = lists:reverse(Messages, Before)}};
handle_call({command, ?CMD_ACK, <<_Slot:64, Runs/binary>>, _}, _From, State) ->
    {reply, ok, acked([{From, To} || <<From:64, To:64>> <= Runs], State)};
handle_call({command, ?CMD_WAITING, _, _}, _From, #state{given = Given, acked = Acked} = State) ->
    {reply, {ok, [{Offset, Offset} || Offset <- Given -- Acked]}, State};
handle_call(_, _From, State) ->
    {reply, crema_error:make(unknown_command, "not while messages are made up", #{}), State}.

%% Linked, it ends with this process.
-spec letters(undefined | #{producer := term(), _ => _}) -> pid() | none.
letters(#{producer := Own}) when is_function(Own, 0) ->
    {ok, Pid} = crema_producer:start_link(#{record => true}),
    Pid;
letters(_) ->
    none.

-spec acked([{integer(), integer()}], #state{}) -> #state{}.
acked(Runs, #state{given = Given, acked = Before, waiting = Waiting} = State) ->
    New = [O || O <- Given, {From, To} <- Runs, From =< O, O =< To, not lists:member(O, Before)],
    {Told, Left} = lists:partition(fun({_, Offset}) -> lists:member(Offset, New) end, Waiting),
    lists:foreach(fun({From, _}) -> gen_server:reply(From, acked) end, Told),
    State#state{acked = New ++ Before, waiting = Left}.

-spec handle_cast(term(), #state{}) -> {noreply, #state{}}.
handle_cast({nacked, _Slot, Runs, Reason}, #state{nacked = Nacked} = State) ->
    Failed = [{Offset, Reason} || Offset <- crema_runs:offsets(Runs)],
    {noreply, State#state{nacked = Nacked ++ Failed}};
handle_cast(_, State) ->
    {noreply, State}.

-spec handle_info(term(), #state{}) -> {noreply, #state{}} | {stop, normal, #state{}}.
handle_info({'DOWN', _, process, Test, _}, #state{test = Test} = State) ->
    {stop, normal, State};
handle_info(_, State) ->
    {noreply, State}.
