%% Handlers that are given made-up messages by crema_test.
-module(crema_drive_SUITE).

-include_lib("stdlib/include/assert.hrl").

-export([all/0, groups/0, suite/0, init_per_suite/1, end_per_suite/1]).
-export([
    single/1, as_consumed/1, batches/1, callbacks/1, functions/1, later/1, nacked/1, parts/1,
    failures/1, dead_letters/1, crashes/1, stops/1, exactly_once/1, wrong/1, same_as_real/1, ends/1,
    logs/1
]).
-export([init/2, handle_assigned/2, handle_messages/2, silent/1]).

suite() -> [{timetrap, {seconds, 120}}].

all() -> [{group, parallel}].

groups() ->
    [
        {parallel, [parallel], [
            single, as_consumed, batches, callbacks, functions, later, nacked, parts, failures,
            dead_letters, crashes, stops, exactly_once, wrong, same_as_real, ends, logs
        ]}
    ].

init_per_suite(Config) -> crema_ct:start(Config).

end_per_suite(Config) -> crema_ct:stop(Config).

%% As a handler of batches: the state is what it is to return.
init(Info, Args) -> {ok, {Info, Args, []}}.

handle_assigned(#{topic := Topic}, {Info, Args, Seen}) -> {ok, {Info, Args, [{assigned, Topic} | Seen]}}.

handle_messages(Messages, {Info, Fun, Seen}) ->
    Fun(Messages, {Info, Fun, [[Value || #{value := Value} <- Messages] | Seen]}).

silent(_Message) -> ok.

by(Answers) -> fun(#{value := Value}) -> maps:get(Value, Answers, ok) end.

single(_Config) ->
    %% Each message is given in order, and what is done with is acknowledged.
    Driven = crema_test:handle(by(#{<<"b">> => {skip, no_use}}), [#{value => V} || V <- ["a", "b", "c"]]),
    ?assertMatch(
        #{verdicts := [ack, {skip, no_use}, ack], acked := [0, 1, 2], left := [], next := continue},
        Driven
    ).

as_consumed(_Config) ->
    %% What is made up has all fields of a consumed message, null as the options have it.
    Self = self(),
    Tell = fun(Message) -> Self ! {given, Message}, ok end,
    #{messages := [First, Second], acked := [7, 9]} = crema_test:handle(
        Tell,
        [#{key => ["a", "da"], headers => #{"trace" => nil}, timestamp => 17}, #{offset => 9, value => "v"}],
        #{topic => orders, partition => 3, offset => 7, null => nil}
    ),
    ?assertMatch(
        #{
            topic := <<"orders">>, partition := 3, offset := 7, key := <<"ada">>, value := nil,
            headers := [{<<"trace">>, nil}], timestamp := 17, timestamp_type := create, token := _
        },
        First
    ),
    ?assertMatch(#{key := nil, value := <<"v">>, headers := []}, Second),
    [receive {given, Message} -> ok end || Message <- [First, Second]].

batches(_Config) ->
    %% A handler of batches gets them as large as the consumer's option says.
    Ack = fun(_, State) -> {ack, State} end,
    Driven = crema_test:handle({?MODULE, Ack}, [<<"a">>, <<"b">>, <<"c">>], #{batch_messages => 2}),
    ?assertMatch(#{verdicts := [ack, ack], acked := [0, 1, 2]}, Driven),
    ?assertMatch(#{state := {_, _, [[<<"c">>], [<<"a">>, <<"b">>] | _]}}, Driven).

callbacks(_Config) ->
    %% init/2 and handle_assigned/2 come first, unless it goes on with a state.
    Ack = fun(_, State) -> {ack, State} end,
    #{state := {Info, _, Seen} = State} = crema_test:handle({?MODULE, Ack}, [], #{topic => t}),
    ?assertMatch(#{topic := <<"t">>, partition := 0, consumer := _}, Info),
    ?assertEqual([{assigned, <<"t">>}], Seen),
    #{state := {_, _, More}} = crema_test:handle({?MODULE, Ack}, [<<"a">>], #{state => State}),
    ?assertEqual([[<<"a">>], {assigned, <<"t">>}], More).

functions(_Config) ->
    %% A function of one argument is a handler as it is for a consumer.
    ?assertMatch(#{acked := [0]}, crema_test:handle(fun ?MODULE:silent/1, [<<"a">>])).

later(_Config) ->
    %% What is left to somebody is acknowledged by any process, and can be waited for.
    Self = self(),
    Leave = fun(Message) -> Self ! {left, Message}, noack end,
    #{verdicts := [noack, noack], acked := [], messages := [A, B]} =
        crema_test:handle(Leave, [<<"a">>, <<"b">>]),
    ?assertError({not_acked, _}, crema_test:assert_acked(A, 1)),
    receive {left, #{value := <<"a">>} = Given} ->
        spawn_link(fun() -> ok = crema:ack(Given), ok = crema:ack(Given) end)
    end,
    ok = crema_test:assert_acked(A, 5000),
    ok = crema_test:refute_acked(B),
    ok = crema:ack([A, B]),
    ok = crema_test:assert_acked([A, B]),
    ?assertError({acked, _}, crema_test:refute_acked(B)).

nacked(_Config) ->
    %% What is declared failed is told with its reason.
    #{messages := [A, B]} = crema_test:handle(fun(_) -> noack end, [<<"a">>, <<"b">>]),
    ok = crema:nack(A, no_room),
    ?assertEqual({{nacked, no_room}, waiting}, {crema_test:ack_state(A), crema_test:ack_state(B)}).

parts(_Config) ->
    %% A part of a batch is done with; the rest comes again at once.
    Half = fun
        ([_ | _] = Messages, State) when length(Messages) > 1 ->
            {ack, maps:get(offset, lists:nth(2, Messages)), State};
        (_, State) ->
            {ack, State}
    end,
    ?assertMatch(
        #{verdicts := [{ack, 1}, ack], acked := [0, 1, 2]},
        crema_test:handle({?MODULE, Half}, [<<"a">>, <<"b">>, <<"c">>])
    ).

failures(_Config) ->
    %% Failures are judged by the policies of the options; waits end the drive, unless
    %% there are retries.
    Fails = by(#{<<"bad">> => {error, broken}}),
    Messages = [<<"good">>, <<"bad">>, <<"behind">>],
    Policy = #{failures => #{retries => 2, then => skip}, backoff => {100, 100}},
    Waiting = crema_test:handle(Fails, Messages, Policy),
    ?assertMatch(
        #{verdicts := [ack, {error, broken}], next := {wait, _}, acked := [0], left := [_, _]}, Waiting
    ),
    ?assertMatch(
        #{verdicts := [ack, {error, broken}, {error, broken}, {error, broken}, ack], acked := [0, 1, 2]},
        crema_test:handle(Fails, Messages, Policy#{retries => 2})
    ),
    Retries = by(#{<<"bad">> => {retry, 50}}),
    ?assertMatch(#{next := {wait, 50}, left := [_, _]}, crema_test:handle(Retries, Messages)),
    Pauses = by(#{<<"bad">> => {pause, 70}}),
    ?assertMatch(#{next := {wait, 70}, acked := [0, 1], left := [_]}, crema_test:handle(Pauses, Messages)).

dead_letters(_Config) ->
    %% Dead letters are recorded, and acknowledged behind that.
    Buries = by(#{<<"bad">> => {dead_letter, beyond_help}}),
    Driven = crema_test:handle(Buries, [<<"bad">>, <<"good">>], #{dead_letter => "cemetery"}),
    ?assertMatch(#{verdicts := [{dead_letter, beyond_help}, ack], acked := [0, 1]}, Driven),
    #{value := <<"bad">>, headers := Headers} = crema_test:assert_produced(#{topic => "cemetery"}),
    ?assertMatch({_, <<"test">>}, lists:keyfind(<<"crema-origin-topic">>, 1, Headers)),
    Missing = crema_test:handle(Buries, [<<"bad">>]),
    ?assertMatch(#{next := crash, acked := []}, Missing).

crashes(_Config) ->
    %% A handler that raises, or returns what is no verdict, acknowledges nothing.
    Raises = fun(_) -> error(oops) end,
    ?assertMatch(
        #{verdicts := [{crash, error, oops}], next := crash, acked := [], left := [_, _]},
        crema_test:handle(Raises, [<<"a">>, <<"b">>])
    ),
    ?assertMatch(
        #{verdicts := [{crash, error, {bad_return, _}}], next := crash},
        crema_test:handle(fun(_) -> nonsense end, [<<"a">>])
    ).

stops(_Config) ->
    %% A handler that wants to stop is given nothing more.
    Stops = by(#{<<"b">> => {stop, enough}}),
    ?assertMatch(
        #{verdicts := [ack, {stop, enough}], next := stop, acked := [0], left := [_, _]},
        crema_test:handle(Stops, [<<"a">>, <<"b">>, <<"c">>])
    ).

exactly_once(_Config) ->
    %% What comes of a message is told where the consumer would produce it.
    Shout = fun(#{value := V}) -> {produce, [#{topic => out, value => string:uppercase(V)}]} end,
    ?assertMatch(
        #{verdicts := [{produce, [_]}], produced := [#{value := <<"A">>}], acked := [0]},
        crema_test:handle(Shout, [<<"a">>], #{commit => exactly_once, transactional_id => x})
    ),
    ?assertMatch(#{next := crash, acked := []}, crema_test:handle(Shout, [<<"a">>])).

wrong(_Config) ->
    %% What is no handler, no option and no message is told.
    ?assertError({bad_options, _}, crema_test:handle(no_such_module, [<<"a">>])),
    ?assertError({bad_options, _}, crema_test:handle(fun ?MODULE:silent/1, [], #{null => none})),
    ?assertError({not_a_field, vlaue}, crema_test:handle(fun ?MODULE:silent/1, [#{vlaue => 1}])),
    ?assertError({offsets_fall, 0}, crema_test:handle(fun ?MODULE:silent/1, [<<"a">>, #{offset => 0}])).

same_as_real(Config) ->
    %% The same handler, messages and policies come to the same verdicts and committed
    %% offset in a consumer on the embedded cluster.
    Self = self(),
    Values = [<<"a">>, <<"skip">>, <<"bad">>, <<"b">>],
    Answers = by(#{<<"skip">> => skip, <<"bad">> => {error, broken}}),
    Handler = fun(#{value := Value} = Message) -> Self ! {seen, Value}, Answers(Message) end,
    Policy = #{failures => #{retries => 1, then => skip}, backoff => {1, 1}},
    #{acked := [0, 1, 2, 3]} = crema_test:handle(Handler, Values, Policy#{retries => 1}),
    Made = seen(5),
    Topic = crema_ct:topic(Config, 1),
    P = crema_ct:producer(Config),
    {ok, _} = crema:produce_many(P, [#{topic => Topic, value => V} || V <- Values]),
    crema_ct:started(
        crema_consumer:start_link(Policy#{
            bootstrap_servers => crema_ct:bootstrap(Config), group => crema_ct:unique(<<"g">>),
            topics => [Topic], handler => Handler
        })
    ),
    Real = seen(5),
    ok = crema_ct:cleanup(),
    ?assertEqual(Real, Made).

seen(0) -> [];
seen(Left) -> receive {seen, Value} -> [Value | seen(Left - 1)] after 20000 -> error({missing, Left}) end.

ends(_Config) ->
    %% What stands in for the consumer ends with the test, and a token of then is stale.
    {_, Monitor} = spawn_monitor(fun() ->
        #{messages := [Message]} = crema_test:handle(fun(_) -> noack end, [<<"a">>]),
        exit({message, Message})
    end),
    receive {'DOWN', Monitor, _, _, {message, #{token := Token} = Message}} ->
        crema_ct:await(fun() -> not is_process_alive(element(2, Token)) end),
        ?assertMatch({error, {stale_assignment, _}}, crema:ack(Message))
    end.

logs(_Config) ->
    %% What a handler logs says which partition it is about; what the test logs does not.
    ok = logger:set_process_metadata(#{mine => true}),
    Self = self(),
    Tell = fun(_) -> Self ! {logs, logger:get_process_metadata()}, ok end,
    #{acked := [0]} = crema_test:handle(Tell, [<<"v">>], #{topic => orders}),
    receive {logs, Metadata} -> ?assertMatch(#{mine := true, crema_topic := <<"orders">>}, Metadata) end,
    ?assertEqual(#{mine => true}, logger:get_process_metadata()),
    _ = (catch crema_test:handle(Tell, [#{none_such => 1}])),
    ?assertEqual(#{mine => true}, logger:get_process_metadata()).
