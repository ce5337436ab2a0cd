-module(crema_options_tests).

-include_lib("eunit/include/eunit.hrl").

-import(crema_ct_options, [wrong/2, text/2]).

%% This module stands for a consumer's handler.
-export([handle_message/2]).

-define(PRODUCER, #{bootstrap_servers => <<"h:1">>}).
-define(CONSUMER, #{
    bootstrap_servers => <<"h:1">>, group => <<"g">>, topics => [<<"t">>], handler => ?MODULE
}).
-define(READER, #{bootstrap_servers => <<"h:1">>, topic => <<"t">>}).

handle_message(_Message, State) -> {ack, State}.

%% --- parsing

defaults_are_filled_in_test() ->
    %% The least a person must give is enough, and every option has a value then.
    [
        begin
            {ok, Parsed} = crema_options:parse(Scope, Least),
            Names = [Name || #{name := Name} = Row <- crema_options:table(), in(Scope, Row)],
            ?assertEqual(lists:sort([warnings | Names]), lists:sort(maps:keys(Parsed))),
            ?assertEqual([], maps:get(warnings, Parsed)),
            [
                ?assertEqual({Name, Default}, {Name, maps:get(Name, Parsed)})
             || #{name := Name, default := Default} = Row <- crema_options:table(),
                in(Scope, Row),
                not is_map_key(Name, Least)
            ]
        end
     || {Scope, Least} <- [{producer, ?PRODUCER}, {consumer, ?CONSUMER}, {reader, ?READER}, {cluster, #{}}]
    ].

in(Scope, #{scope := Scopes}) -> lists:member(Scope, Scopes).

forms_are_normalised_test() ->
    %% Whatever form a person writes an option in, one form comes out.
    {ok, Parsed} = crema_options:parse(consumer, [
        {name, here},
        {bootstrap_servers, ["a:1 , b", <<"c:3">>, {"d", 4}]},
        {group, group},
        {topics, ["one", <<"two">>, three, "one"]},
        {handler, {?MODULE, #{x => 1}}},
        {group, <<"of a repeated key the first counts">>}
    ]),
    ?assertMatch(
        #{
            name := {local, here},
            bootstrap_servers := <<"a:1,b,c:3,d:4">>,
            group := <<"group">>,
            topics := [<<"one">>, <<"two">>, <<"three">>]
        },
        Parsed
    ),
    %% In a function, so that its arguments are not shown.
    ?assertEqual({?MODULE, #{x => 1}}, (maps:get(handler, Parsed))()),
    {ok, Alone} = crema_options:parse(consumer, ?CONSUMER#{topics := "alone"}),
    ?assertMatch(#{topics := [<<"alone">>]}, Alone),
    ?assertEqual({?MODULE, []}, (maps:get(handler, Alone))()),
    ?assertMatch(
        {ok, #{topics := #{<<"a">> := 2, <<"b">> := 3}}},
        crema_options:parse(cluster, #{topics => #{a => 2, "b" => 3}})
    ).

names_of_processes_test() ->
    %% Every way OTP has to name a process is taken, and nothing else.
    Via = {via, registry, {any, "term"}},
    [
        ?assertMatch(
            {ok, #{name := Name}}, crema_options:parse(producer, ?PRODUCER#{name => Given})
        )
     || {Given, Name} <- [
            {a, {local, a}}, {{local, a}, {local, a}}, {{global, 1}, {global, 1}}, {Via, Via},
            {undefined, undefined}, {nil, undefined}
        ]
    ],
    [
        ?assertMatch([name], wrong(producer, ?PRODUCER#{name => Bad}))
     || Bad <- [<<"a">>, {local, "a"}, true, {via, x}, self()]
    ].

result_may_be_parsed_again_test() ->
    %% A supervisor may restart a client from what parsing returned.
    Secret = #{'sasl.password' => <<"x">>, 'message.timeout.ms' => 1000},
    {ok, Parsed} = crema_options:parse(producer, ?PRODUCER#{kafka => Secret, name => a}),
    ?assertEqual({ok, Parsed}, crema_options:parse(producer, Parsed)).

servers_under_kafka_test() ->
    %% The servers may stand under kafka, by either name, and move to the option.
    [
        begin
            {ok, Parsed} = crema_options:parse(producer, #{kafka => #{Key => "h:1, i"}}),
            ?assertMatch(#{bootstrap_servers := <<"h:1,i">>, kafka := K} when K =:= #{}, Parsed)
        end
     || Key <- ['bootstrap.servers', "bootstrap.servers", <<"metadata.broker.list">>]
    ],
    ?assertEqual(
        [{kafka, <<"bootstrap.servers">>}],
        wrong(producer, ?PRODUCER#{kafka => #{'bootstrap.servers' => "i"}})
    ),
    ?assertEqual(
        [{kafka, <<"bootstrap.servers">>}],
        wrong(producer, #{kafka => #{'bootstrap.servers' => "not an address"}})
    ).

addresses_test() ->
    %% Addresses that librdkafka would silently ignore or misread are refused.
    Good = ["h", "h:9092", "10.0.0.1:1", "[::1]:9092", "::1", "PLAINTEXT://h:1", "a-b.c_d:65535"],
    Bad = [
        "", "h:", "h:x", "h:0", "h:65536", "a,,b", "h i", "a:1:x", [], [[]], [<<"h", 0>>], 1,
        "http://h:1", "ssl2://h:1", "kafka://h:1", "kafka+ssl://h:1,kafka+ssl://i:1", "h:1/", "\"h:1\"",
        false, nil, undefined
    ],
    [
        ?assertMatch({ok, _}, crema_options:parse(producer, #{bootstrap_servers => Server}))
     || Server <- Good
    ],
    [
        ?assertEqual({Server, [bootstrap_servers]}, {
            Server, wrong(producer, #{bootstrap_servers => Server})
        })
     || Server <- Bad
    ].

addresses_that_are_none_test() ->
    %% What people have in a variable, or do not have there, is told as such.
    [
        ?assertMatch({Server, {match, _}}, {
            Server, re:run(text(producer, #{bootstrap_servers => Server}), Said)
        })
     || {Server, Said} <- [
            {false, "has no value: is it read from a variable that is not set\\?"},
            {nil, "has no value"},
            {"kafka+ssl://h:1", "env => heroku"},
            {"KAFKA://h:1", "env => heroku"}
        ]
    ],
    ?assertEqual(nomatch, re:run(text(producer, #{bootstrap_servers => "http://h:1"}), "heroku")).

protocols_of_addresses_test() ->
    %% librdkafka would drop a broker of another protocol, and know none then.
    Ssl = #{'security.protocol' => 'SSL'},
    Parse = fun(Servers, Kafka) ->
        crema_options:parse(producer, #{bootstrap_servers => Servers, kafka => Kafka})
    end,
    {ok, _} = Parse("ssl://h:1,SSL://i,j", Ssl),
    {ok, _} = Parse("SASL_SSL://h:1", #{'security.protocol' => fun() -> "sasl_ssl" end}),
    [
        ?assertMatch(
            {error, {bad_options, #{faults := [#{option := bootstrap_servers}]}}},
            Parse(Servers, Kafka)
        )
     || {Servers, Kafka} <- [{"ssl://h:1", #{}}, {"h:1,PLAINTEXT://h:1", Ssl}]
    ].

every_fault_is_reported_test() ->
    %% All that is wrong is reported in one go, and the message names it all.
    Options = [
        {on_full, sometimes},
        {full_timeout, -1},
        {max_queue_messages, 0},
        {group, <<"g">>},
        {kafka, #{"enable.idempotence" => true, 'client.id' => undefined}},
        {tag, 1, 2}
    ],
    {error, {bad_options, #{message := Message, faults := Faults}}} =
        crema_options:parse(producer, Options),
    Expected = [
        {element, 6}, bootstrap_servers, full_timeout, group, {kafka, <<"client.id">>},
        {kafka, <<"enable.idempotence">>}, max_queue_messages, on_full
    ],
    ?assertEqual(lists:sort(Expected), lists:sort([Option || #{option := Option} <- Faults])),
    [
        ?assertMatch({_, {_, _}}, {Part, binary:match(Message, Part)})
     || Part <- [
            <<"8 wrong options of a producer">>, <<"element 6">>, <<"bootstrap_servers">>,
            <<"full_timeout must be an integer from 0">>, <<"not -1">>, <<"option ordering">>,
            <<"group is unknown: it is an option of a consumer">>
        ]
    ].

unknown_options_get_a_suggestion_test() ->
    %% A misspelt option is named together with the one that was meant.
    [
        ?assertMatch({_, {_, _}}, {Key, binary:match(reason(producer, Key), Meant)})
     || {Key, Meant} <- [
            {bootstrap_server, <<"bootstrap_servers">>},
            {servers, <<"bootstrap_servers">>},
            {<<"on_full">>, <<"atom on_full">>},
            {"orderin", <<"ordering">>},
            {'Flush_Timeout', <<"flush_timeout">>},
            {'linger.ms', <<"under the option kafka">>},
            {drain_timeout, <<"option of a consumer">>}
        ]
    ],
    ?assertEqual(<<"is unknown">>, reason(producer, zzzzzzzz)),
    ?assertEqual(<<"is unknown">>, reason(producer, {any, <<"term">>})),
    ?assertEqual(<<"is unknown">>, reason(cluster, 'linger.ms')).

parts_of_options_get_a_suggestion_test() ->
    %% What stands within an option is shown there, also when it is misspelt.
    [
        ?assertEqual({Key, <<"is unknown", Told/binary>>}, {Key, reason(Scope, Key)})
     || {Scope, Key, Told} <- [
            {consumer, retries, <<": it belongs into the option failures => #{retries => ...}">>},
            {consumer, "then", <<": it belongs into the option failures => #{then => ...}">>},
            {consumer, retrys, <<", did you mean failures => #{retries => ...}?">>},
            %% An option is meant where there is one of that name.
            {consumer, <<"backoff">>, <<", did you mean the atom backoff?">>},
            {consumer, bakoff, <<", did you mean backoff?">>},
            {producer, retries, <<>>},
            {variant, acks, <<": it belongs into the option topic_config => #{acks => ...}">>},
            {variant, 'request.timeout.ms',
                <<": it belongs into the option topic_config => #{'request.timeout.ms' => ...}">>},
            {variant, 'linger.ms', <<>>}
        ]
    ].

reason(Scope, Key) ->
    {error, {_, #{faults := Faults}}} = crema_options:parse(Scope, #{Key => 1}),
    [Reason] = [Reason || #{option := Option, reason := Reason} <- Faults, Option =:= Key],
    Reason.

required_options_test() ->
    %% What a scope needs is asked for when it is missing.
    ?assertEqual([bootstrap_servers], wrong(producer, #{})),
    ?assertEqual(
        lists:sort([bootstrap_servers, group, topics, handler]), lists:sort(wrong(consumer, []))
    ),
    [?assertEqual([options], wrong(producer, Bad)) || Bad <- [nothing, 1, [{name, a} | b], <<>>]].

wrong_values_test() ->
    %% Each type refuses what it must, by the name of the option.
    Wrong = [
        {group, [<<>>, "", 1, true, nil, <<"g", 0>>]},
        {topics, [[], <<>>, [<<>>], [1.5], [nil], [<<"a">> | b], #{}]},
        {handler, [nil, "m", no_such_module, {lists, []}, {?MODULE, a, b}, '', true]},
        {start, [first, <<"earliest">>]},
        {backoff, [1, {0, 1}, {2, 1}, {1, infinity}]},
        {batch_messages, [0, 1001, 1.0]},
        {stop_timeout, [-1, infinity, 16#100000000]},
        {kafka, [1, [a | b], "text"]}
    ],
    [
        ?assertEqual({Value, [Name]}, {Value, wrong(consumer, maps:put(Name, Value, ?CONSUMER))})
     || {Name, Values} <- Wrong, Value <- Values
    ],
    [
        ?assertEqual([topics], wrong(cluster, #{topics => Bad}))
     || Bad <- [#{t => 0}, #{1 => 1}, #{"" => 1}, [t | u], [t], 1]
    ].

handlers_are_looked_for_test() ->
    %% A handler that cannot work is told now, not by a crash for each message.
    [
        ?assertMatch({_, _}, binary:match(text(consumer, ?CONSUMER#{handler := Handler}), Part))
     || {Handler, Part} <- [
            {no_such_module, <<"no_such_module is no module">>},
            {lists, <<"lists exports neither handle_message/2 nor handle_messages/2">>}
        ]
    ].

%% --- rules between options

options_of_a_producers_life_test() ->
    %% What is no time to be idle, no list of codes or no function is refused, and
    %% a function is not shown: it may hold a secret.
    Keep = fun(_) -> keep end,
    Good = [
        {idle_disconnect, 0, 0}, {idle_disconnect, 30000, 30000},
        {never_reload, [], []}, {never_reload, [unknown_producer_id], [unknown_producer_id]},
        {on_reload, nil, undefined}, {on_reload, Keep, Keep}, {on_reload, {m, f, [a]}, {m, f, [a]}}
    ],
    [
        ?assertMatch(
            {ok, #{Name := Value}}, crema_options:parse(producer, ?PRODUCER#{Name => Given})
        )
     || {Name, Given, Value} <- Good
    ],
    Bad = [
        {idle_disconnect, 1}, {idle_disconnect, 29999}, {idle_disconnect, infinity},
        {never_reload, fenced}, {never_reload, [<<"fenced">>]}, {never_reload, [a | b]},
        {on_reload, fun() -> keep end}, {on_reload, {m, f}}, {on_reload, {m, f, [a | b]}}
    ],
    [
        ?assertEqual({Name, Value, [Name]}, {Name, Value, wrong(producer, ?PRODUCER#{Name => Value})})
     || {Name, Value} <- Bad
    ],
    {error, {_, #{faults := [Fault]}}} =
        crema_options:parse(producer, ?PRODUCER#{on_reload => {m, f, secret}}),
    ?assertEqual([option, reason], lists:sort(maps:keys(Fault))).

drain_is_bounded_test() ->
    %% A drain may not take half of max.poll.interval.ms, the library's or the user's.
    Drain = fun(Ms, Kafka) ->
        ?CONSUMER#{drain_timeout => Ms, kafka => Kafka, stop_timeout => Ms + 1}
    end,
    ?assertMatch({ok, _}, crema_options:parse(consumer, Drain(149999, #{}))),
    ?assertEqual([drain_timeout], wrong(consumer, Drain(150000, #{}))),
    Interval = #{<<"max.poll.interval.ms">> => 6000},
    ?assertMatch({ok, _}, crema_options:parse(consumer, Drain(2999, Interval))),
    ?assertEqual([drain_timeout], wrong(consumer, Drain(3000, Interval))),
    %% librdkafka judges what is no number.
    ?assertMatch(
        {ok, _}, crema_options:parse(consumer, Drain(5000, #{'max.poll.interval.ms' => "long"}))
    ).

%% What waits for a batch to fill is a handler of batches, alone in its partition.
batches_wait_test() ->
    Parse = fun(More) ->
        crema_options:parse(consumer, maps:merge(#{
            bootstrap_servers => "b:9092", group => "g", topics => ["t"],
            handler => crema_ct_batch_handler, batch_age => 5
        }, More))
    end,
    ?assertMatch({ok, #{batch_age := 5}}, Parse(#{})),
    [
        ?assertMatch({error, {bad_options, #{faults := [#{option := batch_age}]}}}, Parse(More))
     || More <- [#{concurrency => {any, 2}}, #{handler => fun(_) -> ok end}]
    ].

strict_ordering_is_kept_test() ->
    %% What would break the order is refused under strict and taken under loose.
    [
        begin
            Options = ?PRODUCER#{kafka => #{Key => Value}},
            ?assertEqual([{kafka, Key}], wrong(producer, Options)),
            ?assertMatch({ok, _}, crema_options:parse(producer, Options#{ordering => loose}))
        end
     || {Key, Value} <- [
            {<<"acks">>, 1},
            {<<"request.required.acks">>, "0"},
            {<<"max.in.flight">>, 6},
            {<<"max.in.flight.requests.per.connection">>, 100}
        ]
    ],
    ?assertMatch(
        {ok, #{warnings := []}}, crema_options:parse(producer, ?PRODUCER#{kafka => #{acks => -1}})
    ),
    ?assertEqual(
        [ordering],
        wrong(producer, ?PRODUCER#{ordering => loose, kafka => #{'transactional.id' => "x"}})
    ).

warnings_test() ->
    %% Settings that work against each other are allowed, with a warning for each.
    [
        ?assertMatch({{_, _, _}, N}, {{Scope, Options, Kafka}, warnings(Scope, Options, Kafka)})
     || {N, Scope, Options, Kafka} <- [
            {0, producer, #{}, #{'message.timeout.ms' => 179999}},
            {1, producer, #{}, #{'message.timeout.ms' => 180000}},
            {1, producer, #{}, #{'delivery.timeout.ms' => 0}},
            {1, producer, #{request_timeout => 150000}, #{}},
            {0, producer, #{}, #{'transactional.id' => x}},
            {1, producer, #{}, #{'transactional.id' => x, 'transaction.timeout.ms' => 180000}},
            {0, producer, #{}, #{'transactional.id' => x, 'transaction.timeout.ms' => 60000}},
            {1, producer, #{}, #{
                'transactional.id' => x,
                'transaction.timeout.ms' => 60000,
                'message.timeout.ms' => 60000
            }},
            {0, producer, #{}, #{'transactional.id' => x, 'transaction.timeout.ms' => soon}},
            {1, consumer, #{stop_timeout => 5000}, #{}},
            {1, consumer, #{}, #{'auto.commit.interval.ms' => 0}}
        ]
    ].

warnings(Scope, Options, Kafka) ->
    Least = #{producer => ?PRODUCER, consumer => ?CONSUMER},
    {ok, #{warnings := Warnings}} = crema_options:parse(
        Scope, (maps:merge(maps:get(Scope, Least), Options))#{kafka => Kafka}
    ),
    ?assert(lists:all(fun is_binary/1, Warnings)),
    length(Warnings).

%% --- documentation and helpers

documentation_is_complete_test() ->
    %% Every option stands in the documentation of its scope, with its default.
    [
        begin
            Doc = crema_options:doc(Scope),
            [
                ?assertMatch(
                    {_, {_, _}},
                    {Name, binary:match(Doc, <<"| `", (atom_to_binary(Name))/binary, "` |">>)}
                )
             || #{name := Name} = Row <- crema_options:table(), in(Scope, Row)
            ],
            ?assertEqual(nomatch, binary:match(Doc, <<"| undefined |">>))
        end
     || Scope <- [producer, consumer, reader, cluster, variant, pool]
    ],
    ?assertMatch({_, _}, binary:match(crema_options:doc(consumer), <<"| required |">>)).

defaults_are_right_in_themselves_test() ->
    %% Every default passes the check of its own type.
    [
        ?assertMatch({ok, _}, crema_option_type:check(Type, Default))
     || #{type := Type, default := Default} <- crema_options:table(),
        Type =/= properties,
        Type =/= topic_config
    ].

types_describe_themselves_test() ->
    %% Each type says what it expects, in its refusal too; secrets' types show no value.
    [
        begin
            ?assert(byte_size(crema_option_type:describe(Type)) > 0),
            {error, Reason} = crema_option_type:check(Type, {no, good, value}),
            ?assertMatch(<<"must be ", _/binary>>, Reason)
        end
     || #{type := Type} <- crema_options:table()
    ],
    ?assert(crema_option_type:shown(name)),
    ?assertNot(crema_option_type:shown(handler)).

input_test() ->
    %% Text and pairs are read in every form, and refused without a crash.
    Texts = [<<"ab">>, "ab", ab, ["a", <<"b">>]],
    [?assertEqual({ok, <<"ab">>}, crema_input:text(T)) || T <- Texts],
    [?assertEqual(error, crema_input:text(T)) || T <- [nil, undefined, 1, "a\0", [a], [1 | 2]]],
    ?assertEqual({ok, [{a, 1}, {b, true}], []}, crema_input:pairs([{a, 1}, b, {a, 2}])),
    ?assertMatch({ok, [], [#{option := {element, 1}}]}, crema_input:pairs([<<>>])),
    [?assertEqual(error, crema_input:pairs(T)) || T <- [[a | b], "text", <<"text">>, 1]],
    ?assert(crema_input:is_proper([])),
    ?assertNot(crema_input:is_proper([a | b])),
    ?assertEqual(<<"#{token => <<\"[redacted]\">>}">>, crema_input:show(#{token => 1})),
    ?assert(byte_size(crema_input:show(lists:seq(1, 10000))) < 200).

nearest_test() ->
    %% The closest name wins; nothing is suggested for what is close to none.
    Names = [<<"group">>, <<"topics">>, <<"handler">>],
    ?assertEqual({ok, <<"topics">>}, crema_suggest:nearest(<<"topic">>, Names)),
    ?assertEqual({ok, <<"group">>}, crema_suggest:nearest(<<"group_id">>, Names)),
    ?assertEqual({ok, <<"handler">>}, crema_suggest:nearest(<<"HANDLR">>, Names)),
    [
        ?assertEqual(none, crema_suggest:nearest(Text, Names))
     || Text <- [<<>>, <<"zzzz">>, <<255, 254>>, binary:copy(<<"group">>, 20)]
    ].

rules_skip_what_is_wrong_already_test() ->
    %% A rule about an option with a fault of its own adds no second fault.
    ?assertEqual({[], []}, crema_option_rules:check(producer, #{})),
    ?assertEqual({[], []}, crema_option_rules:check(consumer, #{kafka => #{}})),
    ?assertEqual({[], []}, crema_option_rules:check(cluster, #{})).

faults_test() ->
    %% One fault and several read differently; unknown keys are told in order.
    Table = crema_options:table(),
    ?assertMatch(
        [#{option := a}, #{option := b}],
        crema_option_faults:unknown(cluster, Table, #{b => 1, a => 1})
    ),
    Fault = #{option => {kafka, <<255>>}, reason => <<"is bad">>},
    {error, {bad_options, #{message := One}}} = crema_option_faults:error(cluster, [Fault]),
    ?assertMatch(<<"a wrong option of a cluster: kafka property <<\"", _/binary>>, One).
