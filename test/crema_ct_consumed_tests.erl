%% That crema_ct_consumed finds each fault that is planted.
-module(crema_ct_consumed_tests).

-include_lib("eunit/include/eunit.hrl").

-define(PLACE, {<<"t">>, 0}).

%% Five messages, and a gap at 3. The first member is killed with 2 acknowledged
%% and not committed; the second fails at 4, crashes at 5, and leaves 5.
sound() ->
    #{
        log => #{?PLACE => [0, 1, 2, 4, 5]},
        starts => #{?PLACE => 0},
        notes => #{
            {?PLACE, one} => [
                {10, handled, 1, 0}, {11, acked, 1, 0}, {12, handled, 1, 1}, {13, handled, 1, 2},
                {14, acked, 1, 2}, {15, acked, 1, 1}
            ],
            {?PLACE, two} => [
                {30, handled, 1, 1}, {31, acked, 1, 1}, {32, handled, 1, 2}, {33, acked, 1, 2},
                {34, handled, 1, 4}, {35, failed, 1, 4}, {36, handled, 1, 4}, {37, acked, 1, 4},
                {38, handled, 1, 5}, {39, crashed, 1, 5}, {40, handled, 1, 5}
            ],
            {?PLACE, three} => [{50, handled, 2, 5}, {51, acked, 2, 5}]
        },
        commits => [{12, ?PLACE, 1}, {38, ?PLACE, 5}, {52, ?PLACE, 6}],
        ends => #{?PLACE => {6, 6}},
        killed => [one],
        troubled => []
    }.

sound_test() ->
    ?assertEqual(
        {[], #{killed => 2, failed => 1, crashed => 1, unacknowledged => 1}},
        crema_ct_consumed:judge(sound())
    ).

planted_test_() ->
    [
        {Title, ?_assertEqual(Faults, element(1, crema_ct_consumed:judge(Change(sound()))))}
     || {Title, Change, Faults} <- [
            {"dropped", fun(C) -> without(three, {50, handled, 2, 5}, without_two(C)) end, [
                {unhandled, ?PLACE, 5}
            ]},
            {"aborted", fun(C) -> C#{log := #{?PLACE => [0, 1, 2, 5]}} end, [
                {not_in_log, ?PLACE, 4}
            ]},
            {"before the start", fun(C) -> C#{starts := #{?PLACE => 1}} end, [
                {not_in_log, ?PLACE, 0}
            ]},
            {"committed too far", fun(C) -> committed({13, ?PLACE, 2}, C) end, [
                {committed_too_far, ?PLACE, {13, 2}}, {began_before_commit, ?PLACE, two}
            ]},
            {"committed over a gap in the acknowledgements",
                fun(C) -> committed({14, ?PLACE, 3}, C) end, [
                    {committed_too_far, ?PLACE, {14, 3}}, {began_before_commit, ?PLACE, two}
                ]},
            {"committed without any", fun(C) -> without(three, {51, acked, 2, 5}, C) end, [
                {committed_too_far, ?PLACE, {52, 6}}
            ]},
            {"committed back", fun(C) -> committed({53, ?PLACE, 5}, C) end, [
                {committed_back, ?PLACE, 5}
            ]},
            {"lag", fun(C) -> C#{ends := #{?PLACE => {6, 7}}} end, [{lag, ?PLACE, {6, 7}}]},
            {"never committed", fun(C) -> C#{ends := #{}} end, [{lag, ?PLACE, unknown}]},
            {"began too early", fun(C) -> committed({29, ?PLACE, 3}, C) end, [
                {began_before_commit, ?PLACE, two}
            ]},
            {"again without a reason", fun(C) -> C#{killed := []} end, [
                {unexplained, ?PLACE, 1}, {unexplained, ?PLACE, 2}
            ]},
            {"again without a failure", fun(C) -> without(two, {35, failed, 1, 4}, C) end, [
                {unexplained, ?PLACE, 4}
            ]},
            {"acknowledged and again", fun(C) -> with(two, {38, acked, 1, 5}, C) end, [
                {unexplained, ?PLACE, 5}, {unexplained, ?PLACE, 5}
            ]}
        ]
    ].

a_failed_commit_explains_test() ->
    Case = (sound())#{killed := [], troubled := [one]},
    ?assertMatch({[], #{not_committed := 2}}, crema_ct_consumed:judge(Case)).

without_two(Case) ->
    lists:foldl(
        fun(Note, C) -> without(two, Note, C) end, Case, [{38, handled, 1, 5}, {40, handled, 1, 5}]
    ).

without(Life, Note, #{notes := Notes} = Case) ->
    Case#{notes := maps:update_with({?PLACE, Life}, fun(Of) -> Of -- [Note] end, Notes)}.

with(Life, Note, #{notes := Notes} = Case) ->
    Case#{notes := maps:update_with({?PLACE, Life}, fun(Of) -> [Note | Of] end, Notes)}.

committed(Commit, #{commits := Commits} = Case) ->
    Case#{commits := [Commit | Commits]}.
