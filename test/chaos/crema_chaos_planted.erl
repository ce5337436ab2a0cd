%% Plants faults in a history that has none: one of each kind that the checker knows,
%% at a random place.
-module(crema_chaos_planted).

-export([kinds/0, plant/2]).

-type entries() :: [crema_chaos_history:entry()].

-spec kinds() -> [atom()].
kinds() ->
    [
        incomplete, lost, hidden, repeated, refuted, unknown, elsewhere, overtaken, unreported,
        reported_twice, late, torn, aborted_visible, reader, copy_missing, copy_repeated, copy_unknown,
        aborted_read, not_in_log, unhandled, repeated_handling, handled_out_of_order,
        committed_too_far, committed_back, began_early, lag, stuck, leak
    ].

%% @doc The history with a fault of that kind.
-spec plant(atom(), entries()) -> entries().
plant(Kind, Entries) ->
    Story = lists:foldl(fun crema_chaos_story:entry/2, crema_chaos_story:new(), Entries),
    planted(Kind, Entries, Story).

%% ---- produced -----------------------------------------------------------------------

planted(incomplete, Entries, _Story) ->
    [Entry || #{what := What} = Entry <- Entries, What =/= drained];
planted(lost, Entries, Story) ->
    without(any([M || {M, _, _} <- delivered(Story)]), [committed, uncommitted], Entries);
planted(hidden, Entries, Story) ->
    without(any([M || {M, none, _} <- delivered(Story)]), [committed], Entries);
planted(repeated, Entries, Story) ->
    {Message, _, {Place, _}} = any(certain(Story)),
    with(Place, Message, [committed, uncommitted], Entries, Story);
planted(refuted, Entries, #{messages := Messages} = Story) ->
    {Message, {Topic, _, _, _}} = any(
        [{M, Call} || {M, {Call, refused, _}} <- maps:to_list(Messages)] ++
            [{M, Call} || {M, {Call, _, [{_, {failed, not_persisted, _}}]}} <- maps:to_list(Messages)]
    ),
    with({Topic, 0}, Message, [committed, uncommitted], Entries, Story);
planted(unknown, Entries, Story) ->
    with({<<"plain">>, 1}, {-1, 0}, [committed, uncommitted], Entries, Story);
planted(elsewhere, Entries, Story) ->
    {{Process, Number}, _, _} = any(certain(Story)),
    changed(
        fun
            (#{what := reported, process := P, reports := Reports} = Entry) when P =:= Process ->
                Entry#{reports := [moved(Report, Number) || Report <- Reports]};
            (Entry) ->
                Entry
        end,
        Entries
    );
planted(overtaken, Entries, Story) ->
    {One, Two} = any(neighbours(certain(Story))),
    Swap = fun(M) when M =:= One -> Two; (M) when M =:= Two -> One; (M) -> M end,
    in_logs(fun(_, Log) -> [{O, Swap(M)} || {O, M} <- Log] end, Entries);
planted(unreported, Entries, Story) ->
    {{Process, Number}, _, _} = any(heard(Story)),
    reports(fun(Of) -> lists:keydelete(Number, 1, Of) end, Process, Entries);
planted(reported_twice, Entries, Story) ->
    {{Process, Number}, _, _} = any(heard(Story)),
    Twice = fun(Of) -> [R || {N, _} = R <- Of, N =:= Number] ++ Of end,
    reports(Twice, Process, Entries);
planted(late, Entries, #{messages := Messages}) ->
    {{Process, Number}, At} = any([
        {M, At}
     || {M, {_, Accepted, [{At, _}]}} <- maps:to_list(Messages), is_integer(Accepted)
    ]),
    lists:flatmap(
        fun
            (#{what := reported, process := P, at := T, reports := Of} = Entry) when
                P =:= Process, T =:= At
            ->
                {Late, Rest} = lists:partition(fun({N, _}) -> N =:= Number end, Of),
                [Entry#{reports := Rest}, Entry#{reports := Late, at := At + 200000000}];
            (Entry) ->
                [Entry]
        end,
        Entries
    );
%% ---- transactions and copies ------------------------------------------------------------

planted(torn, Entries, Story) ->
    without(any(booked(committed, Story)), [committed], Entries);
planted(aborted_visible, Entries, Story) ->
    shown(any(booked(aborted, Story)), Entries, Story);
planted(reader, Entries, Story) ->
    without(any([M || {M, none, _} <- delivered(Story)]), [uncommitted], Entries);
planted(copy_missing, Entries, Story) ->
    {Place, {Offset, _}} = any(copied_once(Story)),
    in_log(Place, [committed], fun(Log) -> lists:keydelete(Offset, 1, Log) end, Entries);
planted(copy_repeated, Entries, Story) ->
    {Place, {_, Message}} = any(copied_once(Story)),
    with(Place, Message, [committed, uncommitted], Entries, Story);
planted(copy_unknown, Entries, Story) ->
    with({<<"copies">>, 0}, {-1, 0}, [committed, uncommitted], Entries, Story);
%% ---- handled ------------------------------------------------------------------------------

planted(aborted_read, Entries, Story) ->
    {Place, Entry} = any([
        {Place, Entry}
     || Place <- produced(Story),
        Entry <-
            crema_chaos_story:log(Place, uncommitted, Story) --
                crema_chaos_story:log(Place, committed, Story)
    ]),
    {Member, Slot, _} = any(slots(<<"main">>, [Place], Story)),
    first_handling({Member, Slot}, fun(Of) -> [Entry | Of] end, Entries);
planted(not_in_log, Entries, Story) ->
    {Member, Slot, _} = any(slots(<<"main">>, produced(Story), Story)),
    first_handling({Member, Slot}, fun([{Offset, _} | Of]) -> [{Offset, {-1, 0}} | Of] end, Entries);
planted(unhandled, Entries, Story) ->
    {Topic, Partition} = Place = any(quiet(<<"main">>, Story)),
    {Offset, _} = any(crema_chaos_story:log(Place, committed, Story)),
    Slots = [{M, S} || {M, S, _} <- slots(<<"main">>, [{Topic, Partition}], Story)],
    changed(
        fun
            (#{what := acknowledged, member := M, slot := S, offsets := Of} = Entry) ->
                case lists:member({M, S}, Slots) of
                    true -> Entry#{offsets := lists:delete(Offset, Of)};
                    false -> Entry
                end;
            (Entry) ->
                Entry
        end,
        Entries
    );
planted(repeated_handling, Entries, Story) ->
    {Member, Slot, Notes} = any([
        Of
     || {_, _, Notes} = Of <- slots(<<"main">>, quiet(<<"main">>, Story), Story),
        not lists:keymember(crashed, 2, Notes),
        lists:keymember(acked, 2, Notes)
    ]),
    {At, _, Offset} = any([Note || {_, acked, _} = Note <- Notes, not is_refused(Note, Notes)]),
    #{slots := #{{Member, Slot} := {{Topic, Partition} = Place, _, _}}} = Story,
    {Offset, Message} = lists:keyfind(Offset, 1, crema_chaos_story:log(Place, committed, Story)),
    inserted(
        #{
            what => handling, at => At + 1, member => Member, slot => Slot, topic => Topic,
            partition => Partition, messages => [{Offset, Message}]
        },
        Entries
    );
planted(handled_out_of_order, Entries, Story) ->
    {Member, Slot} = any([
        {Member, Slot}
     || {Member, Slot, Notes} <- slots(<<"main">>, quiet(<<"main">>, Story), Story),
        [{At, began, _}, {At, began, _} | _] <- [[N || {_, began, _} = N <- Notes]]
    ]),
    first_handling({Member, Slot}, fun lists:reverse/1, Entries);
%% ---- commits -------------------------------------------------------------------------------

planted(committed_too_far, Entries, #{messages := Messages} = Story) ->
    Quiet = quiet(<<"main">>, Story),
    {{Topic, Partition}, Offset, At} = any([
        {Place, Offset, At}
     || {Message, none, {Place, Offset}} <- delivered(Story),
        lists:member(Place, Quiet),
        {{_, _, _, At}, _, _} <- [maps:get(Message, Messages)]
    ]),
    inserted(committed(Topic, Partition, Offset + 1, At - 100000), Entries);
planted(committed_back, Entries, #{commits := Commits, marks := #{last := Last}} = Story) ->
    {{Topic, Partition}, Offset} = any([
        {Place, Offset}
     || Place <- quiet(<<"main">>, Story),
        {_, Offset} <- maps:get({<<"main">>, Place}, Commits, []),
        Offset > 0
    ]),
    %% Long after all that could explain it.
    inserted(committed(Topic, Partition, Offset - 1, Last + 60000000), Entries);
planted(began_early, Entries, #{slots := Slots, commits := Commits} = Story) ->
    {{Member, Slot}, {Topic, Partition}, Message, Begun} = any([
        {{Member, Slot}, Place, Message, Begun}
     || {Member, Slot, _} <- slots(<<"main">>, quiet(<<"main">>, Story), Story),
        not crema_chaos_story:gone({Member, Slot}, Story),
        {Place, Begun, _} <- [maps:get({Member, Slot}, Slots)],
        [{0, _} = Message | _] <- [crema_chaos_story:log(Place, committed, Story)],
        lists:any(
            fun({At, Offset}) -> At < Begun - 10000 andalso Offset > 0 end,
            maps:get({<<"main">>, Place}, Commits, [])
        )
    ]),
    inserted(
        #{
            what => handling, at => Begun, member => Member, slot => Slot, topic => Topic,
            partition => Partition, messages => [Message]
        },
        Entries
    );
planted(lag, Entries, #{commits := Commits} = Story) ->
    {{Topic, Partition}, Last} = any([
        {Place, Last}
     || Place <- quiet(<<"main">>, Story),
        [_ | _] = Of <- [maps:get({<<"main">>, Place}, Commits, [])],
        Last <- [lists:max([Offset || {_, Offset} <- Of])]
    ]),
    [
        Entry
     || Entry <- Entries,
        not is_map_key(offset, Entry) orelse
            Entry =/= Entry#{
                what := commit_seen, group => <<"main">>, topic => Topic, partition => Partition,
                offset := Last
            }
    ];
%% ---- and the rest ---------------------------------------------------------------------------

%% Time passes while a message waits and nothing is disturbed.
planted(stuck, Entries, #{messages := Messages, faults := Faults} = Story) ->
    Quiet = quiet(<<"main">>, Story),
    At = any([
        At
     || {Message, none, {Place, _}} <- delivered(Story),
        lists:member(Place, Quiet),
        {_, _, [{At, _}]} <- [maps:get(Message, Messages)],
        is_calm(At, lists:reverse(Faults))
    ]),
    changed(
        fun
            (#{at := T} = Entry) when T > At -> Entry#{at := T + 100000000};
            (Entry) -> Entry
        end,
        Entries
    );
planted(leak, Entries, _Story) ->
    Name = any([processes, ports, reapers]),
    changed(
        fun
            (#{what := sample, 'when' := 'after', values := Values} = Entry) ->
                Entry#{values := maps:update_with(Name, fun(N) -> N + 10 end, Values)};
            (Entry) ->
                Entry
        end,
        Entries
    ).

is_calm(At, Faults) ->
    Before = [{Kind, Fault} || {T, Kind, Fault} <- Faults, T =< At],
    Over = [Fault || {_, off, Fault} <- Faults],
    lists:all(
        fun({on, Fault}) -> not lists:member(Fault, Over) orelse lists:member({off, Fault}, Before);
            ({off, _}) -> true
        end,
        Before
    ).

%% ---- what there is to choose from ------------------------------------------------------------

any(List) -> lists:nth(rand:uniform(length(List)), List).

%% Messages that were delivered, and are in the log once.
delivered(#{messages := Messages}) ->
    Told = [
        {M, Transaction, {{Topic, Partition}, Offset}}
     || {M, {{Topic, _, Transaction, _}, _, [{_, {delivered, Partition, Offset}}]}} <- maps:to_list(Messages),
        Offset >= 0
    ],
    Doubtful = doubtful(Messages),
    [Of || {{Process, _}, _, _} = Of <- Told, not lists:member(Process, Doubtful)].

%% Those of a process are the producer's own here.
doubtful(Messages) ->
    lists:usort([P || {{P, _}, {_, _, [{_, {failed, possibly_persisted, _}}]}} <- maps:to_list(Messages)]).

%% Of strict producers, whose messages have a place of their own.
certain(#{clients := Clients} = Story) ->
    [
        Of
     || {{Process, _}, none, _} = Of <- delivered(Story),
        #{{client, Process} := #{ordering := strict}} <- [Clients]
    ].

%% Of processes that live to the end.
heard(Story) ->
    [
        Of
     || {{Process, _}, _, _} = Of <- delivered(Story),
        crema_chaos_story:killed(process, Process, Story) =:= infinity
    ].

%% Two messages of a process that follow each other in a partition.
neighbours(Of) ->
    Sorted = lists:sort([{Process, Place, Offset, M} || {{Process, _} = M, _, {Place, Offset}} <- Of]),
    [
        {A, B}
     || {{Process, Place, _, A}, {Process, Place, _, B}} <- lists:zip(lists:droplast(Sorted), tl(Sorted))
    ].

booked(Outcome, #{messages := Messages, transactions := Transactions}) ->
    [
        M
     || {M, {{_, _, Name, _}, _, [{_, {delivered, _, _}}]}} <- maps:to_list(Messages),
        {_, O, _} <- [maps:get(Name, Transactions, none)],
        O =:= Outcome
    ].

produced(Story) ->
    [Place || {Topic, _} = Place <- crema_chaos_story:places(Story), Topic =/= <<"copies">>].

%% A seek has the copier copy again.
copied_once(Story) ->
    Quiet = quiet(<<"copier">>, Story),
    [
        {Place, Entry}
     || {<<"copies">>, Partition} = Place <- crema_chaos_story:places(Story),
        lists:member({<<"booked">>, Partition}, Quiet),
        Entry <- crema_chaos_story:log(Place, committed, Story)
    ].

%% Partitions in which a group was not sought.
quiet(Group, #{sought := Sought} = Story) ->
    [Place || Place <- produced(Story), not is_map_key({Group, Place}, Sought)].

slots(Group, Places, #{slots := Slots, members := Members}) ->
    [
        {Member, Slot, lists:reverse(Notes)}
     || {{Member, Slot}, {Place, _, Notes}} <- maps:to_list(Slots),
        lists:member(Place, Places),
        maps:get(group, maps:get(Member, Members)) =:= Group,
        lists:keymember(began, 2, Notes)
    ].

is_refused({_, _, Offset}, Notes) -> [] =/= [refused || {_, refused, O} <- Notes, O =:= Offset].

%% ---- changes -----------------------------------------------------------------------------------

changed(Fun, Entries) -> lists:map(Fun, Entries).

in_logs(Fun, Entries) ->
    changed(
        fun
            (#{what := log, isolation := Isolation, entries := Log} = Entry) ->
                Entry#{entries := Fun(Isolation, Log)};
            (Entry) ->
                Entry
        end,
        Entries
    ).

in_log({Topic, Partition}, Isolations, Fun, Entries) ->
    changed(
        fun
            (#{what := log, topic := T, partition := P, isolation := Isolation, entries := Log} = Entry) when
                T =:= Topic, P =:= Partition
            ->
                case lists:member(Isolation, Isolations) of
                    true -> Entry#{entries := Fun(Log)};
                    false -> Entry
                end;
            (Entry) ->
                Entry
        end,
        Entries
    ).

without(Message, Isolations, Entries) ->
    in_logs(
        fun(Isolation, Log) ->
            [Of || {_, M} = Of <- Log, M =/= Message orelse not lists:member(Isolation, Isolations)]
        end,
        Entries
    ).

%% At the end of a partition.
with(Place, Message, Isolations, Entries, Story) ->
    {Last, _} = lists:last(crema_chaos_story:log(Place, uncommitted, Story)),
    in_log(Place, Isolations, fun(Log) -> Log ++ [{Last + 1, Message}] end, Entries).

shown(Message, Entries, Story) ->
    {Place, Entry} = hd([
        {Place, Entry}
     || Place <- produced(Story),
        {_, M} = Entry <- crema_chaos_story:log(Place, uncommitted, Story),
        M =:= Message
    ]),
    in_log(Place, [committed], fun(Log) -> lists:sort([Entry | Log]) end, Entries).

reports(Fun, Process, Entries) ->
    changed(
        fun
            (#{what := reported, process := P, reports := Reports} = Entry) when P =:= Process ->
                Entry#{reports := Fun(Reports)};
            (Entry) ->
                Entry
        end,
        Entries
    ).

moved({Number, {delivered, Partition, Offset}}, Number) ->
    {Number, {delivered, Partition, Offset + 1}};
moved(Report, _Number) ->
    Report.

first_handling({Member, Slot}, Fun, Entries) ->
    {Before, [#{messages := Messages} = Entry | After]} = lists:splitwith(
        fun
            (#{what := handling, member := M, slot := S}) -> {M, S} =/= {Member, Slot};
            (_) -> true
        end,
        Entries
    ),
    Before ++ [Entry#{messages := Fun(Messages)} | After].

committed(Topic, Partition, Offset, At) ->
    #{
        what => commit_seen, at => At, group => <<"main">>, topic => Topic, partition => Partition,
        offset => Offset
    }.

inserted(#{at := At} = New, Entries) ->
    {Before, After} = lists:splitwith(fun(#{at := T}) -> T =< At end, Entries),
    Before ++ [New | After].
