%% @private The transactions of a consumer with `commit => exactly_once', one after
%% another: each gathers what the workers of all partitions add within an
%% interval, ends with their offsets, and only then are the messages acknowledged.
%%
%% It waits for brokers within its callbacks, and workers wait for it meanwhile, so
%% that nothing is added to a transaction that ends. States: `member';
%% `backing_off', after one was aborted; `outside', the consumer is not in its group.
%%
%% After an abort the workers that were part of it are told, and start anew with
%% what is not acknowledged. When a message could not be delivered, what it was made
%% of has a transaction of its own the next time, so that the others go on, and its
%% worker hears of the error.
-module(crema_exactly_once_server).
-behaviour(gen_statem).

-export([callback_mode/0, init/1, member/3, backing_off/3, outside/3, format_status/1]).

-type slot() :: {crema_slots:id(), crema_group_events:place()}.

-record(data, {
    producer :: pid(),
    options :: map(),
    %% of the events
    about :: map(),
    port = none :: none | port(),
    %% what the consumer is in its group, as far as is known
    metadata = none :: none | crema_transaction:metadata(),
    %% the slots that it was asked for, and no other may be committed with it
    covered = #{} :: #{crema_slots:id() => true},
    workers = #{} :: #{crema_slots:id() => {pid(), crema_group_events:place()}},
    open = none :: none | crema_gathering:gathering(),
    %% what is to be added alone
    suspects = #{} :: #{crema_group_events:place() => crema_exactly_once:range()},
    %% aborts in a row
    failures = 0 :: non_neg_integer()
}).

-type data() :: #data{}.
-type result() :: gen_statem:event_handler_result(member | backing_off | outside, data()).
%% What became of the transaction, if there was one.
-type ended() :: {ok | aborted, data()}.

-spec callback_mode() -> state_functions.
callback_mode() -> state_functions.

-spec init({pid(), pid(), map()}) -> {ok, member, data()}.
init({Consumer, Producer, Options}) ->
    #{group := Group, name := Name} = Options,
    About = #{client => Consumer, name => crema_child:shown_name(Name), group => Group},
    Own = maps:with([transaction_interval, transaction_bytes, backoff], Options),
    {ok, member, #data{producer = Producer, options = Own, about = About}}.

%% ---- states ------------------------------------------------------------------------

-spec member(gen_statem:event_type(), term(), data()) -> result().
member({call, From}, {enter, Pid, Id, Place, Port}, Data) ->
    case settled(Id, Data#data{port = Port}) of
        {ok, New} -> enter(From, {Id, Place}, Pid, refreshed([Id], New));
        Aborted -> later(Aborted)
    end;
member({call, From}, {add, Pid, Id, Range, Messages} = Event, #data{workers = Workers} = Data) ->
    case Workers of
        #{Id := {Pid, Place}} when is_map_key(Id, Data#data.covered) ->
            add(From, {Id, Place}, Range, Messages, Data);
        %% It may have waited while its partition was given up.
        #{Id := {Pid, _}} ->
            case refreshed([Id], Data) of
                {ok, New} -> member({call, From}, Event, New);
                {stale_assignment, New} -> {keep_state, New, [{reply, From, aborted}]};
                Other -> later(Other)
            end;
        #{} ->
            {keep_state_and_data, [{reply, From, aborted}]}
    end;
member({call, From}, {leave, Pid, Id}, #data{workers = Workers} = Data) ->
    case Workers of
        #{Id := {Pid, _}} ->
            {Ended, #data{workers = Left} = New} = last(Id, Data),
            next(Ended, New#data{workers = maps:remove(Id, Left)}, [{reply, From, Ended}]);
        #{} ->
            {keep_state_and_data, [{reply, From, aborted}]}
    end;
member(cast, {rebalanced, _}, #data{port = none}) ->
    keep_state_and_data;
%% A worker whose partition is lost may still be at work.
member(cast, {rebalanced, Staying}, #data{workers = Workers, open = Open} = Data) ->
    Known = Data#data{workers = maps:with(Staying, Workers)},
    case lists:all(fun(Id) -> lists:member(Id, Staying) end, slots(Open)) of
        true ->
            renewed(refreshed([], Known));
        false ->
            {Ended, New} = conclude(Known),
            next(Ended, New#data{metadata = none, covered = #{}}, [])
    end;
member({timeout, commit}, now, Data) ->
    {Ended, New} = conclude(Data),
    next(Ended, New, []);
member(_, _, _Data) ->
    keep_state_and_data.

-spec backing_off(gen_statem:event_type(), term(), data()) -> result().
backing_off(state_timeout, over, Data) -> {next_state, member, Data};
backing_off({timeout, commit}, now, _Data) -> keep_state_and_data;
backing_off(_, _, _Data) -> {keep_state_and_data, [postpone]}.

%% Its slots are lost, which their workers hear of from others.
-spec outside(gen_statem:event_type(), term(), data()) -> result().
outside(cast, {rebalanced, _}, Data) -> {next_state, member, Data, [postpone]};
outside({timeout, commit}, now, _Data) -> keep_state_and_data;
outside(_, _, _Data) -> {keep_state_and_data, [postpone]}.

-spec next(ok | aborted, data(), [gen_statem:action()]) -> result().
next(ok, Data, Actions) ->
    {keep_state, Data, Actions};
next(aborted, Data, Actions) ->
    {next_state, backing_off, Data, [{state_timeout, delay(Data), over} | Actions]}.

-spec delay(data()) -> non_neg_integer().
delay(#data{failures = Failures, options = #{backoff := {Min, Max}}}) ->
    crema_backoff:delay(Failures, Min, Max).

%% What is asked now waits for better times.
-spec later({aborted | crema_error:code(), data()}) -> result().
later({unknown_member_id, Data}) ->
    {next_state, outside, Data#data{metadata = none, covered = #{}}, [postpone]};
later({aborted, Data}) ->
    next(aborted, Data, [postpone]);
later({_Code, #data{failures = Failures} = Data}) ->
    next(aborted, Data#data{failures = Failures + 1}, [postpone]).

%% ---- workers -----------------------------------------------------------------------

%% What a worker before has done is committed now.
-spec settled(crema_slots:id(), data()) -> ended().
settled(Id, #data{open = Open} = Data) ->
    case lists:member(Id, slots(Open)) of
        true -> conclude(Data);
        false -> {ok, Data}
    end.

-spec enter(gen_statem:from(), slot(), pid(), Refreshed) -> result() when
    Refreshed :: {ok | aborted | crema_error:code(), data()}.
enter(From, {Id, Place}, Pid, {ok, #data{workers = Workers} = Data}) ->
    {keep_state, Data#data{workers = Workers#{Id => {Pid, Place}}}, [{reply, From, ok}]};
enter(From, _Slot, _Pid, {stale_assignment, Data}) ->
    {keep_state, Data, [{reply, From, aborted}]};
enter(_From, _Slot, _Pid, Other) ->
    later(Other).

-spec renewed({ok | aborted | crema_error:code(), data()}) -> result().
renewed({ok, Data}) -> {keep_state, Data};
renewed(Other) -> later(Other).

%% A partition that is given up cannot wait for others. In a rebalance the
%% consumer's generation is a new one already.
-spec last(crema_slots:id(), data()) -> ended().
last(Id, #data{open = Open} = Data) ->
    case lists:member(Id, slots(Open)) andalso refreshed([], Data) of
        false -> {ok, Data};
        {ok, Fresh} -> conclude(Fresh);
        {aborted, _} = Aborted -> Aborted;
        {_Code, Concluded} -> {ok, Concluded}
    end.

%% Metadata for slots, and for those in the open transaction. When the consumer has
%% not got these any more, it ends with what was known before, which is for the
%% brokers to judge.
-spec refreshed([crema_slots:id()], data()) -> {ok | aborted | crema_error:code(), data()}.
refreshed(Ids, #data{port = Port, open = Open} = Data) ->
    All = Ids ++ slots(Open),
    case crema_transaction:group_metadata(Port, All) of
        {ok, Metadata} ->
            {ok, Data#data{metadata = Metadata, covered = maps:from_keys(All, true)}};
        {error, {Code, _}} when Open =:= none ->
            {Code, Data};
        {error, _} ->
            case conclude(Data) of
                {ok, New} -> refreshed(Ids, New);
                Aborted -> Aborted
            end
    end.

-spec slots(none | crema_gathering:gathering()) -> [crema_slots:id()].
slots(none) -> [];
slots(Open) -> crema_gathering:slots(Open).

%% ---- adding ------------------------------------------------------------------------

-spec add(
    gen_statem:from(), slot(), crema_exactly_once:range(), [crema_packet:message()], data()
) -> result().
add(From, Slot, Range, Messages, Data) ->
    case is_suspect(Slot, Range, Data) of
        true ->
            case conclude(Data) of
                {ok, New} -> add_alone(From, Slot, Range, Messages, opened(New));
                Aborted -> later(Aborted)
            end;
        false ->
            add_to_others(From, Slot, Range, Messages, opened(Data))
    end.

-spec is_suspect(slot(), crema_exactly_once:range(), data()) -> boolean().
is_suspect({_, Place}, {First, Last}, #data{suspects = Suspects}) ->
    case Suspects of
        #{Place := {From, To}} -> First =< To andalso Last >= From;
        #{} -> false
    end.

-spec opened(data()) -> ended().
opened(#data{open = none, producer = Producer} = Data) ->
    case crema_gathering:open(Producer) of
        {ok, Open} -> {ok, Data#data{open = Open}};
        {error, Reason} -> {aborted, failed(Reason, Data)}
    end;
opened(Data) ->
    {ok, Data}.

-spec add_to_others(
    gen_statem:from(), slot(), crema_exactly_once:range(), [crema_packet:message()], ended()
) -> result().
add_to_others(From, Slot, Range, Messages, Ended) ->
    added(From, Slot, Range, Messages, Ended, fun(#data{open = New, options = Options} = Added) ->
        #{transaction_interval := Interval, transaction_bytes := Most} = Options,
        case crema_gathering:bytes(New) >= Most of
            true ->
                {Concluded, Data} = conclude(Added),
                next(Concluded, Data, [{reply, From, Concluded}]);
            false ->
                Left = max(0, Interval - crema_gathering:age(New)),
                {keep_state, Added, [{reply, From, ok}, {{timeout, commit}, Left, now}]}
        end
    end).

%% In a transaction of its own, which ends at once.
-spec add_alone(
    gen_statem:from(), slot(), crema_exactly_once:range(), [crema_packet:message()], ended()
) -> result().
add_alone(From, Slot, Range, Messages, Ended) ->
    added(From, Slot, Range, Messages, Ended, fun(#data{open = New} = Added) ->
        case committed(Added) of
            {ok, Committed} ->
                {keep_state, Committed, [{reply, From, ok}]};
            {error, Reason} = Failed ->
                ended_alone(From, crema_gathering:culprits(Failed, New), Reason, Added)
        end
    end).

%% To the transaction that is open; what follows if it takes them.
-spec added(gen_statem:from(), slot(), crema_exactly_once:range(), Messages, ended(), Then) ->
    result()
when
    Messages :: [crema_packet:message()], Then :: fun((data()) -> result()).
added(From, Slot, Range, Messages, {ok, #data{open = Open} = Data}, Then) ->
    case crema_gathering:add(Slot, Range, Messages, Open) of
        {ok, New} -> Then(Data#data{open = New});
        {refused, Error} -> {keep_state, Data, [{reply, From, Error}]};
        {error, Reason} -> next(aborted, aborted(Reason, Data), [{reply, From, aborted}])
    end;
added(_From, _Slot, _Range, _Messages, Aborted, _Then) ->
    later(Aborted).

%% Its worker still has what it is about.
-spec ended_alone(gen_statem:from(), Culprits, crema_error:reason(), data()) -> result() when
    Culprits :: [{crema_group_events:place(), crema_exactly_once:range(), crema_error:error()}].
ended_alone(From, [{_, _, Error} | _], Reason, Data) ->
    ok = tell_aborted(Reason, 0, Data),
    {keep_state, Data#data{open = none}, [{reply, From, Error}]};
ended_alone(From, [], Reason, Data) ->
    next(aborted, aborted(Reason, Data), [{reply, From, aborted}]).

%% ---- the end of a transaction --------------------------------------------------------

-spec conclude(data()) -> ended().
conclude(#data{open = none} = Data) ->
    {ok, Data};
conclude(Data) ->
    case committed(Data) of
        {ok, New} -> {ok, New};
        {error, Reason} -> {aborted, aborted(Reason, Data)}
    end.

-spec committed(data()) -> {ok, data()} | crema_error:error().
committed(#data{port = Port, metadata = Metadata, open = Open, about = About} = Data) ->
    case crema_gathering:commit(Port, Metadata, Open) of
        ok ->
            Reached = crema_gathering:reached(Open),
            crema_events:execute(
                [crema, consumer, transaction_committed],
                crema_gathering:measured(Open),
                About#{partitions => maps:keys(Reached)}
            ),
            {ok, Data#data{open = none, failures = 0, suspects = cleared(Reached, Data)}};
        %% Only the group's offsets tell, and they are read anew at a start: all of
        %% the consumer starts again.
        {error, {commit_unknown, _} = Reason} ->
            Shown = [shown(About), crema_error:format(Reason)],
            crema_log:log(error, "crema consumer ~0p: starts anew: ~ts", Shown, #{
                client => shown(About), code => commit_unknown
            }),
            exit({shutdown, Reason});
        {error, _} = Error ->
            Error
    end.

-spec cleared(Reached, data()) -> Suspects when
    Reached :: #{crema_group_events:place() => non_neg_integer()},
    Suspects :: #{crema_group_events:place() => crema_exactly_once:range()}.
cleared(Reached, #data{suspects = Suspects}) ->
    maps:filter(fun(Place, {_, To}) -> maps:get(Place, Reached, -1) < To end, Suspects).

%% The workers whose work is lost begin anew. Others of the same generation would
%% not fare better with its metadata.
-spec aborted(crema_error:reason(), data()) -> data().
aborted(Reason, #data{open = Open, workers = Workers, suspects = Suspects} = Data) ->
    ok = crema_gathering:give_up(Open),
    Culprits = crema_gathering:culprits({error, Reason}, Open),
    Slots = crema_gathering:slots(Open),
    _ = [Pid ! {crema_aborted, Id} || {Id, {Pid, _}} <- maps:to_list(maps:with(Slots, Workers))],
    (failed(Reason, Data))#data{
        metadata = none,
        covered = #{},
        workers = maps:without(Slots, Workers),
        suspects = maps:merge(Suspects, maps:from_list([{P, Range} || {P, Range, _} <- Culprits]))
    }.

-spec failed(crema_error:reason(), data()) -> data().
failed(Reason, #data{failures = Failures} = Data) ->
    New = Data#data{failures = Failures + 1},
    ok = tell_aborted(Reason, delay(New), New),
    New#data{open = none}.

-spec tell_aborted(crema_error:reason(), Delay :: non_neg_integer(), data()) -> ok.
tell_aborted({Code, Details} = Reason, Delay, #data{open = Open, about = About} = Data) ->
    {Measured, Places} =
        case Open of
            none -> {#{count => 0, duration => 0}, []};
            _ -> {crema_gathering:measured(Open), maps:keys(crema_gathering:reached(Open))}
        end,
    crema_events:execute(
        [crema, consumer, transaction_aborted],
        Measured#{attempt => Data#data.failures, delay => Delay},
        About#{partitions => Places, code => Code, message => maps:get(message, Details, <<>>)}
    ),
    crema_log:log(
        warning,
        "crema consumer ~0p: a transaction was aborted, its messages come again: ~ts",
        [shown(About), crema_error:format(Reason)],
        #{client => shown(About), code => Code}
    ).

-spec shown(map()) -> term().
shown(#{name := undefined, group := Group}) -> Group;
shown(#{name := Name}) -> Name.

%% What waits to be added is nobody's business.
-spec format_status(gen_statem:format_status()) -> gen_statem:format_status().
format_status(Status) ->
    maps:map(fun shown/2, Status).

-spec shown(atom(), term()) -> term().
shown(data, #data{workers = Workers, failures = Failures}) -> {maps:keys(Workers), Failures};
shown(Events, Listed) when Events =:= queue; Events =:= postponed -> length(Listed);
shown(log, _) -> [];
shown(_, Other) -> Other.
