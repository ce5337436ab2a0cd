%% What a soak says of samples that are made up: a figure that grows fails it, and so does one
%% of which nothing can be said. Its modules are no part of crema: they are compiled here.
-module(crema_soak_judge_tests).

-include_lib("eunit/include/eunit.hrl").
-include_lib("xmerl/include/xmerl.hrl").

-define(HOUR, 3600).

judge_test_() ->
    {setup, fun compile/0, [
        {"all modules of the soak compile without warnings", ?_assertEqual(ok, compile())},
        {"what is still", fun still/0},
        {"what grows", fun grows/0},
        {"what cannot be told", fun unclear/0},
        {"what is too short", fun short/0},
        {"what is resident", fun resident/0},
        {"the least leak of a short run", fun least/0},
        {"the plot", fun plot/0}
    ]}.

compile() ->
    crema_ct_modules:load("bench/soak/crema_soak*.erl", []).

still() ->
    {0, Text} = judged(?HOUR, fun(_) -> [12000000, 99] end),
    ?assertMatch({match, _}, re:run(Text, "slopes: all zero\n$")).

grows() ->
    {2, Text} = judged(?HOUR, fun(T) -> [12000000 + 1024 * T, 99 + T div 60] end),
    ?assertMatch({match, _}, re:run(Text, "native .* 1.000 .* KB/s +grows\n")),
    ?assertMatch({match, _}, re:run(Text, "slopes: not zero: native grows, descriptors grows\n$")).

unclear() ->
    _ = rand:seed(exsss, 4),
    {1, Text} = judged(?HOUR, fun(_) -> [walk(), 99] end),
    ?assertMatch({match, _}, re:run(Text, "cannot tell: native: a leak of up to [0-9.]+ KB/s may hide")),
    ?assertMatch({match, _}, re:run(Text, "slopes: not zero: native unclear\n$")).

%% A walk by half a megabyte each time.
walk() ->
    Walk = erlang:max(0, get_or(walk, 50000000) + (rand:uniform(3) - 2) * 524288),
    _ = put(walk, Walk),
    Walk.

get_or(Key, Default) ->
    case get(Key) of
        undefined -> Default;
        Value -> Value
    end.

short() ->
    {2, Text} = judged(20, fun(_) -> [12000000, 99] end),
    ?assertMatch({match, _}, re:run(Text, "cannot tell: descriptors: a leak of up to \\? a min")).

%% An allocator that spreads is no leak, up to a bound.
resident() ->
    Grows = fun(PerSecond) -> fun(T) -> [99, 12000000 + PerSecond * T] end end,
    ?assertMatch({0, _}, judged(?HOUR, [descriptors, resident], Grows(8000))),
    ?assertMatch({1, _}, judged(?HOUR, [descriptors, resident], Grows(20000))).

%% A tenth of the time has to find ten times the leak.
least() ->
    Noise = fun(T) -> [12000000 + 200000 * (T * 7919 rem 101) div 101, 99] end,
    ?assertMatch({0, _}, judged(?HOUR div 10, Noise)),
    {1, Text} = judged(?HOUR div 10, fun(T) ->
        [Native, Count] = Noise(T),
        [Native + 10240 * T, Count]
    end),
    ?assertMatch({match, _}, re:run(Text, "native grows")).

plot() ->
    File = file(?HOUR, [native, descriptors], fun(T) -> [12000000 + T, 99] end),
    Plot = File ++ ".svg",
    ok = crema_soak_plot:write(Plot, crema_soak_judge:judged(File)),
    {#xmlElement{name = svg} = Svg, ""} = xmerl_scan:file(Plot),
    ?assertEqual(2, length(xmerl_xpath:string("//polyline", Svg))),
    ok = file:delete(Plot),
    ok = file:delete(File).

judged(Seconds, Values) -> judged(Seconds, [native, descriptors], Values).

judged(Seconds, Names, Values) ->
    File = file(Seconds, Names, Values),
    Judged = crema_soak_judge:judged(File),
    ok = file:delete(File),
    Failed = [Name || {Name, _, #{verdict := Verdict}} <- Judged, Verdict =/= zero],
    {length(Failed), unicode:characters_to_list(crema_soak_judge:text(Judged))}.

file(Seconds, Names, Values) ->
    File = filename:join(os:getenv("TMPDIR", "/tmp"), "crema-soak-judge-" ++ os:getpid()),
    Rows = [[T * 1000 | Values(T)] || T <- lists:seq(0, Seconds, 2)],
    ok = file:write_file(File, [
        lists:join($\n, [
            lists:join($\t, [io_lib:format("~w", [Cell]) || Cell <- Row])
         || Row <- [[ms | Names] | Rows]
        ]),
        $\n
    ]),
    File.
