%% A process that produces, and writes down what it is about to do and what came of it.
%% It goes on with a new name when its client has ended: see crema_chaos_history.
-module(crema_chaos_producing).

-export([start_link/1, settle/2]).
-export([run/3, called/3]).

%% Not reported yet, at most, of those who do not wait for reports.
-define(OUTSTANDING, 300).
%% How often one that waits for reports looks whether its client has ended.
-define(LOOK_MS, 100).
%% How long is waited for reports when nothing more is produced.
-define(SETTLE_MS, 120000).

-record(state, {
    style :: one | told | called | many | awaited | transactions,
    client :: atom(),
    %% its row in crema_chaos_setup
    about :: map(),
    node :: term(),
    %% what processes are called: numbers behind that of the application's life
    names :: atomics:atomics_ref(),
    base :: integer(),
    writer :: crema_chaos_history:writer(),
    %% of this life
    pid :: pid() | undefined,
    process = 0 :: integer(),
    next = 0 :: non_neg_integer(),
    transactions = 0 :: non_neg_integer(),
    %% accepted and not reported, of those who do not wait
    outstanding = 0 :: non_neg_integer()
}).

%% @doc All of an application.
start_link(Run) ->
    %% Who counts them.
    Names = atomics:new(1, []),
    All = [
        {Of, Style}
     || #{processes := Styles} = Of <- crema_chaos_setup:producers(), Style <- Styles
    ],
    [
        spawn_link(?MODULE, run, [Of, Style, Run#{names => Names, number => Number}])
     || {Number, {Of, Style}} <- lists:enumerate(All)
    ].

%% @doc They produce no more, and have had all their reports, or not in time.
settle(Pids, Timeout) ->
    Monitors = [{erlang:monitor(process, Pid), Pid ! settle} || Pid <- Pids],
    [
        receive
            {'DOWN', Monitor, _, _, Reason} -> Reason
        after Timeout -> late
        end
     || {Monitor, _} <- Monitors
    ].

%% @private
run(#{name := Client} = About, Style, #{node := Node, folder := Folder} = Run) ->
    #{seed := Seed, life := Life, names := Names, number := Number} = Run,
    _ = rand:seed(exsss, {Seed, Life, Number}),
    live(#state{
        style = Style, client = Client, about = About, node = Node, names = Names,
        base = Life * 1000000, writer = crema_chaos_history:open(Folder)
    }).

%% Until its client ends.
live(#state{client = Client} = State) ->
    case {asked_to_settle(), whereis(Client)} of
        {true, _} -> ok;
        {false, undefined} -> pause(50), live(State);
        {false, Pid} -> rounds(born(Pid, State))
    end.

born(Pid, #state{about = About, node = Node, style = Style, names = Names} = State) ->
    #{ordering := Ordering, timeout := Timeout} = About,
    Process = State#state.base + atomics:add_get(Names, 1, 1),
    Name = {Node, pid_to_list(Pid)},
    New = State#state{pid = Pid, process = Process, next = 0, transactions = 0, outstanding = 0},
    write(New, [
        #{what => client, client => Name, node => Node, ordering => Ordering, timeout => Timeout,
            transactional => Style =:= transactions},
        #{what => process, process => Process, node => Node}
    ]),
    New.

rounds(#state{pid = Pid, outstanding = Outstanding} = State) ->
    Ending = asked_to_settle(),
    case is_process_alive(Pid) of
        _ when Ending ->
            reports(State, 1, ?SETTLE_MS);
        false ->
            live(reports(State, 1, ?SETTLE_MS));
        true when Outstanding >= ?OUTSTANDING ->
            rounds(reports(State, ?OUTSTANDING, ?LOOK_MS));
        true ->
            New = reports(call(State), ?OUTSTANDING, 0),
            pause(between(pace(State))),
            rounds(New)
    end.

%% Once it is told to it stays so: the message is put back.
asked_to_settle() ->
    receive
        settle -> self() ! settle, true
    after 0 -> false
    end.

%% Milliseconds between two calls.
pace(#state{style = many}) -> {500, 4000};
pace(#state{style = awaited}) -> {500, 2000};
pace(#state{style = transactions}) -> {50, 400};
pace(_) -> {10, 100}.

call(#state{style = one} = State) ->
    {[{N, Message}], New} = prepared(1, none, State),
    after_call([N], New, crema:produce(New#state.pid, Message, #{timeout => between({200, 5000})}));
call(#state{style = many} = State) ->
    {Numbered, New} = prepared(between({1, 100}), none, State),
    {Numbers, Messages} = lists:unzip(Numbered),
    Options = #{timeout => between({200, 5000})},
    after_call(Numbers, New, crema:produce_many(New#state.pid, Messages, Options));
call(#state{style = awaited} = State) ->
    {Numbered, New} = prepared(between({1, 100}), none, State),
    {Numbers, Messages} = lists:unzip(Numbered),
    case crema:produce_many_async(New#state.pid, Messages) of
        {ok, Ref} -> awaited(Numbers, New, Ref);
        Error -> after_call(Numbers, New, Error)
    end;
call(#state{style = transactions} = State) ->
    transaction(State);
call(#state{style = Style} = State) ->
    {[{First, _} | _] = Numbered, New} = prepared(between({1, 5}), none, State),
    {Numbers, Messages} = lists:unzip(Numbered),
    Options = report(Style, First),
    case crema:produce_many_async(New#state.pid, Messages, Options) of
        ok ->
            write(New, #{what => accepted, process => New#state.process, numbers => Numbers}),
            New#state{outstanding = New#state.outstanding + length(Numbers)};
        Error ->
            after_call(Numbers, New, Error)
    end.

report(told, First) -> #{report => message, tag => First};
report(called, _First) -> #{report => {?MODULE, called, [self(), label]}}.

%% @private A callback.
called(Result, Pid, label) ->
    Label =
        case Result of
            {ok, #{label := Of}} -> Of;
            {error, {_, #{label := Of}}} -> Of
        end,
    Pid ! {called, Label, Result}.

%% Messages with their numbers, which are written down.
prepared(Count, Transaction, #state{process = Process, next = Next} = State) ->
    #state{about = #{topic := Topic}, client = Client, node = Node, pid = Pid} = State,
    Numbers = lists:seq(Next, Next + Count - 1),
    write(State, #{
        what => produce, process => Process, client => {Node, pid_to_list(Pid)}, topic => Topic,
        numbers => Numbers, transaction => Transaction
    }),
    Partitions = partitions(Client, Pid, Topic),
    {[{N, message(Topic, Process, N, Partitions)} || N <- Numbers], State#state{next = Next + Count}}.

%% All, one after another, so that a process has an order to keep in each; or its key's.
partitions(hasty, _, _) -> of_key;
partitions(loose, Pid, Topic) ->
    case crema:partition_count(Pid, Topic) of
        {ok, Count} -> Count;
        {error, _} -> crema_chaos_setup:partitions()
    end;
partitions(_, _, _) -> crema_chaos_setup:partitions().

message(Topic, Process, Number, Partitions) ->
    Padding = binary:copy(<<".">>, rand:uniform(200)),
    Value = [integer_to_list(Process), $/, integer_to_list(Number), $/, Padding],
    Message = #{
        topic => Topic, key => integer_to_binary(Process), value => iolist_to_binary(Value),
        label => Number
    },
    case Partitions of
        of_key -> Message;
        _ -> Message#{partition => (Process + Number) rem Partitions}
    end.

after_call(Numbers, State, {ok, Results}) when is_list(Results) ->
    reported(lists:zip(Numbers, Results), State);
after_call(Numbers, State, {error, {timeout, #{ref := Ref}}}) ->
    awaited(Numbers, State, Ref);
after_call([N], State, {ok, _} = Result) ->
    reported([{N, Result}], State);
after_call([N], State, {error, {_, #{status := _}}} = Result) ->
    reported([{N, Result}], State);
after_call(Numbers, #state{process = Process} = State, {error, {Code, Details}}) ->
    write(State, #{
        what => refused, process => Process, numbers => Numbers,
        reason => {Code, maps:with([message], Details)}
    }),
    State.

awaited(Numbers, #state{process = Process} = State, Ref) ->
    write(State, #{what => accepted, process => Process, numbers => Numbers}),
    case crema:await(Ref, ?SETTLE_MS) of
        %% Which the checker will tell.
        {error, {Code, _}} when Code =:= timeout; Code =:= unknown_reference -> State;
        Result -> after_call(Numbers, State, Result)
    end.

%% ---- reports that come later -------------------------------------------------------------

%% Takes what has come, and waits until there are fewer outstanding than so many.
reports(#state{outstanding = Outstanding} = State, Below, Wait) ->
    receive
        {crema_reports, _, _} = Message ->
            Reports = crema:reports(Message),
            reports(reported_later(Reports, State), Below, Wait);
        {called, Number, Result} ->
            reports(reported_later([{Number, Result}], State), Below, Wait)
    after wait(Outstanding < Below, Wait) ->
        State
    end.

wait(true, _) -> 0;
wait(false, Wait) -> Wait.

reported_later(Reports, #state{outstanding = Outstanding} = State) ->
    reported(Reports, State#state{outstanding = Outstanding - length(Reports)}).

reported(Reports, #state{process = Process} = State) ->
    Told = [{Number, outcome(Result)} || {Number, Result} <- Reports],
    write(State, #{what => reported, process => Process, reports => Told}),
    State.

outcome({ok, #{partition := Partition, offset := Offset}}) -> {delivered, Partition, Offset};
outcome({error, {Code, #{status := not_persisted}}}) -> {failed, not_persisted, Code};
outcome({error, {Code, #{status := _}}}) -> {failed, possibly_persisted, Code}.

%% ---- transactions --------------------------------------------------------------------------

%% What it has come to, also when it raises: the state is in the process's dictionary.
transaction(#state{process = Process, transactions = Count} = State) ->
    Name = {Process, Count},
    write(State, #{
        what => begun, transaction => Name, process => Process,
        client => {State#state.node, pid_to_list(State#state.pid)}
    }),
    _ = put(state, State#state{transactions = Count + 1}),
    Outcome =
        try crema:transaction(State#state.pid, fun(Handle) -> inside(Handle, Name) end) of
            {ok, _} -> committed;
            {error, {commit_unknown, _}} -> unknown;
            {aborted, planned} -> aborted;
            {error, _} -> aborted
        catch
            error:planned -> aborted
        end,
    write(State, #{what => ended, transaction => Name, outcome => Outcome}),
    erase(state).

inside(Handle, Name) ->
    [some(Handle, Name) || _ <- lists:seq(1, between({1, 3}))],
    State = get(state),
    case rand:uniform(10) of
        N when N =< 2 ->
            write(State, #{what => abort_asked, transaction => Name}),
            crema:abort(Handle, planned);
        3 ->
            write(State, #{what => abort_asked, transaction => Name}),
            error(planned);
        _ ->
            write(State, #{what => commit_asked, transaction => Name})
    end.

some(Handle, Name) ->
    {Numbered, New} = prepared(between({1, 20}), Name, get(state)),
    _ = put(state, New),
    {Numbers, Messages} = lists:unzip(Numbered),
    %% Each is reported by the end of its transaction.
    after_call(Numbers, New, crema:produce_many(Handle, Messages)).

%% ---- common ----------------------------------------------------------------------------------

write(#state{writer = Writer}, Entries) -> crema_chaos_history:write(Writer, Entries).

between({Least, Most}) -> Least + rand:uniform(Most - Least + 1) - 1.

pause(Millis) ->
    receive
    after Millis -> ok
    end.
