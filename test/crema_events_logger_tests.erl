%% The handler that writes events into the log.
-module(crema_events_logger_tests).

-include_lib("eunit/include/eunit.hrl").

-export([log/2]).

-define(FLUSHED, [crema, producer, flushed]).

logger_test_() ->
    {foreach, fun start/0, fun stop/1, [
        {atom_to_list(Name), fun() -> Case() end}
     || {Name, Case} <- [
            {one_line, fun one_line/0},
            {levels, fun levels/0},
            {no_payloads, fun no_payloads/0},
            {every_event, fun every_event/0},
            {chosen_events, fun chosen_events/0},
            {detached, fun detached/0},
            {misuse, fun misuse/0}
        ]
    ]}.

%% Nothing that is logged is printed.
start() ->
    Owner =
        case crema_events:start_link() of
            {ok, Started} -> Started;
            {error, {already_started, _}} -> running
        end,
    #{level := Level} = logger:get_primary_config(),
    Default = logger:get_handler_config(default),
    _ = logger:set_handler_config(default, level, none),
    ok = logger:set_primary_config(level, all),
    ok = logger:add_handler(?MODULE, ?MODULE, #{}),
    {Owner, Level, Default}.

stop({Owner, Level, Default}) ->
    _ = crema_events_logger:detach(),
    ok = logger:remove_handler(?MODULE),
    ok = logger:set_primary_config(level, Level),
    _ = [logger:set_handler_config(default, level, L) || {ok, #{level := L}} <- [Default]],
    case Owner of
        running ->
            ok;
        _ ->
            gen_server:stop(Owner),
            persistent_term:erase({crema_events, forward})
    end.

%% In the process that logs, which is the one that sends the event.
log(#{meta := #{crema_event := Name}} = Event, _) ->
    Line = logger_formatter:format(Event, #{template => [msg]}),
    self() ! {Name, maps:get(level, Event), unicode:characters_to_binary(Line)};
log(_, _) ->
    ok.

logged() ->
    receive
        {_, Level, Line} -> {Level, Line}
    after 0 -> nothing
    end.

flushed(Result) ->
    Metadata = #{client => self(), name => orders, result => Result},
    crema_events:execute(?FLUSHED, #{duration => 12}, Metadata).

one_line() ->
    %% An event becomes a line that names it, its client and its fields.
    ok = crema_events_logger:attach(),
    ok = flushed(ok),
    ?assertEqual({info, <<"crema producer flushed (orders): result=ok duration=12ms">>}, logged()),
    Metadata = #{client => self(), name => undefined, code => fenced, message => <<"a\n  b\tc">>},
    Metadata1 = Metadata#{call => sync, topics => #{<<"t">> => 2}, messages => []},
    Measured = #{count => 2, failed => 2, duration => 812},
    ok = crema_events:execute([crema, producer, produce_failed], Measured, Metadata1),
    Expected =
        "crema producer produce_failed (" ++ pid_to_list(self()) ++
            "): call=sync topics=#{<<\"t\">> => 2} code=fenced message=a b c count=2 failed=2 "
            "duration=812us",
    ?assertEqual({warning, list_to_binary(Expected)}, logged()).

levels() ->
    %% What is wrong is a warning, the rest has the level that was chosen.
    ok = crema_events_logger:attach(#{level => debug}),
    ok = flushed(ok),
    ?assertMatch({debug, _}, logged()),
    ok = flushed(timeout),
    ?assertMatch({warning, _}, logged()),
    Reported = #{acknowledged => 1, failed => 0, purged => 0, unlisted => 0},
    Metadata = #{client => self(), name => orders, failures => #{}, reports => []},
    [
        begin
            ok = crema_events:execute([crema, producer, reported], Reported#{failed := N}, Metadata),
            ?assertMatch({Level, _}, logged())
        end
     || {N, Level} <- [{0, debug}, {1, warning}]
    ].

no_payloads() ->
    %% What users produce, and reasons they give, are written only when asked for.
    Messages = [#{topic => <<"t">>, value => <<"hunter2">>}],
    Metadata = #{client => self(), name => orders, call => async, topics => #{<<"t">> => 1}},
    Produced = fun() ->
        ok = crema_events:execute(
            [crema, producer, produced],
            #{count => 1, failed => 0, duration => 1},
            Metadata#{messages => Messages}
        ),
        {info, Line} = logged(),
        binary:match(Line, <<"hunter2">>) =/= nomatch
    end,
    ok = crema_events_logger:attach(),
    ?assertNot(Produced()),
    ok = crema_events_logger:detach(),
    ok = crema_events_logger:attach(#{payloads => true}),
    ?assert(Produced()).

every_event() ->
    %% Each event of the table makes a line without what may hold users' data, also
    %% when it lacks what is optional and when its text is no UTF-8.
    ok = crema_events_logger:attach(#{
        events => [Name || #{name := Name} <- crema_event_table:table()]
    }),
    [
        begin
            Keep = fun(Type) -> Optional orelse not is_optional(Type) end,
            Values = fun(Fields) ->
                maps:from_list([{F, sample(F, Type)} || {F, Type, _} <- Fields, Keep(Type)])
            end,
            ok = crema_events:execute(Name, Values(Measured), Values(Described)),
            {_, Line} = logged(),
            ?assertEqual(nomatch, binary:match(Line, [<<"hunter2">>, <<"\n">>])),
            Last = atom_to_binary(lists:last(Name)),
            ?assertMatch({_, _}, binary:match(Line, Last))
        end
     || #{name := Name, measurements := Measured, metadata := Described} <-
            crema_event_table:table(),
        Optional <- [true, false]
    ].

is_optional({optional, _}) -> true;
is_optional(_) -> false.

%% Fields of these names hold no users' data.
sample(name, term) -> orders;
sample(partitions, list) -> [{<<"t">>, 0}];
sample(Counts, map) when Counts =:= topics; Counts =:= failures -> #{};
sample(_, list) -> [<<"hunter2">>];
sample(_, map) -> #{<<"x">> => <<"hunter2">>};
sample(_, term) -> {reason, "hunter2"};
sample(Field, {optional, Type}) -> sample(Field, Type);
sample(_, {one_of, [First | _]}) -> First;
sample(_, {integer, _}) -> 1;
sample(_, integer) -> -1;
sample(_, binary) -> <<"a\nb", 255>>;
sample(_, atom) -> atom;
sample(_, pid) -> self().

chosen_events() ->
    %% Only the events that were asked for are written; by default none that crema
    %% logs itself.
    ok = crema_events_logger:attach(#{events => [[crema, producer, purged]]}),
    ok = flushed(ok),
    ?assertEqual(nothing, logged()),
    ok = crema_events_logger:detach(),
    ?assertNot(lists:member([crema, client, log], crema_events_logger:events())),
    ?assertNot(lists:member([crema, client, statistics], crema_events_logger:events())).

detached() ->
    %% It is attached once, and silent after it was detached.
    ok = crema_events_logger:attach(),
    ?assertEqual({error, already_exists}, crema_events_logger:attach()),
    ok = crema_events_logger:detach(),
    ok = flushed(ok),
    ?assertEqual(nothing, logged()),
    ?assertEqual({error, not_found}, crema_events_logger:detach()).

misuse() ->
    %% Wrong options raise badarg, and nothing is attached.
    [
        ?assertError({badarg, _}, crema_events_logger:attach(Options))
     || Options <- [
            #{level => loud},
            #{payloads => 1},
            #{no_such => 1},
            #{events => [[crema, no, such]]},
            #{events => []}
        ]
    ],
    ?assertEqual({error, not_found}, crema_events_logger:detach()).
