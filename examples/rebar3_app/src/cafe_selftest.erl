%% Shows that an installed release works: orders, waits until all is served, and stops the VM with
%% an honest exit status. It runs when CREMA_SAMPLE_SELFTEST=1 is set.
-module(cafe_selftest).

-export([start_link/0, run/0]).

-define(ORDERS, 1000).
-define(DEADLINE, 60_000).

-spec start_link() -> {ok, pid()}.
start_link() ->
    {ok, proc_lib:spawn_link(?MODULE, run, [])}.

-spec run() -> ok.
run() ->
    Status =
        try
            check()
        catch
            Class:Reason:Stacktrace ->
                io:format("selftest failed: ~p~n", [{Class, Reason, Stacktrace}]),
                1
        end,
    init:stop(Status).

check() ->
    Batch = <<"selftest-", (integer_to_binary(os:system_time()))/binary>>,
    ok = cafe:subscribe(Batch),
    _Timer = erlang:send_after(?DEADLINE, self(), deadline),
    {ok, Results} = cafe:order(Batch, [{guest(N), <<"espresso">>} || N <- lists:seq(1, ?ORDERS)]),
    Produced = length([Report || {ok, Report} <- Results]),
    Handled = sets:size(collect(Produced, sets:new([{version, 2}]))),
    io:format("selftest: ~b produced, ~b handled~n", [Produced, Handled]),
    case {Produced, Handled} of
        {?ORDERS, ?ORDERS} -> 0;
        _ -> 1
    end.

guest(N) ->
    <<"guest ", (integer_to_binary(N))/binary>>.

%% Delivery is at least once: an order that comes twice counts once.
collect(Expected, Served) ->
    case sets:size(Served) of
        Expected ->
            Served;
        _ ->
            receive
                {served, #{partition := Partition, offset := Offset}} ->
                    collect(Expected, sets:add_element({Partition, Offset}, Served));
                deadline ->
                    Served
            end
    end.
