-module(crema_handover_tests).

-include_lib("eunit/include/eunit.hrl").
-include("../src/consumer/crema_slots.hrl").

limit_follows_test() ->
    %% How long a handler may take is what the new client's properties say.
    Options = #{handler_timeout => undefined, kafka => #{<<"max.poll.interval.ms">> => <<"7000">>}},
    Before = crema_slots:new(#{port => old, options => #{}, limit => {300000, kill}}),
    #slots{work = Work} = crema_handover:keep(new, Options, #{}, Before),
    ?assertMatch(#{port := new, options := Options, limit := {7000, kill}}, Work).
