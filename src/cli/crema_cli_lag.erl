%% @private `crema lag': what groups have committed beside where partitions end. Nobody
%% joins a group for it.
-module(crema_cli_lag).

-export([run/1, rows/3, table/2]).

-export_type([reading/0]).

-type cluster() :: crema_cli_cluster:cluster().
%% Of a group's partition; `none' where it is not known.
-type reading() :: #{
    group := binary(),
    topic := binary(),
    partition := non_neg_integer(),
    committed := non_neg_integer() | none,
    'end' := non_neg_integer() | none,
    lag := non_neg_integer() | none,
    client := binary() | none
}.

-define(FIELDS, [group, topic, partition, committed, 'end', lag, client]).

-spec run(crema_cli_arguments:given()) -> crema_cli:ended().
run(#{once := true, interval := _}) ->
    throw({usage, "--once and --interval exclude each other"});
run(Given) ->
    Timeout = crema_cli_given:milliseconds(timeout, Given, 10),
    {ok, Cluster} = crema_cli:must(crema_cli_cluster:open(crema_cli_given:client(Given), Timeout)),
    Output = crema_cli_output:open(),
    {Ended, Last} =
        case interval(Given) of
            none -> once(Given, Output, Cluster);
            Interval -> again(Interval, Given, Output, {#{}, 0}, Cluster)
        end,
    ok = crema_cli_output:close(Output),
    ok = crema_cli_cluster:close(Last),
    Ended.

-spec interval(crema_cli_arguments:given()) -> none | pos_integer().
interval(#{interval := Interval}) -> Interval;
interval(#{once := true}) -> none;
interval(#{json := true}) -> none;
interval(_) ->
    case crema_cli_output:is_terminal() of
        true -> 2000;
        false -> none
    end.

-spec once(crema_cli_arguments:given(), crema_stdio:output(), cluster()) ->
    {crema_cli:ended(), cluster()}.
once(Given, Output, Cluster) ->
    {Readings, Troubles, New} = read(Given, Cluster),
    lists:foreach(fun crema_cli:tell/1, Troubles),
    ok = print(Readings, #{}, Given, Output),
    case Troubles of
        [] -> {ok, New};
        _ -> {failed, New}
    end.

%% On a terminal over what stood there, else below it; until it is ended.
-spec again(
    pos_integer(), crema_cli_arguments:given(), crema_stdio:output(), {map(), non_neg_integer()},
    cluster()
) -> no_return().
again(Interval, Given, Output, {Before, Lines}, Cluster) ->
    {Readings, Troubles, New} = read(Given, Cluster),
    Renewed = crema_cli_output:is_terminal() andalso not is_map_key(json, Given),
    Height =
        case Renewed of
            true ->
                Screen = screen(Readings, Troubles, Before),
                Up = ["\e[", integer_to_list(Lines), "A"],
                ok = crema_cli_output:write(Output, [[Up || Lines > 0], "\r\e[J", Screen]),
                length(Screen);
            false ->
                lists:foreach(fun crema_cli:tell/1, Troubles),
                ok = print(Readings, Before, Given, Output),
                0
        end,
    receive
        {'EXIT', Output, _} = Ended ->
            self() ! Ended,
            ok = crema_cli_output:close(Output),
            throw(closed)
    after Interval -> ok
    end,
    again(Interval, Given, Output, {lags(Readings), Height}, New).

%% As much of it as the terminal has place for, and the cursor's line.
-spec screen([reading()], [unicode:chardata()], map()) -> [iodata()].
screen(Readings, Troubles, Before) ->
    Width = crema_cli_output:width(),
    Told = [
        unicode:characters_to_binary([Line, $\n])
     || Trouble <- Troubles, Line <- crema_cli_text:wrapped(Trouble, Width)
    ],
    Head = 3,
    Place = max(1, crema_cli_output:height() - Head - length(Told)),
    lists:append([table(rows(Readings, Before, Place), Width) || Readings =/= []]) ++ Told.

-spec lags([reading()]) -> map().
lags(Readings) ->
    maps:from_list([
        {{Group, Topic, P}, Lag}
     || #{group := Group, topic := Topic, partition := P, lag := Lag} <- Readings, is_integer(Lag)
    ]).

-spec print([reading()], map(), crema_cli_arguments:given(), crema_stdio:output()) -> ok.
print(Readings, _Before, #{json := true} = Given, Output) ->
    Rows = [[maps:get(Field, Reading) || Field <- ?FIELDS] || Reading <- Readings],
    crema_cli_output:rows(Output, Given, ?FIELDS, [], Rows);
print([], _Before, _Given, _Output) ->
    ok;
print(Readings, Before, _Given, Output) ->
    crema_cli_output:write(Output, table(rows(Readings, Before, infinity), infinity)).

%% ---- reading ---------------------------------------------------------------------

-spec read(crema_cli_arguments:given(), cluster()) ->
    {[reading()], [unicode:chardata()], cluster()}.
read(#{groups := Groups} = Given, Cluster) ->
    Only = [crema_cli_cluster:name(Cluster, Topic) || Topic <- maps:get(topics, Given, [])],
    lists:foldl(
        fun(Asked, {Readings, Troubles, Old}) ->
            {Found, Told, New} = group(crema_cli_cluster:name(Old, Asked), Only, Old),
            {Readings ++ Found, Troubles ++ Told, New}
        end,
        {[], [], Cluster},
        Groups
    ).

-spec group(binary(), [binary()], cluster()) ->
    {[reading()], [unicode:chardata()], cluster()}.
group(Group, Only, Cluster) ->
    {Answer, Second} = crema_cli_cluster:committed(Group, Cluster),
    case Answer of
        {ok, Committed} ->
            {Clients, Third} = clients(Group, Second),
            Places = [
                Place
             || {Topic, _} = Place <- lists:usort(maps:keys(Committed) ++ maps:keys(Clients)),
                Only =:= [] orelse lists:member(Topic, Only)
            ],
            {Ends, Troubles, Last} = ends(Places, Third),
            {readings(Group, Places, Committed, Clients, Ends), nobody(Group, Places) ++ Troubles, Last};
        {error, {_, #{message := Text}}} ->
            {[], [[Group, ": ", Text]], Second}
    end.

-spec nobody(binary(), [crema_cli_cluster:place()]) -> [unicode:chardata()].
nobody(Group, []) ->
    [[Group, ": nothing is committed, and nobody is a member (`crema groups` lists groups)"]];
nobody(_Group, _Places) ->
    [].

-spec readings(binary(), [crema_cli_cluster:place()], map(), map(), map()) -> [reading()].
readings(Group, Places, Committed, Clients, Ends) ->
    [
        reading(Group, Place, maps:get(Place, Committed, -1), maps:get(Place, Ends, none), Clients)
     || Place <- Places
    ].

-spec reading(binary(), crema_cli_cluster:place(), integer(), integer() | none, map()) ->
    reading().
reading(Group, {Topic, Partition} = Place, Offset, End, Clients) ->
    Committed =
        case Offset >= 0 of
            true -> Offset;
            false -> none
        end,
    #{
        group => Group,
        topic => Topic,
        partition => Partition,
        committed => Committed,
        'end' => End,
        lag => behind(Committed, End),
        client => maps:get(Place, Clients, none)
    }.

%% More may be committed than there is: of a topic that was made again.
-spec behind(non_neg_integer() | none, non_neg_integer() | none) -> non_neg_integer() | none.
behind(Committed, End) when is_integer(Committed), is_integer(End) -> max(0, End - Committed);
behind(_, _) -> none.

%% Who has which partition. That it is not told is no reason to tell nothing.
-spec clients(binary(), cluster()) -> {#{crema_cli_cluster:place() => binary()}, cluster()}.
clients(Group, Cluster) ->
    case crema_cli_cluster:group(Group, Cluster) of
        {{ok, {_, _, _, Members}}, New} ->
            {maps:from_list([{Place, C} || {C, _, _, Places} <- Members, Place <- Places]), New};
        {{error, _}, New} ->
            {#{}, New}
    end.

%% Of partitions that are there and have a leader, and why it is not known of others.
-spec ends([crema_cli_cluster:place()], cluster()) ->
    {#{crema_cli_cluster:place() => integer()}, [unicode:chardata()], cluster()}.
ends(Places, Cluster) ->
    {Led, Troubles, Second} = lists:foldl(
        fun led/2, {#{}, [], Cluster}, lists:usort([Topic || {Topic, _} <- Places])
    ),
    case crema_cli_cluster:offsets('end', [P || P <- Places, is_map_key(P, Led)], Second) of
        {{ok, Ends}, Last} ->
            {Ends, Troubles, Last};
        {{error, {_, #{message := Text}}}, Last} ->
            {#{}, Troubles ++ [["where partitions end: ", Text]], Last}
    end.

%% A topic may be gone that a group has read: that is none.
-spec led(binary(), {Led, Troubles, cluster()}) -> {Led, Troubles, cluster()} when
    Led :: #{crema_cli_cluster:place() => []}, Troubles :: [unicode:chardata()].
led(Topic, {Led, Troubles, Cluster}) ->
    case crema_cli_cluster:topic(Topic, Cluster) of
        {{ok, Partitions}, New} ->
            Found = maps:from_list([{{Topic, P}, []} || {P, Leader, _, _} <- Partitions, Leader >= 0]),
            {maps:merge(Led, Found), Troubles, New};
        {{error, {Gone, _}}, New} when Gone =:= unknown_topic_or_part; Gone =:= unknown_topic ->
            {Led, Troubles, New};
        {{error, {_, #{message := Text}}}, New} ->
            {Led, Troubles ++ [Text], New}
    end.

%% ---- showing ----------------------------------------------------------------------

%% @doc Rows of a table, of which there may be `Most': then those with the largest lags.
%% The last one is the sum.
-spec rows([reading()], map(), pos_integer() | infinity) -> [[term()]].
rows(Readings, Before, Most) ->
    Shown =
        case length(Readings) > Most of
            true -> lists:sublist(lists:sort(fun is_larger/2, Readings), max(1, Most - 1));
            false -> Readings
        end,
    Hidden = Readings -- Shown,
    [row(Reading, Before) || Reading <- Shown] ++
        [
            ["", [integer_to_list(length(Hidden)), " more"], "", "", "", sum(Hidden), "", ""]
         || Hidden =/= []
        ] ++
        [["", "total", "", "", "", sum(Readings), change(sum(Readings), sum_before(Readings, Before)), ""]].

-spec is_larger(reading(), reading()) -> boolean().
is_larger(#{lag := A}, #{lag := B}) -> number(A) >= number(B).

-spec number(non_neg_integer() | none) -> non_neg_integer().
number(none) -> 0;
number(Lag) -> Lag.

%% Of those whose lag is known.
-spec sum([reading()]) -> non_neg_integer() | none.
sum(Readings) ->
    case [Lag || #{lag := Lag} <- Readings, is_integer(Lag)] of
        [] -> none;
        Known -> lists:sum(Known)
    end.

%% Of the partitions that have one.
-spec sum_before([reading()], map()) -> non_neg_integer() | none.
sum_before(_Readings, Before) when map_size(Before) =:= 0 -> none;
sum_before(Readings, Before) ->
    lists:sum([
        maps:get({Group, Topic, P}, Before, Lag)
     || #{group := Group, topic := Topic, partition := P, lag := Lag} <- Readings, is_integer(Lag)
    ]).

-spec row(reading(), map()) -> [term()].
row(#{group := Group, topic := Topic, partition := P, lag := Lag} = Reading, Before) ->
    #{committed := Committed, 'end' := End, client := Client} = Reading,
    Change = change(Lag, maps:get({Group, Topic, P}, Before, none)),
    [Group, Topic, P, Committed, End, Lag, Change, Client].

-spec change(non_neg_integer() | none, non_neg_integer() | none) -> string() | none.
change(Now, Before) when is_integer(Now), is_integer(Before) ->
    case Now - Before of
        More when More > 0 -> [$+ | integer_to_list(More)];
        Less -> integer_to_list(Less)
    end;
change(_, _) ->
    none.

%% @doc The lines of a table. The change is told when there was a reading before, and the
%% group when there are several.
-spec table([[term()]], pos_integer() | infinity) -> [iodata()].
table(Rows, Width) ->
    Columns = [
        {"GROUP", left, middle}, {"TOPIC", left, middle}, {"PARTITION", right, nothing},
        {"COMMITTED", right, whole}, {"END", right, whole}, {"LAG", right, nothing},
        {"CHANGE", right, whole}, {"CLIENT", left, whole}
    ],
    Empty = [
        Name
     || {Name, Nth} <- [{"CHANGE", 7}, {"CLIENT", 8}],
        lists:all(fun(Row) -> lists:member(lists:nth(Nth, Row), [none, ""]) end, Rows)
    ] ++ ["GROUP" || length(lists:usort([Group || [Group | _] <- Rows, Group =/= ""])) < 2],
    Kept = [not lists:member(Name, Empty) || {Name, _, _} <- Columns],
    crema_cli_text:table(kept(Columns, Kept), [kept(Row, Kept) || Row <- Rows], Width).

-spec kept([Each], [boolean()]) -> [Each].
kept(List, Kept) -> [Each || {Each, true} <- lists:zip(List, Kept)].
