%% @private The transactions of one producer: gives them out one at a time, and
%% commands librdkafka's calls for them, of which one runs at a time.
%%
%% States: `gone', there is no client, or none that is of use; `busy', a call is
%% under way or waits to be tried again (a client's first initialises); `idle';
%% `running', a transaction is open and its owner's. The producer tells of each
%% client that it opens and gives up.
-module(crema_transaction_server).
-behaviour(gen_statem).

-export([callback_mode/0, init/1, gone/3, busy/3, idle/3, running/3]).

-record(open, {
    epoch :: crema_transactions:epoch(),
    owner :: pid(),
    monitor :: reference(),
    abort_wait :: non_neg_integer(),
    began = crema_deadline:now() :: integer(),
    dead = false :: boolean()
}).

-record(command, {
    what :: init | 'begin' | send_offsets | commit | first_report | abort,
    %% who is told the end
    to = none :: none | gen_statem:from(),
    attempt = 1 :: pos_integer(),
    began = crema_deadline:now() :: integer(),
    ref = none :: none | crema_port:tag(),
    offsets = none :: none | crema_transaction_step:offsets(),
    %% of an abort, and of the wait before it
    outcome = none :: none | crema_transactions:outcome(),
    cause = error :: crema_transaction_event:cause()
}).

-record(data, {
    port = none :: none | crema_port:client(),
    %% of the events
    metadata :: map(),
    options :: crema_transactions:options(),
    epoch = 0 :: non_neg_integer(),
    turns = crema_turns:new() :: crema_turns:turns(),
    open = none :: none | #open{},
    command = none :: none | #command{},
    %% transactions that ended before their owner knew
    ended = #{} :: #{
        crema_transactions:epoch() => {pid(), reference(), crema_transactions:outcome()}
    },
    %% why it is not initialised, or of no use
    trouble = none :: none | crema_error:reason(),
    stopping = none :: none | gen_statem:from(),
    %% the producer has gone on without us
    left = false :: boolean()
}).

-type data() :: #data{}.
-type result() :: gen_statem:state_function_result() | gen_statem:event_handler_result(atom()).

-define(MAX_EPOCH, 16#FFFFFFFF).

%% ---- states --------------------------------------------------------------------

-spec callback_mode() -> state_functions.
callback_mode() -> state_functions.

-spec init({map(), crema_transactions:options()}) -> {ok, gone, data()}.
init({#{client := Producer} = Metadata, Options}) ->
    ok = crema_child:works_for(Producer),
    {ok, gone, #data{metadata = Metadata, options = Options}}.

-spec gone(gen_statem:event_type(), term(), data()) -> result().
gone(cast, {client, Port}, #data{left = false} = Data) when not is_tuple(Port), Port =/= none ->
    run(#command{what = init}, Data#data{port = Port, trouble = none}, []);
gone(cast, {client, {error, Reason}}, #data{turns = Turns} = Data) ->
    {keep_state, Data#data{turns = crema_turns:clear(Turns), trouble = Reason},
        crema_turns:refusals(crema_turns:all(Turns), {error, Reason})};
gone(cast, _, _Data) ->
    keep_state_and_data;
gone({call, From}, {enter, _, _, _, _}, #data{left = true, trouble = Reason}) ->
    {keep_state_and_data, [{reply, From, {error, Reason}}]};
gone({call, From}, {finish, Epoch, _}, Data) ->
    left(collect(From, Epoch, Data));
gone(info, {'DOWN', Monitor, _, _, _}, Data) ->
    left(forget(Monitor, Data));
gone(Type, Event, Data) ->
    idle(Type, Event, Data).

-spec left(result()) -> result().
left({keep_state, #data{left = true} = Data}) -> leave([], Data);
left({keep_state, #data{left = true} = Data, All}) -> leave([R || {reply, _, _} = R <- All], Data);
left(Result) -> Result.

-spec busy(gen_statem:event_type(), term(), data()) -> result().
busy(info, {Ref, Bytes}, #data{command = #command{ref = Ref} = Command} = Data) ->
    finished(Command, crema_port:answer(Bytes), Data#data{command = none});
busy({timeout, retry}, now, #data{command = #command{ref = none} = Command} = Data) ->
    run(Command, Data);
busy({timeout, first_report}, now, #data{command = #command{what = first_report} = Command} = Data) ->
    run(Command#command{what = abort}, Data);
busy({timeout, offsets}, Ref, #data{command = #command{ref = Ref}, metadata = #{client := Producer}}) ->
    %% The client is of no use any more: its producer ends it, and tells us.
    ok = gen_server:cast(Producer, {fatal, crema_transaction_error:offsets_lost()}),
    keep_state_and_data;
busy({timeout, unheard}, now, #data{command = #command{to = To, outcome = Told} = Command} = Data) when
    To =/= none, Told =/= none
->
    %% An abort that is decided, and goes on.
    {keep_state, Data#data{command = Command#command{to = none}}, [{reply, To, Told}]};
busy({call, From}, {finish, Epoch, _}, #data{ended = Ended, command = Command} = Data) when
    is_map_key(Epoch, Ended), (Data#data.open)#open.epoch =:= Epoch
->
    %% It is being aborted already.
    Waits = Data#data{command = Command#command{to = From}, ended = maps:remove(Epoch, Ended)},
    {keep_state, Waits, [unheard(Data)]};
busy({call, From}, {stop, Timeout}, #data{command = #command{what = What}} = Data) ->
    New = Data#data{stopping = From},
    case lists:member(What, [init, 'begin']) of
        true -> shut_down(New, []);
        false -> {keep_state, New, [{{timeout, stop}, Timeout, now}]}
    end;
busy({call, _}, Request, _) when element(1, Request) =/= enter, element(1, Request) =/= is_owner ->
    {keep_state_and_data, [postpone]};
busy(Type, Event, Data) ->
    any(Type, Event, Data).

-spec idle(gen_statem:event_type(), term(), data()) -> result().
idle({call, From}, {stop, _}, Data) ->
    shut_down(Data#data{stopping = From}, []);
idle({call, From}, {finish, Epoch, _}, Data) ->
    collect(From, Epoch, Data);
idle({call, From}, {is_current, _}, _Data) ->
    {keep_state_and_data, [{reply, From, false}]};
idle({call, From}, Request, _Data) when
    element(1, Request) =:= abort; element(1, Request) =:= send_offsets
->
    {keep_state_and_data, [{reply, From, crema_transaction_error:stale()}]};
idle(Type, Event, Data) ->
    any(Type, Event, Data).

-spec running(gen_statem:event_type(), term(), data()) -> result().
running({call, From}, {finish, Epoch, commit}, #data{open = #open{epoch = Epoch}} = Data) ->
    run(#command{what = commit, to = From}, Data);
running({call, From}, {finish, Epoch, abort}, #data{open = #open{epoch = Epoch}} = Data) ->
    abort_open(From, {aborted, exception}, exception, Data, []);
running({call, From}, {abort, Epoch, Reason}, #data{open = #open{epoch = Epoch}} = Data) ->
    Outcome = {aborted, Reason},
    Ended = note_ended(Outcome, Data),
    abort_open(none, Outcome, abort, Ended, [{reply, From, ok}]);
running({call, From}, {send_offsets, Epoch, Offsets}, #data{open = #open{epoch = Epoch}} = Data) ->
    run(#command{what = send_offsets, to = From, offsets = Offsets}, Data);
running({call, From}, {is_current, Epoch}, #data{open = #open{epoch = Current}}) ->
    {keep_state_and_data, [{reply, From, Epoch =:= Current}]};
running({call, From}, {stop, Timeout}, Data) ->
    stop_open(Data#data{stopping = From}, [{{timeout, stop}, Timeout, now}]);
running(info, {'DOWN', Monitor, _, _, _}, #data{open = #open{monitor = Monitor}} = Data) ->
    abort_open(none, {aborted, caller_died}, caller_died, Data, []);
running(Type, Event, Data) ->
    idle(Type, Event, Data).

-spec any(gen_statem:event_type(), term(), data()) -> result().
any({call, From}, {enter, Pid, Nested, Wait, AbortWait}, Data) ->
    case place_of(Pid, Data) of
        outside -> enter(From, Pid, Wait, AbortWait, Data);
        Place -> {keep_state_and_data, [{reply, From, nested(Nested, Place, Data)}]}
    end;
any({call, From}, {is_owner, Pid}, Data) ->
    {keep_state_and_data, [{reply, From, place_of(Pid, Data) =:= inside}]};
any({timeout, {turn, Monitor}}, now, #data{turns = Turns} = Data) ->
    {#{from := From}, Rest} = crema_turns:drop(Monitor, Turns),
    {keep_state, Data#data{turns = Rest}, [{reply, From, no_turn(Data)}]};
any(cast, {fatal, Reason}, #data{command = Command} = Data) ->
    fail(Command, Reason, Data, []);
any(cast, {client, none}, Data) ->
    any(cast, {fatal, element(2, crema_transaction_error:closed())}, Data);
any({timeout, stop}, now, Data) ->
    shut_down(Data, []);
any(info, {'DOWN', Monitor, _, _, _}, Data) ->
    forget(Monitor, Data);
%% What was waited for no longer is.
any(_, _, _Data) ->
    keep_state_and_data.

-spec forget(reference(), data()) -> result().
forget(Monitor, #data{open = #open{monitor = Monitor} = Open} = Data) ->
    {keep_state, Data#data{open = Open#open{dead = true}}};
forget(Monitor, #data{turns = Turns, ended = Ended} = Data) ->
    Left = Data#data{ended = maps:filter(fun(_, {_, Of, _}) -> Of =/= Monitor end, Ended)},
    case crema_turns:drop(Monitor, Turns) of
        {_, Rest} -> {keep_state, Left#data{turns = Rest}, [{{timeout, {turn, Monitor}}, cancel}]};
        none -> {keep_state, Left}
    end.

%% ---- turns -----------------------------------------------------------------------

%% Whether a process runs a transaction: one that is open, or that has ended and
%% it does not know. One that it no longer waits for does not count.
-spec place_of(pid(), data()) -> inside | ended | outside.
place_of(Pid, #data{open = #open{owner = Pid}, command = Command}) when
    Command =:= none; element(#command.what, Command) =:= send_offsets
->
    inside;
place_of(Pid, #data{ended = Ended}) ->
    case [Epoch || {Epoch, {Of, _, _}} <- maps:to_list(Ended), Of =:= Pid] of
        [] -> outside;
        _ -> ended
    end.

-spec nested(join | alone, inside | ended, data()) ->
    {joined, crema_transactions:epoch(), crema_port:client()} | crema_error:error().
nested(join, inside, #data{port = Port, open = #open{epoch = Epoch}}) -> {joined, Epoch, Port};
nested(join, ended, _Data) -> crema_transaction_error:stale();
nested(alone, _, _Data) -> crema_transaction_error:nested().

-spec enter(gen_statem:from(), pid(), Wait, AbortWait, data()) -> result() when
    Wait :: default | timeout(),
    AbortWait :: default | non_neg_integer().
enter(From, _, _, _, #data{stopping = Stopping}) when Stopping =/= none ->
    {keep_state_and_data, [{reply, From, crema_transaction_error:closed()}]};
enter(From, Pid, Wait, AbortWait, #data{turns = Turns, options = Options} = Data) ->
    {Turn, New} = crema_turns:add(From, Pid, default(AbortWait, abort_wait, Options), Turns),
    Timer = {{timeout, {turn, maps:get(monitor, Turn)}}, default(Wait, wait, Options), now},
    case Data of
        #data{open = none, command = none} -> next(Data#data{turns = New}, [Timer]);
        _ -> {keep_state, Data#data{turns = New}, [Timer]}
    end.

-spec default(default | Value, wait | abort_wait, crema_transactions:options()) -> Value.
default(default, Key, Options) -> maps:get(Key, Options);
default(Value, _Key, _Options) -> Value.

-spec no_turn(data()) -> crema_error:error().
no_turn(#data{command = Command, port = Port, trouble = Trouble}) when
    Port =:= none; element(#command.what, Command) =:= init
->
    crema_transaction_error:not_ready(Trouble);
no_turn(_) ->
    crema_transaction_error:no_turn().

%% The next transaction, when there is none.
-spec next(data(), [gen_statem:action()]) -> result().
next(#data{stopping = From} = Data, Actions) when From =/= none ->
    shut_down(Data, Actions);
next(#data{port = none} = Data, Actions) ->
    ok = ask_for_client(Data),
    {next_state, gone, Data, Actions};
next(#data{turns = Turns, epoch = Last} = Data, Actions) ->
    case crema_turns:first(Turns) of
        none ->
            {next_state, idle, Data, Actions};
        {_, _} ->
            Next = Data#data{epoch = Last rem ?MAX_EPOCH + 1},
            run(#command{what = 'begin'}, Next, Actions)
    end.

%% For those who wait. The producer does it unless it has one, or is about to.
-spec ask_for_client(data()) -> ok.
ask_for_client(#data{turns = Turns, metadata = #{client := Producer}}) ->
    case crema_turns:first(Turns) of
        none -> ok;
        {_, _} -> gen_server:cast(Producer, connect)
    end.

%% A transaction has begun: it is the first one's, if there is still one.
-spec give(data()) -> result().
give(#data{port = Port, turns = Turns, epoch = Epoch, metadata = Metadata} = Data) ->
    case crema_turns:first(Turns) of
        none ->
            run(#command{what = abort, outcome = crema_transaction_error:closed()}, Data);
        {#{from := From, pid := Pid, monitor := Monitor} = First, Rest} ->
            #{abort_wait := AbortWait, since := Since} = First,
            ok = crema_transaction_event:started(Since, Metadata),
            Open = #open{epoch = Epoch, owner = Pid, monitor = Monitor, abort_wait = AbortWait},
            {next_state, running, Data#data{turns = Rest, open = Open}, [
                {{timeout, {turn, Monitor}}, cancel}, {reply, From, {ok, Epoch, Port}}
            ]}
    end.

%% ---- calls of librdkafka -------------------------------------------------------------

-spec run(#command{}, data()) -> result().
run(Command, Data) -> run(Command, Data, []).

-spec run(#command{}, data(), [gen_statem:action()]) -> result().
run(Command, #data{port = Port, epoch = Epoch, options = Options} = Data, Actions) ->
    Step = step(Command, Epoch),
    case crema_transaction_step:ask(Port, Step) of
        {ok, Ref} ->
            New = Data#data{command = Command#command{ref = Ref}},
            {next_state, busy, New, crema_transaction_step:patience(Step, Ref, Options) ++ Actions};
        {error, Reason} -> fail(Command, Reason, Data, Actions)
    end.

-spec step(#command{}, crema_transactions:epoch()) -> crema_transaction_step:step().
step(#command{what = send_offsets, offsets = Offsets}, _Epoch) -> {send_offsets, Offsets};
step(#command{what = 'begin'}, Epoch) -> {'begin', Epoch};
step(#command{what = What}, _Epoch) -> What.

-spec finished(#command{}, ok | crema_error:error(), data()) -> result().
finished(#command{what = init}, ok, Data) ->
    next(Data#data{trouble = none}, []);
finished(#command{what = 'begin'}, ok, Data) ->
    give(Data);
finished(#command{what = send_offsets, to = To}, ok, Data) ->
    settle(Data, [{reply, To, ok}]);
finished(#command{what = commit, to = To}, ok, Data) ->
    tell_end(committed, Data),
    next(end_open(Data), [{reply, To, ok}]);
finished(#command{what = first_report} = Command, _, Data) ->
    run(Command#command{what = abort}, Data, [{{timeout, first_report}, cancel}]);
finished(#command{what = abort, cause = Cause} = Command, ok, Data) ->
    tell_end({aborted, Cause}, Data),
    next(end_open(Data), told(Command));
finished(Command, {error, {_, #{fatal := true}} = Reason}, Data) ->
    fail(Command, Reason, Data, []);
finished(Command, {error, Reason}, Data) ->
    troubled(Command, Reason, Data).

%% What goes on after a call inside a transaction.
-spec settle(data(), [gen_statem:action()]) -> result().
settle(#data{stopping = From} = Data, Actions) when From =/= none ->
    stop_open(Data, Actions);
settle(#data{open = #open{dead = true}} = Data, Actions) ->
    abort_open(none, {aborted, caller_died}, caller_died, Data, Actions);
settle(Data, Actions) ->
    {next_state, running, Data, Actions}.

%% An error that is not fatal. What must end one way or the other (a commit, an
%% abort, the start of all) is tried until it does.
-spec troubled(#command{}, crema_error:reason(), data()) -> result().
troubled(#command{what = init} = Command, Reason, Data) ->
    try_again(Command, Data#data{trouble = Reason});
troubled(#command{what = commit} = Command, {_, #{retriable := true}}, Data) ->
    try_again(Command, Data);
troubled(#command{what = abort} = Command, {_, Details}, Data) when
    map_get(retriable, Details); map_get(abortable, Details)
->
    try_again(Command, Data);
troubled(#command{what = What, to = To}, {Code, #{abortable := true}} = Reason, Data) ->
    tell_end({failed, Reason}, Data),
    Outcome = {error, Reason},
    case What of
        commit when Code =:= inconsistent ->
            %% Maybe crema's own: others of its messages may be on their way.
            abort_open(To, Outcome, error, Data, []);
        commit ->
            run(#command{what = abort, to = To, outcome = Outcome}, Data, [unheard(Data)]);
        send_offsets ->
            Abort = #command{what = abort, outcome = Outcome},
            run(Abort, note_ended(Outcome, Data), [{reply, To, Outcome}])
    end;
troubled(#command{attempt = Attempt} = Command, {_, #{retriable := true}}, Data) when
    Attempt < map_get(attempts, Data#data.options)
->
    try_again(Command, Data);
troubled(#command{what = 'begin'}, {_, #{retriable := true}} = Reason, Data) ->
    refuse_first(Reason, Data);
troubled(#command{what = send_offsets, to = To}, Reason, Data) ->
    settle(Data, [{reply, To, {error, Reason}}]);
%% librdkafka is in a state that is not as it should be.
troubled(Command, Reason, #data{metadata = #{client := Producer}} = Data) ->
    ok = gen_server:cast(Producer, {fatal, Reason}),
    fail(Command, Reason, Data, []).

-spec try_again(#command{}, data()) -> result().
try_again(#command{attempt = Attempt} = Command, #data{options = Options} = Data) ->
    #{attempts := Attempts, backoff := Backoff} = Options,
    Again = Command#command{attempt = Attempt + 1, ref = none},
    Timer = {{timeout, retry}, Backoff * min(Attempt, Attempts), now},
    {next_state, busy, Data#data{command = Again}, [Timer]}.

-spec refuse_first(crema_error:reason(), data()) -> result().
refuse_first(Reason, #data{turns = Turns} = Data) ->
    case crema_turns:first(Turns) of
        none ->
            next(Data, []);
        {#{monitor := Monitor} = First, _} ->
            {_, Rest} = crema_turns:drop(Monitor, Turns),
            next(Data#data{turns = Rest}, crema_turns:refusals([First], {error, Reason}))
    end.

%% The client is of no more use. Who was promised something is told, an owner
%% when it asks; who waits for a turn waits for the next client.
-spec fail(none | #command{}, crema_error:reason(), data(), [gen_statem:action()]) -> result().
fail(Command, Reason, Data, Actions) ->
    tell_end({failed, Reason}, Data),
    Error = {error, Reason},
    {Told, Noted} =
        case Command of
            #command{to = To, what = commit, began = Began, attempt = Attempt} ->
                Failed = crema_transaction_error:commit_failed(Reason, Began, Attempt),
                {[{reply, To, Failed}], end_open(Data)};
            #command{to = To, what = send_offsets} ->
                {[{reply, To, Error}], end_open(note_ended(Error, Data))};
            #command{to = To} when To =/= none ->
                {[{reply, To, Error}], end_open(Data)};
            _ ->
                {[], end_open(note_ended(Error, Data))}
        end,
    next(Noted#data{port = none, command = none, trouble = Reason}, Actions ++ Told).

%% ---- ends ------------------------------------------------------------------------

%% librdkafka 2.0.2 (issue 4849) may ruin the client by an abort that overtakes
%% the broker's knowing of the transaction. The first report is the proof that
%% it does.
-spec abort_open(To, crema_transactions:outcome(), Cause, data(), Actions) -> result() when
    To :: none | gen_statem:from(),
    Cause :: crema_transaction_event:cause(),
    Actions :: [gen_statem:action()].
abort_open(To, Outcome, Cause, #data{open = #open{abort_wait = Wait}} = Data, Actions) ->
    Abort = #command{what = abort, to = To, outcome = Outcome, cause = Cause},
    case Wait of
        0 ->
            run(Abort, Data, [unheard(Data) | Actions]);
        _ ->
            Timer = {{timeout, first_report}, Wait, now},
            run(Abort#command{what = first_report}, Data, [Timer, unheard(Data) | Actions])
    end.

%% Nobody waits for an abort longer than for a turn.
-spec unheard(data()) -> gen_statem:action().
unheard(#data{options = #{wait := Wait}}) ->
    {{timeout, unheard}, Wait, now}.

-spec stop_open(data(), [gen_statem:action()]) -> result().
stop_open(Data, Actions) ->
    Closed = crema_transaction_error:closed(),
    abort_open(none, Closed, stop, note_ended(Closed, Data), Actions).

%% The owner will ask for the outcome later.
-spec note_ended(crema_transactions:outcome(), data()) -> data().
note_ended(_Outcome, #data{open = none} = Data) ->
    Data;
note_ended(Outcome, #data{open = Open, ended = Ended} = Data) ->
    #open{epoch = Epoch, owner = Owner, monitor = Monitor} = Open,
    Data#data{ended = Ended#{Epoch => {Owner, Monitor, Outcome}}}.

%% Why there is no more.
-spec reason(data()) -> crema_error:error().
reason(#data{trouble = none}) -> crema_transaction_error:closed();
reason(#data{trouble = Trouble}) -> {error, Trouble}.

-spec tell_end(crema_transaction_event:ending(), data()) -> ok.
tell_end(_Ending, #data{open = none}) ->
    ok;
tell_end(Ending, #data{open = #open{began = Began}, metadata = Metadata}) ->
    crema_transaction_event:ended(Ending, Began, Metadata).

-spec end_open(data()) -> data().
end_open(#data{open = none} = Data) ->
    Data;
end_open(#data{open = #open{epoch = Epoch, monitor = Monitor, dead = Dead}, ended = Ended} = Data) ->
    case is_map_key(Epoch, Ended) andalso not Dead of
        true ->
            Data#data{open = none};
        false ->
            true = erlang:demonitor(Monitor, [flush]),
            Data#data{open = none, ended = maps:remove(Epoch, Ended)}
    end.

-spec collect(gen_statem:from(), crema_transactions:epoch(), data()) -> result().
collect(From, Epoch, #data{ended = Ended} = Data) ->
    case maps:take(Epoch, Ended) of
        {{_, Monitor, Outcome}, Rest} ->
            true = erlang:demonitor(Monitor, [flush]),
            {keep_state, Data#data{ended = Rest}, [{reply, From, Outcome}]};
        error ->
            {keep_state_and_data, [{reply, From, crema_transaction_error:stale()}]}
    end.

-spec told(#command{}) -> [gen_statem:action()].
told(#command{to = none}) -> [{{timeout, unheard}, cancel}];
told(#command{to = To, outcome = Outcome}) -> [{{timeout, unheard}, cancel}, {reply, To, Outcome}].

-spec shut_down(data(), [gen_statem:action()]) -> result().
shut_down(#data{stopping = From, turns = Turns, command = Command} = Data, Actions) ->
    {Asked, New} =
        case Command of
            #command{what = commit, to = To} ->
                {[{reply, To, crema_transaction_error:commit_lost()}], Data};
            #command{what = send_offsets, to = To} ->
                Closed = crema_transaction_error:closed(),
                {[{reply, To, Closed}], note_ended(Closed, Data)};
            #command{to = To, outcome = Outcome} when To =/= none ->
                {[{reply, To, Outcome}], Data};
            _ ->
                {[], Data}
        end,
    All = Actions ++ Asked ++ crema_turns:refusals(crema_turns:all(Turns), reason(Data)),
    Replies = [Reply || {reply, _, _} = Reply <- All],
    leave([{reply, From, ok} | Replies], New#data{turns = crema_turns:clear(Turns), command = none}).

%% Ends when every owner has learnt what became of its transaction, without the
%% producer if need be.
-spec leave([gen_statem:reply_action()], data()) -> result().
leave(Replies, #data{ended = Ended} = Data) when map_size(Ended) =:= 0 ->
    {stop_and_reply, normal, Replies, Data};
leave(Replies, #data{metadata = #{client := Producer}} = Data) ->
    true = unlink(Producer),
    {next_state, gone, Data#data{trouble = element(2, reason(Data)), left = true}, Replies}.
