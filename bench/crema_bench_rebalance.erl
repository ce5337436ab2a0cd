%% How long partitions that stay with a member get nothing while another member
%% joins and leaves its group: the longest time between two handled messages of
%% one partition. See README.md.
%%
%% erl -noshell -pa ... -run crema_bench_rebalance main -extra BOOTSTRAP TOPIC ROUNDS STUCK [KEY=VALUE...]
-module(crema_bench_rebalance).
-behaviour(crema_consumer).

-export([main/0]).
-export([init/2, handle_message/2]).

-define(TABLE, ?MODULE).
-define(PARTITIONS, 12).
%% Each partition gets a message that often.
-define(PACE_MS, 4).
%% What has not come so long after a rebalance will not come.
-define(SETTLE_MS, 2500).
%% Gaps that are worth noting.
-define(NOTED_MS, 20).
-define(DRAIN_TIMEOUT, 2000).

-spec main() -> no_return().
main() ->
    try
        [Bootstrap, Topic, Rounds, Stuck | Kafka] = init:get_plain_arguments(),
        {ok, _} = application:ensure_all_started(crema),
        Targets = run(#{
            bootstrap => list_to_binary(Bootstrap),
            topic => list_to_binary(Topic),
            rounds => list_to_integer(Rounds),
            stuck => Stuck =:= "stuck",
            kafka => maps:from_list([property(Setting) || Setting <- Kafka])
        }),
        halt(crema_bench_result:judge(Targets))
    catch
        Class:Reason:Stack ->
            io:format(standard_error, "~p:~tp~n~tp~n", [Class, Reason, Stack]),
            halt(1)
    end.

property(Setting) ->
    [Key, Value] = string:split(Setting, "="),
    {list_to_binary(Key), list_to_binary(Value)}.

run(#{rounds := Rounds} = O) ->
    ?TABLE = ets:new(?TABLE, [named_table, public, {write_concurrency, true}]),
    Producer = feeder(O),
    First = member(first, O),
    assigned(First, ?PARTITIONS),
    settle(),
    {Gaps, _} = lists:mapfoldl(
        fun(Round, Goes) -> round(Round, First, Goes, O) end, none, lists:seq(1, Rounds)
    ),
    Producer ! stop,
    settle(),
    Targets = report(O, Gaps),
    ok = crema_consumer:stop(First),
    Targets.

%% Another member joins, and leaves again. The one that was stuck at first is on a
%% partition that went the last time: a round in which it stays does not count.
round(Round, First, Goes, #{stuck := Stuck} = O) ->
    Before = assigned_to(First),
    Quiet = gap(first, Before, now_ms() - ?SETTLE_MS),
    _ = [ets:insert(?TABLE, {{stuck, first, P}, true}) || Stuck, P <- [Goes], P =/= none],
    Began = now_ms(),
    Second = member(second, O),
    assigned(First, ?PARTITIONS div 2),
    assigned(Second, ?PARTITIONS div 2),
    settle(),
    After = assigned_to(First),
    Counts = not Stuck orelse (Goes =/= none andalso not lists:member(Goes, After)),
    Join = gap(first, After, Began),
    true = ets:match_delete(?TABLE, {{stuck, '_', '_'}, '_'}),
    Left = now_ms(),
    ok = crema_consumer:stop(Second),
    assigned(First, ?PARTITIONS),
    settle(),
    Leave = gap(first, After, Left),
    io:format(standard_error, "~b: ~p ~p ~p ~p~n", [Round, Join, Leave, Quiet, Counts]),
    {{Counts, Join, Leave, Quiet}, hd(Before -- After)}.

report(#{stuck := Stuck}, Gaps) ->
    Joins = lists:sort([Join || {true, Join, _, _} <- Gaps]),
    Leaves = lists:sort([Leave || {_, _, Leave, _} <- Gaps]),
    Quiets = lists:sort([Quiet || {_, _, _, Quiet} <- Gaps]),
    {ok, Runtime} = crema_anchor:runtime(),
    {Kind, Most} =
        case Stuck of
            true -> {"one handler stuck", ?DRAIN_TIMEOUT + 300};
            false -> {"quick handlers", 200}
        end,
    io:format(
        "librdkafka ~s, ~s, ~b rounds: join median ~b ms, longest ~b ms; "
        "leave median ~b ms, longest ~b ms; no rebalance median ~b ms, longest ~b ms; "
        "staying: ~b repeated, ~b left out; lost ~b~n",
        [
            proplists:get_value(librdkafka, Runtime),
            Kind,
            length(Joins), median(Joins), lists:last(Joins), median(Leaves), lists:last(Leaves),
            median(Quiets), lists:last(Quiets),
            count(repeated), count(left_out), lost()
        ]
    ),
    [
        {["longest gap of a join, ", Kind], lists:last(Joins), '=<', Most, " ms"},
        {["longest gap of a leave, ", Kind], lists:last(Leaves), '=<', Most, " ms"},
        {["left out or lost, ", Kind], count(left_out) + lost(), '=<', 0, " messages"}
    ].

median(Sorted) -> lists:nth((length(Sorted) + 1) div 2, Sorted).

count(Name) ->
    case ets:lookup(?TABLE, Name) of [{_, Count}] -> Count; [] -> 0 end.

%% Messages before the last one of a partition that nobody has handled.
lost() ->
    lists:sum([
        begin
            Seen = lists:sort(ets:select(?TABLE, [{{{seen, P, '$1'}, '_'}, [], ['$1']}])),
            lists:last(Seen) + 1 - length(Seen)
        end
     || P <- lists:seq(0, ?PARTITIONS - 1)
    ]).

%% The longest of these partitions, one that goes on now included.
gap(Member, Partitions, Since) ->
    Noted = ets:select(?TABLE, [
        {{{gap, Member, P, '$1'}, '$2'}, [{'>=', '$1', Since}], ['$2']}
     || P <- Partitions
    ]),
    Open = [now_ms() - ets:lookup_element(?TABLE, {last, Member, P}, 2) || P <- Partitions],
    lists:max(Noted ++ Open).

member(Label, #{bootstrap := Bootstrap, topic := Topic, kafka := Kafka, stuck := Stuck}) ->
    {ok, Member} = crema_consumer:start_link(#{
        bootstrap_servers => Bootstrap,
        group => <<Topic/binary, "-group">>,
        topics => [Topic],
        handler => {?MODULE, Label},
        drain_timeout => case Stuck of true -> ?DRAIN_TIMEOUT; false -> 5000 end,
        kafka => Kafka
    }),
    Member.

assigned_to(Member) ->
    [P || {_, P} <- maps:get(assigned, crema:status(Member), [])].

assigned(Member, Count) ->
    case length(assigned_to(Member)) of
        Count ->
            ok;
        _ ->
            receive
            after 5 -> assigned(Member, Count)
            end
    end.

settle() ->
    receive
    after ?SETTLE_MS -> ok
    end.

feeder(#{bootstrap := Bootstrap, topic := Topic}) ->
    {ok, Producer} = crema_producer:start_link(#{bootstrap_servers => Bootstrap}),
    spawn_link(fun() -> feed(Producer, Topic) end).

feed(Producer, Topic) ->
    _ = crema:produce_many_async(
        Producer,
        [#{topic => Topic, partition => P, value => <<"v">>} || P <- lists:seq(0, ?PARTITIONS - 1)],
        #{report => none}
    ),
    receive
        stop -> ok
    after ?PACE_MS -> feed(Producer, Topic)
    end.

-spec init(map(), Label) -> {ok, {Label, integer(), none, none}}.
init(#{partition := Partition}, Label) ->
    {ok, {Label, Partition, none, none}}.

-spec handle_message(map(), State) -> {ack, State} when State :: tuple().
handle_message(#{offset := Offset}, {Label, Partition, Last, Before}) ->
    stuck(Label, Partition),
    Now = now_ms(),
    _ =
        is_integer(Last) andalso Now - Last >= ?NOTED_MS andalso
            ets:insert(?TABLE, {{gap, Label, Partition, Now}, Now - Last}),
    _ = [bump(repeated) || is_integer(Before), Offset =< Before],
    _ = [bump(left_out) || is_integer(Before), Offset > Before + 1],
    true = ets:insert(?TABLE, [
        {{last, Label, Partition}, Now}, {{seen, Partition, Offset}, true}
    ]),
    {ack, {Label, Partition, Now, Offset}}.

stuck(Label, Partition) ->
    case ets:member(?TABLE, {stuck, Label, Partition}) of
        true ->
            receive
            after infinity -> ok
            end;
        false ->
            ok
    end.

bump(Name) -> ets:update_counter(?TABLE, Name, 1, {Name, 0}).

now_ms() -> erlang:monotonic_time(millisecond).
