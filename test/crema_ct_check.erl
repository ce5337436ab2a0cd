%% Diagnoses, as the suites want them.
-module(crema_ct_check).

-include_lib("stdlib/include/assert.hrl").

-export([fails/3, fails/4, step/2]).

%% Where it is not the time that is proven there is enough of it for a busy machine.
-define(PATIENCE, 60000).

%% @doc The step that fails first, of the name and with the code. Where the options have
%% a deadline it is kept.
fails(Name, Code, Given) ->
    fails(Name, Code, "", Given).

%% @doc The same, with a part of what it says.
fails(Name, Code, Part, Given) ->
    Patient = maps:merge(#{deadline => ?PATIENCE}, Given),
    {Time, Result} = crema_ct:timed(fun() -> crema:check(Patient) end),
    {error, {Found, #{steps := Steps, message := Message}}} = Result,
    ?assertEqual(Code, Found, Steps),
    [#{step := Failed, message := Said, hint := Hint} = Step | _] = [
        S || #{status := failed} = S <- Steps
    ],
    ?assertEqual({Name, Said}, {Failed, Said}),
    ?assertNotEqual(nomatch, string:find(Said, Part), Said),
    ?assertNotEqual(nomatch, string:find(Message, Hint)),
    ?assertNotEqual(<<>>, Hint),
    ?assert(Time < maps:get(deadline, Patient), Time),
    Step.

%% @doc The first step of a name.
step(Name, Steps) ->
    [Step | _] = [S || #{step := N} = S <- Steps, N =:= Name],
    Step.
