-module(crema_brokers_tests).

-include_lib("eunit/include/eunit.hrl").

-define(REFUSED, "Connect to ipv4#127.0.0.1:9092 failed: Connection refused").

trouble_is_told_once_test() ->
    %% A refused connection is news when it is refused twice in a row, and then no
    %% more, whatever librdkafka adds to its line.
    New = crema_brokers:new(),
    {trouble, suspected, _, true, One} = fail(?REFUSED, "CONNECT", "_TRANSPORT", New),
    {trouble, new, Trouble, true, Two} = fail(?REFUSED, "CONNECT", "_TRANSPORT", One),
    ?assertMatch(
        #{broker := <<"host:9092">>, cause := refused, code := transport, text := <<?REFUSED>>},
        Trouble
    ),
    Again = [
        ": identical to last error",
        ": identical to last error: error log suppressed"
    ],
    lists:foldl(
        fun(More, Before) ->
            {trouble, told, _, _, After} = fail(?REFUSED, "CONNECT", "_TRANSPORT", More, Before),
            After
        end,
        Two,
        Again
    ),
    ?assertNot(crema_brokers:is_forgotten(Two)).

listener_that_closes_test() ->
    %% A broker that stops listening while a connection to it is made refuses it, as it does
    %% those that follow: both are one piece of news.
    Reset = "Connect to ipv4#127.0.0.1:9092 failed: Connection reset by peer",
    {trouble, suspected, #{cause := refused}, _, One} =
        fail(Reset, "CONNECT", "_TRANSPORT", crema_brokers:new()),
    {trouble, new, _, _, Two} = fail(?REFUSED, "CONNECT", "_TRANSPORT", One),
    ?assertMatch({trouble, told, _, _, _}, fail(Reset, "CONNECT", "_TRANSPORT", Two)).

address_test() ->
    %% A literal address has no other that could answer.
    [
        begin
            Line = line(Broker ++ "/1", ?REFUSED, "CONNECT", "_TRANSPORT", ""),
            ?assertMatch(
                {trouble, new, #{cause := refused}, true, _},
                crema_brokers:heard(<<"FAIL">>, Line, false, crema_brokers:new())
            )
        end
     || Broker <- ["127.0.0.1:9092", "[::1]:9092"]
    ].

hung_up_test() ->
    %% Nor is a broker that hangs up before it has answered, unless it goes on so.
    What = "Disconnected while requesting ApiVersion: might be caused by incorrect "
        "security.protocol configuration",
    Hang = fun(Brokers) -> heard(What, "APIVERSION_QUERY", "_TRANSPORT", true, Brokers) end,
    {trouble, suspected, _, _, One} = Hang(crema_brokers:new()),
    {trouble, suspected, _, _, Two} = Hang(One),
    ?assertMatch({trouble, new, #{cause := protocol}, true, _}, Hang(Two)),
    {trouble, suspected, _, _, Three} = fail(?REFUSED, "CONNECT", "_TRANSPORT", Two),
    ?assertMatch(
        {trouble, new, #{cause := refused}, true, _}, fail(?REFUSED, "CONNECT", "_TRANSPORT", Three)
    ).

hung_up_at_the_log_in_test() ->
    %% Brokers that refuse a log-in by hanging up are told of when they have done it three times.
    What = "SASL authentication failure: Disconnected: check client PLAIN credentials and broker logs",
    Hang = fun(Brokers) -> heard(What, "AUTH_LEGACY", "_AUTHENTICATION", false, Brokers) end,
    {trouble, suspected, _, _, One} = Hang(crema_brokers:new()),
    {trouble, suspected, _, _, Two} = Hang(One),
    {trouble, new, #{cause := authentication}, true, Three} = Hang(Two),
    ?assertMatch({trouble, told, _, true, _}, Hang(Three)),
    ?assertMatch(
        {nothing, _}, heard("Disconnected", "AUTH_REQ", "_TRANSPORT", false, crema_brokers:new())
    ).

another_service_test() ->
    %% What answers with something else than Kafka's protocol is told as that, not as a message
    %% that is too large; but for a broker that is known as one.
    What = "Receive failed: Invalid response size 1213486160 (0..100000000): "
        "increase receive.message.max.bytes",
    Fail = fun(State) -> heard(What, State, "_BAD_MSG", false, crema_brokers:new()) end,
    {trouble, suspected, #{cause := protocol, text := Text}, _, _} = Fail("APIVERSION_QUERY"),
    ?assertEqual(<<"what it answers is not of Kafka, but of a web server (HTTP)">>, Text),
    {trouble, new, #{cause := other, text := Large}, _, _} = Fail("UP"),
    ?assertNotEqual(nomatch, string:find(Large, "receive.message.max.bytes")).

another_address_test() ->
    %% One address of several that refuses is no news.
    {trouble, suspected, _, _, One} =
        fail("Connect to ipv6#[::1]:9092 failed: Connection refused", "CONNECT", "_TRANSPORT",
            crema_brokers:new()),
    {nothing, Up} = up("host:9092/bootstrap", One),
    {trouble, suspected, _, _, _} = fail(?REFUSED, "CONNECT", "_TRANSPORT", Up).

repaired_test() ->
    %% A broker that was told of is told of when its connection is up, and fails anew.
    {trouble, new, _, true, Bad} =
        fail("Failed to resolve 'x:9092'", "CONNECT", "_RESOLVE", crema_brokers:new()),
    {repaired, <<"host:9092">>, Time, Good} = up("ssl://host:9092/1", Bad),
    ?assert(Time >= 0),
    ?assert(crema_brokers:is_forgotten(Good)),
    ?assertMatch(
        {trouble, new, #{cause := unknown_host}, true, _},
        fail("Failed to resolve 'x:9092'", "CONNECT", "_RESOLVE", Good)
    ).

repaired_unconnected_test() ->
    %% Before any has answered that is no news yet, but the broker counts as one that
    %% is left.
    Bad = lists:foldl(
        fun(Broker, Before) ->
            Line = line(Broker, "Failed to resolve", "CONNECT", "_RESOLVE", ""),
            {trouble, new, _, true, After} = crema_brokers:heard(<<"FAIL">>, Line, false, Before),
            After
        end,
        crema_brokers:new(),
        ["host:9092/1", "b:9093/2"]
    ),
    {nothing, Up} = up("b:9093/2", false, Bad),
    Good = crema_brokers:forget(Up),
    ?assertMatch({trouble, new, _, false, _}, fail("Failed to resolve", "CONNECT", "_RESOLVE", Good)).

others_are_left_test() ->
    %% Brokers are down when all that were heard of are, or when librdkafka says so.
    {nothing, One} = up("b:9093/2", crema_brokers:new()),
    {trouble, new, _, false, Two} = fail("Failed to resolve", "CONNECT", "_RESOLVE", One),
    {nothing, Closed} =
        crema_brokers:heard(<<"FAIL">>, line("b:9093/2", "Disconnected", "UP", "_TRANSPORT", ""),
            true, Two),
    {trouble, told, _, false, Three} = fail("Failed to resolve", "CONNECT", "_RESOLVE", Closed),
    Down = crema_brokers:all_down(Three),
    ?assertMatch({trouble, told, _, true, _}, fail("Failed to resolve", "CONNECT", "_RESOLVE", Down)).

not_usable_test() ->
    %% A port of another protocol comes up whenever it is tried: no repair.
    What = "Disconnected: verify that security.protocol is correctly configured, broker might "
        "require SASL authentication",
    {trouble, new, #{cause := protocol}, _, Bad} =
        heard(What, "UP", "_TRANSPORT", false, crema_brokers:new()),
    {nothing, Up} = up("host:9092/1", Bad),
    ?assertMatch({trouble, told, _, _, _}, heard(What, "UP", "_TRANSPORT", false, Up)),
    %% The same words while all is well are a guess: the broker has only gone away.
    ?assertMatch({nothing, _}, heard(What, "UP", "_TRANSPORT", true, crema_brokers:new())).

no_trouble_test() ->
    %% Connections that are closed, by either side, are none.
    [
        ?assertMatch({nothing, _}, heard(What, State, Name, true, crema_brokers:new()))
     || {What, State, Name} <- [
            {"Disconnected", "UP", "_TRANSPORT"},
            {"Connection max idle time exceeded (600000ms since last activity)", "UP", "_TRANSPORT"},
            {"Closing connection due to nodename change", "CONNECT", "_TRANSPORT"},
            {"Client is terminating", "INIT", "_DESTROY"},
            {"Decommissioning this broker", "UP", "_DESTROY_BROKER"},
            {"1 request(s) timed out: disconnect (average rtt 1ms)", "UP", "_TIMED_OUT"},
            {"Receive failed: Connection reset by peer", "UP", "_TRANSPORT"}
        ]
    ].

causes_test() ->
    %% The cause is told from librdkafka's words, of the oldest and the newest.
    Tls = "SSL handshake failed: ../ssl/x.c:1889:tls_process error:0A000086:SSL routines::"
        "certificate verify failed",
    Table = [
        {unreachable, "Connect to ipv4#10.0.0.1:9092 failed: Network is unreachable", "CONNECT",
            "_TRANSPORT"},
        {unanswered, "Connection setup timed out in state CONNECT", "CONNECT", "_TRANSPORT"},
        {unanswered, "ApiVersionRequest failed: Local: Timed out: timed out", "APIVERSION_QUERY",
            "_TRANSPORT"},
        {tls, Tls, "SSL_HANDSHAKE", "_SSL"},
        {tls, "Receive failed: error:0A00045C:SSL routines::tlsv13 alert certificate required",
            "APIVERSION_QUERY", "_TRANSPORT"},
        {protocol, "SSL handshake failed: Disconnected: connecting to a PLAINTEXT broker listener?",
            "SSL_HANDSHAKE", "_TRANSPORT"},
        {protocol, "SSL handshake failed: error:0A00010B:SSL routines::wrong version number",
            "SSL_HANDSHAKE", "_SSL"},
        {protocol, "Receive failed: Disconnected: requesting ApiVersion: might be caused by "
            "incorrect security.protocol configuration", "APIVERSION_QUERY", "_TRANSPORT"},
        {authentication, "SASL authentication error: no", "AUTH_REQ", "_AUTHENTICATION"},
        {mechanism, "SASL PLAIN mechanism handshake failed: Broker: Unsupported SASL mechanism",
            "AUTH_HANDSHAKE", "_AUTHENTICATION"},
        {protocol, "Disconnected: connection closed by peer", "UP", "_TRANSPORT"},
        {protocol, "Receive failed: Connection reset by peer", "APIVERSION_QUERY", "_TRANSPORT"},
        {other, "SASL authentication error: too many", "AUTH_REQ", "THROTTLING_QUOTA_EXCEEDED"}
    ],
    [
        begin
            {trouble, _, #{cause := Found, text := Text}, _, _} =
                heard(What, State, Name, false, crema_brokers:new()),
            ?assertEqual({Cause, What}, {Found, What}),
            ?assertEqual(nomatch, string:find(Text, "x.c:"))
        end
     || {Cause, What, State, Name} <- Table
    ],
    %% Each has something to do, in whole sentences.
    maps:foreach(
        fun(_, Hint) -> ?assertEqual($., binary:last(Hint)) end, crema_brokers:causes()
    ).

other_lines_test() ->
    %% Coordinators have no connections of their own here, and nothing that is no such
    %% line does harm.
    [
        ?assertMatch({nothing, _}, crema_brokers:heard(Facility, Text, true, crema_brokers:new()))
     || {Facility, Text} <- [
            {<<"FAIL">>, line("GroupCoordinator", "127.0.0.1:9092: " ?REFUSED, "CONNECT", "_TRANSPORT", "")},
            {<<"STATE">>, <<"[thrd:x]: GroupCoordinator: Broker changed state CONNECT -> UP">>},
            {<<"STATE">>, <<"nothing of the kind">>},
            {<<"FAIL">>, <<>>},
            {<<"OTHER">>, <<255, 254>>},
            {<<"FAIL">>, binary:copy(<<"[thrd:">>, 300)}
        ]
    ].

heard_twice_test() ->
    %% The error that comes with a line is told from others.
    Heard = fun(Text) -> crema_brokers:is_heard({transport, #{message => Text}}) end,
    ?assert(Heard(<<"a:1/1: Disconnected (after 6019ms in state UP). Check that">>)),
    ?assertNot(Heard(<<"Failed to acquire SASL OAUTHBEARER token: no">>)).

names_test() ->
    %% Brokers are named by host and port, in whatever way librdkafka writes them.
    [
        begin
            {nothing, B} = up(Name, crema_brokers:new()),
            Line = line(Name, "Failed to resolve", "CONNECT", "_RESOLVE", ""),
            ?assertMatch(
                {trouble, new, #{broker := Broker}, _, _},
                crema_brokers:heard(<<"FAIL">>, Line, true, B)
            )
        end
     || {Broker, Name} <- [
            {<<"host:9092">>, "host:9092/bootstrap"},
            {<<"host:9092">>, "sasl_ssl://host:9092/12"},
            {<<"[::1]:9092">>, "[::1]:9092/-1"}
        ]
    ],
    %% Without names of threads as well (log.thread.name).
    ?assertMatch(
        {trouble, new, #{broker := <<"a:1">>}, _, _},
        crema_brokers:heard(
            <<"FAIL">>, <<"a:1/2: Failed to resolve (after 0ms in state CONNECT) (_RESOLVE)">>, true,
            crema_brokers:new()
        )
    ).

up(Name, Brokers) -> up(Name, true, Brokers).

up(Name, Connected, Brokers) ->
    Line = ["[thrd:", Name, "]: ", Name, ": Broker changed state APIVERSION_QUERY -> UP"],
    crema_brokers:heard(<<"STATE">>, iolist_to_binary(Line), Connected, Brokers).

fail(What, State, Name, Brokers) -> fail(What, State, Name, "", Brokers).

fail(What, State, Name, More, Brokers) ->
    Line = line("host:9092/1", What, State, Name, More),
    crema_brokers:heard(<<"FAIL">>, Line, true, Brokers).

heard(What, State, Name, Connected, Brokers) ->
    Line = line("host:9092/1", What, State, Name, ""),
    crema_brokers:heard(<<"FAIL">>, Line, Connected, Brokers).

line(Broker, What, State, Name, More) ->
    iolist_to_binary([
        "[thrd:", Broker, "]: ", Broker, ": ", What, " (after 3ms in state ", State,
        ", 2 identical error(s) suppressed) (", Name, ")", More
    ]).
