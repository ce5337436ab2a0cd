-module(crema_reader_bounds_tests).

-include_lib("eunit/include/eunit.hrl").

-define(LEAST, #{bootstrap_servers => <<"h:1">>}).

parse(Options) -> crema_options:parse(reader, maps:merge(?LEAST, Options)).

faults(Options) ->
    {error, {bad_options, #{faults := Faults}}} = parse(Options),
    [Option || #{option := Option} <- Faults].

forms_are_normalised_test() ->
    %% Topics become binaries wherever they stand, and a time of Elixir's milliseconds.
    {ok, Parsed} = parse(#{
        topic => orders,
        partitions => [1, {"orders", 2}, 1],
        from => #{1 => {last, 5}, {orders, 2} => {timestamp, 17}},
        to => infinity
    }),
    ?assertMatch(
        #{
            topic := <<"orders">>,
            partitions := [1, {<<"orders">>, 2}],
            from := #{1 := {last, 5}, {<<"orders">>, 2} := {timestamp, 17}},
            to := infinity
        },
        Parsed
    ),
    ?assertMatch({ok, #{partitions := undefined}}, parse(#{topic => <<"t">>, partitions => nil})).

wrong_forms_are_refused_test() ->
    %% What is no place, no beginning and no end is a fault, each by its name.
    Wrong = [
        {from, 'end'}, {from, -1}, {from, {last, -1}}, {from, {timestamp, now}}, {from, #{x => 1}},
        {from, #{0 => soon}}, {from, [1]}, {to, latest}, {to, earliest}, {to, {last, 5}},
        {to, 1 bsl 63}, {partitions, []}, {partitions, [-1]}, {partitions, [{<<>>, 1}]},
        {partitions, [1 | 2]}, {partitions, 0}, {timeout, infinity}
    ],
    [?assertEqual({Wrong1, [Name]}, {Wrong1, faults(#{topic => t, Name => Value})})
     || {Name, Value} = Wrong1 <- Wrong].

something_is_to_be_read_test() ->
    %% There is a topic, or each partition names its own, in the maps as well.
    ?assertEqual([topic], faults(#{})),
    ?assertEqual([partitions], faults(#{partitions => [0]})),
    ?assertEqual([partitions], faults(#{topic => a, partitions => [{b, 0}]})),
    ?assertEqual([from, to], faults(#{partitions => [{a, 0}], from => #{0 => 1}, to => #{0 => 2}})),
    ?assertMatch({ok, _}, parse(#{partitions => [{a, 0}, {b, 0}], from => #{{a, 0} => 1}})).

partitions_are_there_test() ->
    %% All of a topic's, or those that are named, if the topic has them.
    {ok, All} = parse(#{topic => a}),
    ?assertEqual([<<"a">>], crema_reader_bounds:topics(All)),
    ?assertEqual(
        {ok, [{<<"a">>, 0}, {<<"a">>, 1}]}, crema_reader_bounds:places(All, #{<<"a">> => 2})
    ),
    {ok, Some} = parse(#{topic => a, partitions => [1, {a, 1}, {a, 0}]}),
    ?assertEqual(
        {ok, [{<<"a">>, 1}, {<<"a">>, 0}]}, crema_reader_bounds:places(Some, #{<<"a">> => 2})
    ),
    {error, {unknown_partition, Details}} = crema_reader_bounds:places(Some, #{<<"a">> => 1}),
    ?assertMatch(#{topic := <<"a">>, partition := 1}, Details).

%% One partition whose log is from 10 to 20.
settled(From, To) ->
    {ok, Options} = parse(#{topic => a, from => From, to => To}),
    Place = {<<"a">>, 0},
    Known = #{
        {beginning, 0} => #{Place => 10},
        {'end', 0} => #{Place => 20},
        {timestamp, 5} => #{Place => 12},
        {timestamp, 6} => #{Place => 21}
    },
    case crema_reader_bounds:settle([Place], Known, Options) of
        {ok, [{Place, First, End}]} -> {First, End};
        {error, {Code, _}} -> Code
    end.

bounds_test() ->
    %% Each form comes to an offset; the beginning must be in the log.
    ?assertEqual({10, 20}, settled(earliest, 'end')),
    ?assertEqual({20, infinity}, settled(latest, infinity)),
    ?assertEqual({15, 17}, settled(15, 17)),
    ?assertEqual({20, 25}, settled(20, 25)),
    ?assertEqual({17, 20}, settled({last, 3}, 'end')),
    ?assertEqual({10, 20}, settled({last, 99}, 'end')),
    ?assertEqual({12, 21}, settled({timestamp, 5}, {timestamp, 6})),
    %% a message has come since the end was asked for
    ?assertEqual({21, 20}, settled({timestamp, 6}, 'end')),
    ?assertEqual({10, 20}, settled(#{1 => 15}, #{1 => 15})),
    ?assertEqual({15, 16}, settled(#{0 => 15}, #{{a, 0} => 16})),
    [?assertEqual(offset_out_of_range, settled(Offset, 'end')) || Offset <- [0, 9, 21]].

questions_test() ->
    %% Times are asked for where they are given, each once, and nowhere else.
    {ok, Options} = parse(#{
        topic => a, from => #{1 => {timestamp, 7}}, to => #{0 => {timestamp, 7}, 1 => {timestamp, 7}}
    }),
    [Zero, One] = Places = [{<<"a">>, 0}, {<<"a">>, 1}],
    ?assertEqual(
        [{{beginning, 0}, Places}, {{'end', 0}, Places}, {{timestamp, 7}, [One, Zero]}],
        crema_reader_bounds:questions(Places, Options)
    ).
