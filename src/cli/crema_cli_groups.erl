%% @private `crema groups': which consumer groups there are, and who is in them.
-module(crema_cli_groups).

-export([run/1]).

-type cluster() :: crema_cli_cluster:cluster().

-spec run(crema_cli_arguments:given()) -> crema_cli:ended().
run(Given) ->
    crema_cli:list_or_describe(groups, Given, fun list/3, fun describe/4).

-spec list(crema_cli_arguments:given(), crema_stdio:output(), cluster()) ->
    {crema_cli:ended(), cluster()}.
list(Given, Output, Cluster) ->
    {Answer, New} = crema_cli_cluster:groups(Cluster),
    {ok, {Groups, Errors}} = crema_cli:must(Answer),
    %% That a group moves from one broker to another may have both name it.
    Rows = [[Name, State] || {Name, State} <- lists:ukeysort(1, Groups)],
    Columns = [{"GROUP", left, middle}, {"STATE", left, nothing}],
    ok = crema_cli_output:rows(Output, Given, [group, state], Columns, Rows),
    lists:foreach(
        fun({error, {_, #{message := Text}}}) ->
            crema_cli:tell(["there may be more groups: ", Text])
        end,
        Errors
    ),
    case Errors of
        [] -> {ok, New};
        _ -> {failed, New}
    end.

-spec describe(binary(), crema_cli_arguments:given(), crema_stdio:output(), cluster()) ->
    {crema_cli:ended(), cluster()}.
describe(Asked, Given, Output, Cluster) ->
    Name = crema_cli_cluster:name(Cluster, Asked),
    case crema_cli_cluster:group(Name, Cluster) of
        %% Brokers say this of a group that they do not know, or the next.
        {{ok, {<<"Dead">>, _, _, []}}, New} ->
            crema_cli:tell(["there is no group ", Name, ", or this librdkafka cannot ask who is in it, as "
                "its members have group.protocol=consumer: `crema groups` lists those that are there"]),
            {failed, New};
        {{error, {group_id_not_found, _}}, New} ->
            crema_cli:tell(["there is no group ", Name, ": `crema groups` lists those that are there"]),
            {failed, New};
        {{ok, Described}, New} ->
            ok = described(Name, Described, Given, Output),
            {ok, New};
        {{error, {_, #{message := Text}}}, New} ->
            crema_cli:tell([Name, ": ", Text]),
            {failed, New}
    end.

-spec described(binary(), tuple(), crema_cli_arguments:given(), crema_stdio:output()) -> ok.
described(Name, {State, Assignor, Coordinator, Members}, Given, Output) ->
    is_map_key(json, Given) orelse
        crema_cli_output:write(Output, heading(Name, State, Assignor, Coordinator, length(Members))),
    Rows = [
        {[Client, text(Instance), text(string:trim(Host, leading, "/"))], lists:sort(Places)}
     || {Client, Instance, Host, Places} <- lists:sort(Members)
    ],
    case {Given, Rows} of
        {#{json := true}, _} ->
            Fields = [group, state, client, instance, host, partitions],
            Objects = [[Name, State | Row] ++ [objects(Places)] || {Row, Places} <- Rows],
            crema_cli_output:rows(Output, Given, Fields, [], Objects);
        {_, []} ->
            ok;
        {_, _} ->
            Columns = [
                {"CLIENT", left, middle}, {"INSTANCE", left, whole}, {"HOST", left, whole},
                {"PARTITIONS", left, middle}
            ],
            Shown = [Row ++ [shares(Places)] || {Row, Places} <- Rows],
            crema_cli_output:rows(Output, Given, [], Columns, Shown)
    end.

-spec objects([crema_cli_cluster:place()]) -> [#{atom() => binary() | non_neg_integer()}].
objects(Places) ->
    [#{topic => Topic, partition => Partition} || {Topic, Partition} <- Places].

-spec heading(binary(), binary(), binary(), none | tuple(), non_neg_integer()) -> iodata().
heading(Name, State, Assignor, Coordinator, Members) ->
    [
        [Name, ": ", State],
        case Members of
            1 -> ", 1 member";
            _ -> [", ", integer_to_list(Members), " members"]
        end,
        [[", ", Assignor] || Assignor =/= <<>>],
        [
            [", coordinator ", Host, $:, integer_to_list(Port)]
         || {_, Host, Port} <- [Coordinator]
        ],
        $\n
    ].

-spec text(binary()) -> binary() | none.
text(<<>>) -> none;
text(Text) -> Text.

%% orders:0-3,7 payments:1
-spec shares([crema_cli_cluster:place()]) -> binary() | none.
shares([]) ->
    none;
shares(Places) ->
    iolist_to_binary(lists:join($\s, [
        [Topic, $:, runs([P || {T, P} <- Places, T =:= Topic])]
     || Topic <- lists:usort([Topic || {Topic, _} <- Places])
    ])).

-spec runs([non_neg_integer()]) -> iolist().
runs(Numbers) ->
    lists:join($,, [run_of(Run) || Run <- lists:foldr(fun run_with/2, [], Numbers)]).

-spec run_with(non_neg_integer(), [{non_neg_integer(), non_neg_integer()}]) ->
    [{non_neg_integer(), non_neg_integer()}].
run_with(Number, [{First, Last} | Rest]) when Number + 1 =:= First -> [{Number, Last} | Rest];
run_with(Number, Runs) -> [{Number, Number} | Runs].

-spec run_of({non_neg_integer(), non_neg_integer()}) -> iolist().
run_of({Only, Only}) -> integer_to_list(Only);
run_of({First, Last}) -> [integer_to_list(First), $-, integer_to_list(Last)].
