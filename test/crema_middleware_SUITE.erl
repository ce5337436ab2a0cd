%% What messages go through before they are sent.
-module(crema_middleware_SUITE).
-behaviour(crema_middleware).

-include_lib("stdlib/include/assert.hrl").

-export([all/0, suite/0, init_per_suite/1, end_per_suite/1, end_per_testcase/2]).
-export([
    chain/1, skipped/1, skipped_tags/1, refused/1, raised/1, before_choice/1, run_once/1,
    started_meanwhile/1,
    changed/1, wrong_changes/1
]).
-export([handle_message/2, add/2, whereis_name/1]).

suite() -> [{timetrap, {seconds, 60}}].

all() ->
    [
        chain, skipped, skipped_tags, refused, raised, before_choice, run_once,
        started_meanwhile,
        changed, wrong_changes
    ].

init_per_suite(Config) -> crema_ct:start(Config).

end_per_suite(Config) -> crema_ct:stop(Config).

end_per_testcase(_, _Config) -> crema_ct:cleanup().

%% As a module: notes itself in the label, which comes back with the report.
handle_message(Message, Args) -> add(Message, {module, Args}).

add(Message, What) ->
    {ok, maps:update_with(label, fun(Label) -> Label ++ [What] end, [What], Message)}.

by(What) -> fun(Message) -> add(Message, What) end.

chain(Config) ->
    %% All forms of middleware are called in order, each with what the one before
    %% returned, in synchronous and asynchronous calls.
    P = crema_ct:producer(Config, #{
        middleware => [by(one), {?MODULE, add, [two]}, ?MODULE, {?MODULE, four}]
    }),
    Label = [one, two, {module, []}, {module, four}],
    ?assertMatch({ok, #{label := Label}}, crema:produce(P, #{topic => t})),
    {ok, Ref} = crema:produce_async(P, #{topic => t}),
    ?assertMatch({ok, #{label := Label}}, crema:await(Ref)),
    {ok, Results} = crema:produce_many(P, [#{topic => t, label => [N]} || N <- [1, 2, 3]]),
    ?assertEqual([[N | Label] || N <- [1, 2, 3]], [L || {ok, #{label := L}} <- Results]).

%% Messages with this value are left out.
skips() ->
    fun
        (#{value := <<"no">>}) -> skip;
        (Message) -> {ok, Message}
    end.

skipped(Config) ->
    %% What middleware leaves out is not sent; its result stands in its place and
    %% says so, and no middleware after it sees it.
    Topic = crema_ct:topic(Config, 1),
    After = fun(#{value := Value} = Message) when Value =/= <<"no">> -> {ok, Message} end,
    P = crema_ct:producer(Config, #{middleware => [skips(), After]}),
    ?assertEqual({ok, skipped}, crema:produce(P, #{topic => Topic, value => <<"no">>})),
    {ok, Alone} = crema:produce_async(P, #{topic => Topic, value => <<"no">>}),
    ?assertEqual({ok, skipped}, crema:await(Alone)),
    Values = [<<"no">>, <<"a">>, <<"no">>, <<"no">>, <<"b">>, <<"no">>],
    Messages = [#{topic => Topic, value => V, label => V} || V <- Values],
    Expected = [skipped, <<"a">>, skipped, skipped, <<"b">>, skipped],
    Of = fun({ok, Results}) ->
        [
            case Result of
                {ok, #{label := Label}} -> Label;
                {ok, Other} -> Other
            end
         || Result <- Results
        ]
    end,
    ?assertEqual(Expected, Of(crema:produce_many(P, Messages))),
    {ok, Ref} = crema:produce_many_async(P, Messages),
    ?assertEqual(Expected, Of(crema:await(Ref))),
    ok = crema:produce_many_async(P, Messages, #{report => none}),
    ok = crema:flush(P, 10000),
    %% large values go another way
    Large = binary:copy(<<"x">>, 100000),
    Mixed = [#{topic => Topic, value => V, label => size(V)} || V <- [Large, <<"no">>, Large]],
    ?assertEqual([100000, skipped, 100000], Of(crema:produce_many(P, Mixed))),
    {ok, #{offset := 8}} = crema:produce(P, #{topic => Topic, value => <<"last">>}),
    ?assertMatch(#{queue_messages := 0, queue_bytes := 0}, crema:info(P)),
    crema_ct:quiet().

skipped_tags(Config) ->
    %% Reports that are sent have the numbers that the messages had in the call.
    P = crema_ct:producer(Config, #{middleware => [skips()]}),
    Messages = [#{topic => t, value => V} || V <- [<<"no">>, <<"a">>, <<"no">>, <<"b">>]],
    ok = crema:produce_many_async(P, Messages, #{report => message, tag => 10}),
    ?assertMatch(
        [{10, {ok, skipped}}, {11, {ok, #{}}}, {12, {ok, skipped}}, {13, {ok, #{}}}],
        lists:sort(crema_ct:reports(4))
    ).

refused(Config) ->
    %% An error of middleware refuses the call, as does what is no answer.
    P = crema_ct:producer(Config, #{
        middleware => [
            fun
                (#{value := <<"bad">>}) -> {error, {no, good}};
                (#{value := <<"worse">>}) -> ok;
                (Message) -> {ok, Message}
            end
        ]
    }),
    [
        begin
            {error, {middleware, Details}} =
                crema:produce_many(P, [#{topic => t, value => V} || V <- [<<"a">>, Bad]]),
            ?assertMatch(#{index := 1, reason := Reason}, Details)
        end
     || {Bad, Reason} <- [{<<"bad">>, {no, good}}, {<<"worse">>, ok}]
    ],
    ?assertMatch(#{accepted := 0}, crema:info(P)),
    %% What it makes of a message is checked as any message.
    Spoils = crema_ct:producer(Config, #{middleware => [fun(_) -> {ok, not_a_map} end]}),
    ?assertMatch({error, {bad_message, #{field := message}}}, crema:produce(Spoils, #{topic => t})).

raised(Config) ->
    %% What middleware raises is raised in the caller, and nothing is sent.
    Raises = fun(#{value := Class}) -> erlang:raise(binary_to_existing_atom(Class), oops, []) end,
    P = crema_ct:producer(Config, #{middleware => [Raises]}),
    ?assertError(oops, crema:produce(P, #{topic => t, value => <<"error">>})),
    ?assertExit(oops, crema:produce_async(P, #{topic => t, value => <<"exit">>})),
    ?assertThrow(oops, crema:produce_many(P, [#{topic => t, value => <<"throw">>}])),
    ?assertMatch(#{accepted := 0}, crema:info(P)).

before_choice(Config) ->
    %% Partitions are chosen for what has come out of the middleware.
    Topic = crema_ct:topic(Config, 7),
    P = crema_ct:producer(Config, #{
        partitioner => consistent,
        middleware => [fun(Message) -> {ok, Message#{topic => Topic, partition_key => <<"a">>}} end]
    }),
    Partition = erlang:crc32(<<"a">>) rem 7,
    ?assertMatch({ok, #{topic := Topic, partition := Partition}}, crema:produce(P, #{topic => t})).

run_once(Config) ->
    %% Middleware is called once for a message, also where the call is packed
    %% more than once: large values, and a queue that was full.
    Self = self(),
    Once = fun(#{label := Label} = Message) ->
        Self ! {seen, Label},
        {ok, Message}
    end,
    P = crema_ct:producer(Config, #{
        middleware => [Once], partitioner => round_robin, max_queue_messages => 1
    }),
    Topic = crema_ct:topic(Config, 4),
    Refs = [
        begin
            {ok, Ref} = crema:produce_async(P, #{
                topic => Topic, label => N, value => binary:copy(<<"x">>, Size)
            }),
            Ref
        end
     || {N, Size} <- [{1, 1}, {2, 1}, {3, 20000}, {4, 20000}]
    ],
    Results = [crema:await(Ref) || Ref <- Refs],
    ?assertEqual([0, 1, 2, 3], [Partition || {ok, #{partition := Partition}} <- Results]),
    [
        receive
            {seen, Label} -> ?assertEqual(N, Label)
        after 0 -> error({not_seen, N})
        end
     || N <- [1, 2, 3, 4]
    ],
    crema_ct:quiet().

changed(Config) ->
    %% A change at run time is for every call that begins after it, also of a
    %% process that has produced before.
    P = crema_ct:producer(Config, #{middleware => []}),
    Of = fun() ->
        {ok, Report} = crema:produce(P, #{topic => t}),
        maps:get(label, Report, none)
    end,
    One = by(one),
    ?assertEqual(none, Of()),
    ok = crema_producer:middleware(P, {append, One}),
    ?assertEqual([one], Of()),
    ok = crema_producer:middleware(P, {append, {?MODULE, add, [two]}}),
    ok = crema_producer:middleware(P, {prepend, ?MODULE}),
    ?assertEqual([{module, []}, one, two], Of()),
    ?assertEqual([[{module, []}, one, two]], crema_ct:spawned([Of])),
    ok = crema_producer:middleware(P, {remove, One}),
    ?assertEqual([{module, []}, two], Of()),
    ?assertMatch({error, {not_found, _}}, crema_producer:middleware(P, {remove, One})).

wrong_changes(Config) ->
    %% What is no middleware is refused, and so is a change to a producer that
    %% was started without; what is no producer is told.
    P = crema_ct:producer(Config, #{middleware => []}),
    [
        ?assertMatch({error, {bad_options, _}}, crema_producer:middleware(P, Change))
     || Change <- [{append, no_such_module}, {insert, ?MODULE}, {prepend, fun() -> ok end}, x]
    ],
    Without = crema_ct:producer(Config),
    {error, {bad_options, #{message := Text}}} =
        crema_producer:middleware(Without, {append, ?MODULE}),
    ?assertMatch({match, _}, re:run(Text, "without the option middleware")),
    Cluster = proplists:get_value(cluster, Config),
    [
        ?assertMatch({error, {not_found, _}}, crema_producer:middleware(Other, {append, ?MODULE}))
     || Other <- [Cluster, no_such_name]
    ].

started_meanwhile(Config) ->
    %% A call that finds no producer, and then one that was started at that very
    %% moment, goes through its middleware like any other.
    P = crema_ct:producer(Config, #{middleware => [by(seen)]}),
    [
        begin
            _ = put(?MODULE, {absent_once, P}),
            ?assertMatch({ok, #{label := [seen]}}, reported(Produce))
        end
     || Produce <- [fun crema:produce/2, fun crema:produce_async/2]
    ].

reported(Produce) ->
    case Produce({via, ?MODULE, producer}, #{topic => t}) of
        {ok, Report} when is_map(Report) -> {ok, Report};
        {ok, Ref} -> crema:await(Ref);
        Error -> Error
    end.

%% A name that leads nowhere when it is asked for first.
whereis_name(producer) ->
    case get(?MODULE) of
        {absent_once, P} ->
            _ = put(?MODULE, {there, P}),
            undefined;
        {there, P} ->
            P
    end.
