%% Random sequences of commands on consumers of the embedded cluster, or below
%% `scripts/kafka run' of its brokers: no message is passed over, none comes again
%% that was acknowledged, and what is committed is never beyond the first message
%% that is not, whatever happens.
%%
%% CREMA_SEQUENCES is the number of sequences (20), CREMA_SHRINK the milliseconds
%% given to making a broken one smaller; how often each command came is printed.
-module(prop_crema_consumer).

-include_lib("proper/include/proper.hrl").

-define(SEQUENCES, "20").
-define(SHRINK, "60000").
%% So many commands do something, in a sequence that counts.
-define(ENOUGH, 40).

prop_gap_free() ->
    %% See above, and crema_ct_partition for what must hold.
    Count = list_to_integer(os:getenv("CREMA_SEQUENCES", ?SEQUENCES)),
    Property = ?FORALL({Shape, Commands}, {shape(), commands()}, passes(Shape, Commands)),
    proper:numtests(Count, ?SETUP(fun set_up/0, Property)).

shape() -> oneof([one, batch, eager]).

%% Three in ten have a member that comes, and goes.
commands() ->
    frequency([{7, some(range(65, 75))}, {3, with_members()}]).

with_members() ->
    ?LET(
        {Alone, Coming, Both, Going, Again, Seed, Leaver, How},
        {some(12), some(20), some(25), some(20), some(5), integer(0, 100000), range(0, 1),
            frequency([{4, stop}, {1, kill}])},
        Alone ++ [join] ++ Coming ++ [{settle, Seed}] ++ Both ++ [{leave, Leaver, How}] ++ Going ++
            [{settle, Seed}] ++ Again
    ).

%% Each becomes nothing when a failed sequence is made smaller.
some(Count) ->
    ?LET(N, Count, vector(N, frequency([{1, skip}, {40, command()}]))).

command() ->
    Any = range(0, 1000),
    Partition = range(0, 3),
    frequency([
        {8, {produce, Partition, range(1, 6)}},
        {16, {handle, Any, outcome()}},
        {7, {ack, Any}},
        {2, {ack_some, Any}},
        {2, {again, Any}},
        {2, {stale, Any}},
        {1, {kill, Partition}},
        {1, {pause, Partition}},
        {2, {resume, Any}},
        {1, {seek, Partition, frequency([{6, Any}, {1, earliest}, {1, latest}])}},
        {2, commit},
        {3, look}
    ]).

outcome() ->
    frequency([
        {9, ack}, {12, noack}, {2, error}, {2, crash}, {1, up_to}, {1, retry}, {1, skip}, {1, pause}
    ]).

%% Once one is broken, PropEr looks for a smaller one: not for ever.
passes(Shape, Commands) ->
    case get(give_up) of
        undefined -> holds(Shape, Commands);
        At -> crema_ct:now_ms() > At orelse holds(Shape, Commands)
    end.

holds(Shape, Commands) ->
    try crema_ct_sequence:run(Commands, maps:get(Shape, groups())) of
        {Done, Ended} ->
            _ = put(groups, (groups())#{Shape := Ended}),
            _ = put(sequences, [Done | get(sequences)]),
            true
    catch
        error:Reason:Stack ->
            Number = length(get(sequences)) + 1,
            io:format("broken by sequence ~b (~s): ~0p~n~0p~n", [Number, Shape, Reason, Stack]),
            [io:format("  ~0p~n", [Step]) || Step <- crema_ct_sequence:trace()],
            Shrink = list_to_integer(os:getenv("CREMA_SHRINK", ?SHRINK)),
            get(give_up) =:= undefined andalso put(give_up, crema_ct:now_ms() + Shrink),
            clean_up(),
            false
    end.

set_up() ->
    #{level := Level} = logger:get_primary_config(),
    ok = logger:set_primary_config(level, none),
    {ok, _} = application:ensure_all_started(crema),
    Brokers = crema_ct:brokers(),
    _ = put(brokers, Brokers),
    _ = put(sequences, []),
    fun() ->
        clean_up(),
        [ok = crema_cluster:stop(Cluster) || {cluster, Cluster} <- Brokers],
        ok = logger:set_primary_config(level, Level),
        tell(get(sequences))
    end.

%% They live from sequence to sequence, until one of them is broken.
groups() ->
    case get(groups) of
        undefined ->
            Groups = crema_ct_sequence:start(get(brokers), [one, batch, eager]),
            _ = put(groups, Groups),
            Groups;
        Groups ->
            Groups
    end.

clean_up() ->
    _ = erase(groups),
    crema_ct:cleanup(),
    forget_messages().

forget_messages() ->
    receive
        _ -> forget_messages()
    after 0 -> ok
    end.

tell(Sequences) ->
    Lengths = [lists:sum(maps:values(Done)) || Done <- Sequences],
    Kinds = lists:usort(lists:append([maps:keys(Done) || Done <- Sequences])),
    io:format("~b sequences, ~b of them with ~b commands or more~n", [
        length(Sequences), length([L || L <- Lengths, L >= ?ENOUGH]), ?ENOUGH
    ]),
    [
        begin
            With = [N || #{Kind := N} <- Sequences],
            io:format("  ~-10s ~6b, in ~5.1f % of the sequences~n", [
                Kind, lists:sum(With), 100 * length(With) / length(Sequences)
            ])
        end
     || Kind <- Kinds
    ],
    ok.
