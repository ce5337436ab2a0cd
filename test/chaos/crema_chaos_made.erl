%% Makes histories of runs that never were, in which nothing is wrong: thousands of
%% messages with all that may happen to them, by a seed.
-module(crema_chaos_made).

-export([history/1, history/2]).
-export([tell/2, tell_all/2, name/1, one_of/2]).

-include("crema_chaos_made.hrl").

-define(STEP, 300000).
-define(STEPS, 150).

%% Who produces: with a producer each.
-define(KINDS, [first, second, third, loose, booking]).

-spec history(integer()) -> [crema_chaos_history:entry()].
history(Seed) -> history(Seed, ?STEPS).

-spec history(integer(), pos_integer()) -> [crema_chaos_history:entry()].
history(Seed, Steps) ->
    _ = rand:seed(exsss, Seed),
    Begun = begun(#run{processes = #{}}),
    Run = lists:foldl(fun(_, Acc) -> step(Acc) end, Begun, lists:seq(1, Steps)),
    lists:reverse((ended(Run))#run.entries).

%% @doc Adds entries.
tell(Entry, #run{at = At, entries = Entries} = Run) ->
    Run#run{at = At + 1000, entries = [Entry#{at => At} | Entries]}.

tell_all(Entries, Run) -> lists:foldl(fun tell/2, Run, Entries).

%% @doc A name that nothing else has.
name(#run{names = Names} = Run) -> {Names, Run#run{names = Names + 1}}.

%% ---- the beginning and the end ----------------------------------------------------------

begun(Run) ->
    Topics = [{?PLAIN, produced}, {?BOOKED, produced}, {?COPIES, {copy, ?BOOKED}}],
    Groups = [
        {<<"main">>, [?PLAIN, ?BOOKED], committed, partition, offsets},
        {<<"keys">>, [?PLAIN, ?BOOKED], uncommitted, process, offsets},
        {<<"copier">>, [?BOOKED], committed, partition, transactions}
    ],
    Told = tell_all(
        [#{what => run, seed => 0}] ++
            [
                #{what => topic, topic => Topic, partitions => ?PARTITIONS, role => Role}
             || {Topic, Role} <- Topics
            ] ++
            [
                #{
                    what => group, group => Group, topics => Of, isolation => Isolation,
                    order => Order, commit => Commit
                }
             || {Group, Of, Isolation, Order, Commit} <- Groups
            ],
        Run
    ),
    Produced = lists:foldl(fun crema_chaos_made_produced:begun/2, Told, ?KINDS),
    lists:foldl(fun crema_chaos_made_handled:begun/2, Produced, [
        {{Group, {Topic, Partition}}, Isolation, Commit}
     || {Group, Of, Isolation, _, Commit} <- Groups,
        Topic <- Of,
        Partition <- lists:seq(0, ?PARTITIONS - 1)
    ]).

ended(Run) ->
    Calm = tell(#{what => calm}, crema_chaos_made_produced:late(fault_over(Run))),
    Parts = maps:keys(Calm#run.parts),
    Drained = tell(
        #{what => drained}, lists:foldl(fun crema_chaos_made_handled:drained/2, Calm, Parts)
    ),
    #run{log = Log} = Drained,
    Places = [{T, P} || T <- [?PLAIN, ?BOOKED, ?COPIES], P <- lists:seq(0, ?PARTITIONS - 1)],
    Sample = #{what => sample, node => one, values => #{processes => 50, ports => 3, reapers => 0}},
    tell_all(
        lists:append([read(Place, maps:get(Place, Log, {0, []})) || Place <- Places]) ++
            [Sample#{'when' => before}, Sample#{'when' => 'after'}],
        Drained
    ).

read({Topic, Partition}, {_End, Entries}) ->
    Of = #{topic => Topic, partition => Partition},
    All = lists:reverse(Entries),
    [
        Of#{what => log, isolation => uncommitted, entries => [{O, M} || {O, M, _} <- All]},
        Of#{what => log, isolation => committed, entries => [{O, M} || {O, M, true} <- All]}
    ].

%% ---- steps -----------------------------------------------------------------------------

step(#run{at = At} = Run) ->
    Calls = [lists:nth(rand:uniform(length(?KINDS)), ?KINDS) || _ <- lists:seq(1, 5)],
    Produced = lists:foldl(fun crema_chaos_made_produced:call/2, disturb(Run#run{at = At + ?STEP}), Calls),
    Reported = one_of([{3, fun(R) -> R end}, {1, fun crema_chaos_made_produced:late/1}], Produced),
    lists:foldl(fun crema_chaos_made_handled:step/2, Reported, maps:keys(Reported#run.parts)).

%% @doc Does one of several things, by their weights.
one_of(Choices, Run) ->
    Draw = rand:uniform() * lists:sum([Weight || {Weight, _} <- Choices]),
    (drawn(Draw, Choices))(Run).

drawn(Draw, [{Weight, _} | Rest]) when Draw > Weight, Rest =/= [] -> drawn(Draw - Weight, Rest);
drawn(_, [{_, Choice} | _]) -> Choice.

%% While something is disturbed it may take long.
disturb(#run{fault = none} = Run) ->
    one_of([{19, fun(R) -> R end}, {1, fun fault/1}], Run);
disturb(Run) ->
    one_of([{6, fun(R) -> R end}, {3, fun fault_over/1}, {1, fun long/1}], Run).

fault(Run) ->
    {Name, Named} = name(Run),
    tell(#{what => fault, fault => Name, kind => pause_broker}, Named#run{fault = Name}).

fault_over(#run{fault = none} = Run) -> Run;
fault_over(#run{fault = Name} = Run) ->
    tell(#{what => fault_over, fault => Name}, Run#run{fault = none}).

long(Run) ->
    #run{at = At} = Reported = crema_chaos_made_produced:late(Run),
    Reported#run{at = At + 100000000}.

