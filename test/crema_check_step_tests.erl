-module(crema_check_step_tests).

-include_lib("eunit/include/eunit.hrl").

a_hint_is_told_once_test() ->
    %% An error has its hint in its message, at the end or before the variable that it came from.
    Hint = crema_error:hint(bad_options),
    [
        ?assertMatch(
            #{message := Said, hint := Hint},
            crema_check_step:failed(options, <<>>, bad_options, Message)
        )
     || {Message, Said} <- [
            {["it is wrong. ", Hint], <<"it is wrong.">>},
            {["it is wrong. ", Hint, " The variable V sets it."],
                <<"it is wrong. The variable V sets it.">>},
            {"it is wrong.", <<"it is wrong.">>}
        ]
    ].
