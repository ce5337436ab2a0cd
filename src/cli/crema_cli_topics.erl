%% @private `crema topics': which topics there are, and their partitions.
-module(crema_cli_topics).

-export([run/1]).

-type cluster() :: crema_cli_cluster:cluster().

-spec run(crema_cli_arguments:given()) -> crema_cli:ended().
run(Given) ->
    crema_cli:list_or_describe(topics, Given, fun list/3, fun describe/4).

-spec list(crema_cli_arguments:given(), crema_stdio:output(), cluster()) ->
    {crema_cli:ended(), cluster()}.
list(Given, Output, Cluster) ->
    {Answer, New} = crema_cli_cluster:topics(Cluster),
    {ok, Topics} = crema_cli:must(Answer),
    Rows = [
        [Name, length(Partitions), least_replicas(Partitions)]
     || {Name, Partitions} <- lists:sort(Topics), maps:is_key(all, Given) orelse not internal(Name)
    ],
    Columns = [{"TOPIC", left, middle}, {"PARTITIONS", right, nothing}, {"REPLICAS", right, whole}],
    ok = crema_cli_output:rows(Output, Given, [topic, partitions, replicas], Columns, Rows),
    {ok, New}.

-spec internal(binary()) -> boolean().
internal(<<"__", _/binary>>) -> true;
internal(_) -> false.

-spec least_replicas([crema_check_topics:partition()]) -> non_neg_integer().
least_replicas([]) -> 0;
least_replicas(Partitions) -> lists:min([Replicas || {_, _, Replicas, _} <- Partitions]).

-spec describe(binary(), crema_cli_arguments:given(), crema_stdio:output(), cluster()) ->
    {crema_cli:ended(), cluster()}.
describe(Given, Asked, Output, Cluster) ->
    Name = crema_cli_cluster:name(Cluster, Given),
    case crema_cli_cluster:topic(Name, Cluster) of
        {{ok, Partitions}, New} ->
            {Rows, Last} = described(Name, lists:sort(Partitions), New),
            Columns = [
                {"TOPIC", left, middle}, {"PARTITION", right, nothing}, {"LEADER", right, whole},
                {"REPLICAS", right, whole}, {"IN SYNC", right, whole}, {"BEGINNING", right, whole},
                {"END", right, nothing}
            ],
            Fields = [topic, partition, leader, replicas, in_sync, beginning, 'end'],
            ok = crema_cli_output:rows(Output, Asked, Fields, Columns, Rows),
            {ok, Last};
        {{error, {_, #{message := Text}}}, New} ->
            crema_cli:tell(Text),
            {failed, New}
    end.

%% Without a leader nobody knows where a partition ends.
-spec described(binary(), [crema_check_topics:partition()], cluster()) -> {[[term()]], cluster()}.
described(Name, Partitions, Cluster) ->
    Led = [{Name, Number} || {Number, Leader, _, _} <- Partitions, Leader >= 0],
    {Low, Middle} = crema_cli_cluster:offsets(beginning, Led, Cluster),
    {High, Last} = crema_cli_cluster:offsets('end', Led, Middle),
    {{ok, Beginnings}, {ok, Ends}} = {crema_cli:must(Low), crema_cli:must(High)},
    Rows = [
        [Name, Number, known(Leader), Replicas, InSync] ++
            [maps:get({Name, Number}, Offsets, none) || Offsets <- [Beginnings, Ends]]
     || {Number, Leader, Replicas, InSync} <- Partitions
    ],
    {Rows, Last}.

-spec known(integer()) -> integer() | none.
known(Leader) when Leader < 0 -> none;
known(Leader) -> Leader.
