%% What nine partitions lose while the handler of the tenth fails without end.
%% See README.md.
%%
%% erl -noshell -pa ... -run crema_bench_failures main -extra BOOTSTRAP TOPIC RUNS MESSAGES
-module(crema_bench_failures).
-behaviour(crema_consumer).

-export([main/0]).
-export([init/2, handle_message/2]).

-define(PARTITIONS, 10).
%% Beside calm ones, in which nothing fails. crashes: with the default back-off; storm: as fast as it
%% may be started again; hangs: killed twice a second.
-define(KINDS, [
    {crashes, #{}},
    {storm, #{backoff => {1, 1}}},
    {hangs, #{handler_timeout => 500, backoff => {1, 1}}}
]).
%% What the nine must keep of their rate.
-define(TARGET, 0.95).
-define(VALUE, <<0:800>>).

-spec main() -> no_return().
main() ->
    try
        [Bootstrap, Topic, Runs, Messages] = init:get_plain_arguments(),
        {ok, _} = application:ensure_all_started(crema),
        Ratios = run(#{
            bootstrap => list_to_binary(Bootstrap),
            topic => list_to_binary(Topic),
            runs => list_to_integer(Runs),
            messages => list_to_integer(Messages)
        }),
        halt(crema_bench_result:judge([target(Kind, Ratios) || {Kind, _} <- ?KINDS]))
    catch
        Class:Reason:Stack ->
            io:format(standard_error, "~p:~tp~n~tp~n", [Class, Reason, Stack]),
            halt(1)
    end.

%% Each is measured against the calm runs before and behind it, for the machine
%% may have other things to do.
run(#{runs := Runs} = O) ->
    ok = fill(O),
    Rounds = lists:append(lists:duplicate(Runs, ?KINDS)),
    {Ratios, _} = lists:mapfoldl(
        fun({Kind, Options}, Before) ->
            Rate = rate(Kind, Options, O),
            After = rate(calm, #{}, O),
            {{Kind, 2 * Rate / (Before + After)}, After}
        end,
        rate(calm, #{}, O),
        Rounds
    ),
    Ratios.

target(Kind, Ratios) ->
    Of = [Ratio || {K, Ratio} <- Ratios, K =:= Kind],
    What = io_lib:format("~s, ~b runs of ~.3f to ~.3f", [
        Kind, length(Of), lists:min(Of), lists:max(Of)
    ]),
    {What, median(Of), '>=', ?TARGET, " of calm"}.

median(Values) ->
    lists:nth((length(Values) + 1) div 2, lists:sort(Values)).

%% One message in the first partition, many in the others.
fill(#{bootstrap := Bootstrap, topic := Topic, messages := Messages}) ->
    {ok, Producer} = crema_producer:start_link(#{bootstrap_servers => Bootstrap}),
    Message = #{topic => Topic, value => ?VALUE},
    {ok, _} = crema:produce(Producer, Message#{partition => 0}),
    Batch = [Message#{partition => P} || P <- lists:seq(1, ?PARTITIONS - 1), _ <- lists:seq(1, 100)],
    Produce = fun(_) ->
        ok = crema:produce_many_async(Producer, Batch, #{report => none, full_timeout => infinity})
    end,
    lists:foreach(Produce, lists:seq(1, Messages div 100)),
    ok = crema:flush(Producer, 120000),
    ok = crema_producer:stop(Producer).

%% Messages of the nine a second, from the first one handled to the last.
rate(Kind, Options, #{bootstrap := Bootstrap, topic := Topic, messages := Messages}) ->
    Failed = counters:new(1, []),
    Group = integer_to_binary(erlang:unique_integer([positive])),
    {ok, C} = crema_consumer:start_link(Options#{
        bootstrap_servers => Bootstrap,
        topics => [Topic],
        group => <<Topic/binary, $-, Group/binary>>,
        handler => {?MODULE, {Kind, self(), Messages, Failed}}
    }),
    Times = [
        receive
            {done, Began, Ended} -> {Began, Ended}
        after 120000 -> error({not_done, Kind, crema:info(C)})
        end
     || _ <- lists:seq(1, ?PARTITIONS - 1)
    ],
    #{rebalances := 1} = crema:info(C),
    ok = crema_consumer:stop(C),
    Time = lists:max([E || {_, E} <- Times]) - lists:min([B || {B, _} <- Times]),
    Rate = (?PARTITIONS - 1) * Messages * 1000000 / Time,
    io:format(standard_error, "~s: ~b/s, ~b failures~n", [Kind, round(Rate), counters:get(Failed, 1)]),
    Rate.

-spec init(map(), term()) -> {ok, tuple()}.
init(#{partition := Partition}, Args) ->
    {ok, {Partition, 0, none, Args}}.

-spec handle_message(map(), State) -> {ack, State} when State :: tuple().
handle_message(_, {0, _, _, {Kind, _, _, Failed}} = State) ->
    Kind =/= calm andalso counters:add(Failed, 1, 1),
    case Kind of
        calm -> {ack, State};
        hangs -> receive never_comes -> {ack, State} end;
        _ -> error(planned)
    end;
handle_message(#{offset := 0}, {Partition, 0, none, Args}) ->
    {ack, {Partition, 1, now_us(), Args}};
handle_message(_, {Partition, Count, Began, {_, To, Messages, _} = Args}) ->
    _ = Count + 1 =:= Messages andalso (To ! {done, Began, now_us()}),
    {ack, {Partition, Count + 1, Began, Args}}.

now_us() ->
    erlang:monotonic_time(microsecond).
