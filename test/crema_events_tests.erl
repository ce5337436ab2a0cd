-module(crema_events_tests).

-include_lib("eunit/include/eunit.hrl").

%% Log handler of the test below.
-export([log/2]).

-define(EVENT, [crema, client, connected]).
-define(OTHER, [crema, client, disconnected]).

%% The application may be running already; then its own owner is used.
events_test_() ->
    {foreach, fun start/0, fun stop/1, [
        {atom_to_list(Name), fun() -> Case() end}
     || {Name, Case} <- [
            {handlers_are_called, fun handlers_are_called/0},
            {several_events, fun several_events/0},
            {identifiers_are_unique, fun identifiers_are_unique/0},
            {detach_ends_a_handler, fun detach_ends_a_handler/0},
            {order_of_attaching, fun order_of_attaching/0},
            {a_crash_detaches, fun a_crash_detaches/0},
            {a_crash_spares_the_successor, fun a_crash_spares_the_successor/0},
            {a_crash_is_logged_once, fun a_crash_is_logged_once/0},
            {misuse_raises, fun misuse_raises/0},
            {listening_tells, fun listening_tells/0},
            {strange_calls, fun strange_calls/0},
            {any_identifier, fun any_identifier/0}
        ]
    ]}.

start() ->
    case crema_events:start_link() of
        {ok, Owner} -> Owner;
        {error, {already_started, _}} -> running
    end.

stop(running) ->
    ok;
stop(Owner) ->
    gen_server:stop(Owner),
    persistent_term:erase({crema_events, forward}).

teller() ->
    fun(Event, Measurements, Metadata, {Pid, Tag}) ->
        Pid ! {Tag, Event, Measurements, Metadata}
    end.

handlers_are_called() ->
    %% An attached handler gets name, measurements, metadata and its configuration.
    ok = crema_events:attach(a, ?EVENT, teller(), {self(), tag}),
    ok = crema_events:execute(?EVENT, #{count => 1}, #{name => x}),
    ?assertEqual([{tag, ?EVENT, #{count => 1}, #{name => x}}], received()),
    ok = crema_events:execute(?OTHER, #{}, #{}),
    ?assertEqual([], received()),
    ok = crema_events:detach(a).

several_events() ->
    %% One handler may be attached to several events, and is listed for each.
    ok = crema_events:attach(a, [?EVENT, ?OTHER, ?EVENT], teller(), {self(), tag}),
    crema_events:execute(?EVENT, #{}, #{}),
    crema_events:execute(?OTHER, #{}, #{}),
    ?assertMatch([{tag, ?EVENT, _, _}, {tag, ?OTHER, _, _}], received()),
    Listed = [Name || #{id := a, event_name := Name} <- crema_events:list_handlers()],
    ?assertEqual([?EVENT, ?OTHER], lists:sort(Listed)),
    ok = crema_events:detach(a),
    ?assertEqual([], [Id || #{id := Id} <- crema_events:list_handlers(), Id =:= a]).

identifiers_are_unique() ->
    %% A second handler under the same identifier is refused, the first one stays.
    ok = crema_events:attach(a, ?EVENT, teller(), {self(), first}),
    ?assertEqual(
        {error, already_exists}, crema_events:attach(a, ?OTHER, teller(), {self(), second})
    ),
    crema_events:execute(?EVENT, #{}, #{}),
    crema_events:execute(?OTHER, #{}, #{}),
    ?assertMatch([{first, _, _, _}], received()),
    ok = crema_events:detach(a).

detach_ends_a_handler() ->
    %% A detached handler is called no more, and detaching again says not_found.
    ok = crema_events:attach(a, ?EVENT, teller(), {self(), tag}),
    ok = crema_events:detach(a),
    crema_events:execute(?EVENT, #{}, #{}),
    ?assertEqual([], received()),
    ?assertEqual({error, not_found}, crema_events:detach(a)).

order_of_attaching() ->
    %% The handlers of one event run in the order in which they were attached.
    Ids = [c, a, b],
    [ok = crema_events:attach(Id, ?EVENT, teller(), {self(), Id}) || Id <- Ids],
    crema_events:execute(?EVENT, #{}, #{}),
    ?assertEqual(Ids, [Tag || {Tag, _, _, _} <- received()]),
    [ok = crema_events:detach(Id) || Id <- Ids].

a_crash_detaches() ->
    %% A handler that raises, in any way, is detached from all its events; the
    %% sender goes on, and so do the other handlers.
    quiet(fun() ->
        [
            begin
                ok = crema_events:attach(bad, [?EVENT, ?OTHER], Raise, none),
                ok = crema_events:attach(good, ?EVENT, teller(), {self(), tag}),
                ok = crema_events:execute(?EVENT, #{}, #{}),
                ?assertMatch([{tag, ?EVENT, _, _}], received()),
                ?assertEqual({error, not_found}, crema_events:detach(bad)),
                ok = crema_events:detach(good)
            end
         || Raise <- [
                fun(_, _, _, _) -> error(oops) end,
                fun(_, _, _, _) -> exit(oops) end,
                fun(_, _, _, _) -> throw(oops) end
            ]
        ]
    end).

a_crash_spares_the_successor() ->
    %% A handler that was replaced under its identifier while it ran, and then
    %% raises, does not take its successor down.
    Successor = teller(),
    Self = self(),
    Replaced = fun(_, _, _, _) ->
        ok = crema_events:detach(a),
        ok = crema_events:attach(a, ?EVENT, Successor, {Self, successor}),
        error(oops)
    end,
    ok = crema_events:attach(a, ?EVENT, Replaced, none),
    quiet(fun() -> crema_events:execute(?EVENT, #{}, #{}) end),
    crema_events:execute(?EVENT, #{}, #{}),
    ?assertMatch([{successor, ?EVENT, _, _}], received()),
    ok = crema_events:detach(a).

a_crash_is_logged_once() ->
    %% A broken handler that many processes run into at once is logged once, as a
    %% structured report without a domain (OTP's own handler stops those that have
    %% one), which shows no argument of it.
    Self = self(),
    quiet(fun() ->
        ok = logger:add_handler(?MODULE, ?MODULE, #{config => #{pid => Self}}),
        Raise = fun(_, _, _, {password, never}) -> ok end,
        ok = crema_events:attach(bad, ?EVENT, Raise, {password, <<"hunter2">>}),
        Senders = [
            spawn_monitor(fun() -> crema_events:execute(?EVENT, #{}, #{}) end)
         || _ <- lists:seq(1, 20)
        ],
        [receive {'DOWN', Ref, process, Pid, normal} -> ok end || {Pid, Ref} <- Senders],
        ok = logger:remove_handler(?MODULE)
    end),
    Reports = [Event || #{msg := {report, #{handler_id := bad}}} = Event <- received()],
    [#{meta := #{report_cb := Format} = Meta, msg := {report, Report}}] =
        Reports,
    ?assertNot(is_map_key(domain, Meta)),
    {Text, Args} = Format(Report),
    Line = unicode:characters_to_binary(io_lib:format(Text, Args)),
    ?assertMatch({_, _}, binary:match(Line, <<"function_clause">>)),
    ?assertEqual(nomatch, binary:match(Line, <<"hunter2">>)).

log(Event, #{config := #{pid := Pid}}) ->
    Pid ! Event.

misuse_raises() ->
    %% Names that are no events of crema and functions of another arity raise
    %% badarg with a reason.
    Names = [[], [telemetry, x], [crema], [crema, "x"], [crema, x | y], crema, [?EVENT, [x]]],
    [
        ?assertError({badarg, _}, crema_events:attach(a, Name, teller(), none))
     || Name <- Names
    ],
    ?assertError({badarg, _}, crema_events:attach(a, ?EVENT, fun(_) -> ok end, none)).

listening_tells() ->
    %% listening/1 is true just while a handler is attached to that event.
    ?assertNot(crema_events:listening(?EVENT)),
    ok = crema_events:attach(a, ?EVENT, teller(), {self(), tag}),
    ?assert(crema_events:listening(?EVENT)),
    ?assertNot(crema_events:listening(?OTHER)),
    ok = crema_events:detach(a),
    ?assertNot(crema_events:listening(?EVENT)).

strange_calls() ->
    %% Messages nobody should send to the owner cost no handler.
    ok = crema_events:attach(a, ?EVENT, teller(), {self(), tag}),
    ?assertEqual({error, unknown_call}, gen_server:call(crema_events, hello)),
    gen_server:cast(crema_events, hello),
    crema_events ! hello,
    ?assertEqual({error, already_exists}, crema_events:attach(a, ?EVENT, teller(), none)),
    ok = crema_events:detach(a).

any_identifier() ->
    %% Identifiers are compared as terms: one that is a wild card in ETS is no
    %% wild card here.
    ok = crema_events:attach(a, ?EVENT, teller(), {self(), tag}),
    ?assertEqual({error, not_found}, crema_events:detach('_')),
    ok = crema_events:attach('_', ?EVENT, teller(), {self(), tag}),
    ok = crema_events:detach('_'),
    ok = crema_events:detach(a).

without_the_owner_test() ->
    %% Before crema runs nothing raises: sending is ok, attaching says why not.
    case whereis(crema_events) of
        undefined ->
            ?assertEqual(ok, crema_events:execute(?EVENT, #{}, #{})),
            ?assertNot(crema_events:listening(?EVENT)),
            ?assertEqual([], crema_events:list_handlers()),
            ?assertEqual(
                {error, not_started}, crema_events:attach(a, ?EVENT, teller(), none)
            ),
            ?assertEqual({error, not_started}, crema_events:detach(a));
        _Running ->
            ok
    end.

telemetry_test_() ->
    %% When the host has telemetry, events go there too and its handlers count as
    %% listeners; what it raises does not reach the sender.
    {setup, fun load_telemetry/0, fun unload_telemetry/1, fun(State) ->
        [{"forwarding", fun() -> forwards(State) end}]
    end}.

%% Nothing is done where the host has the real one.
load_telemetry() ->
    case {code:which(telemetry), whereis(crema_events)} of
        {non_existing, undefined} ->
            Source =
                "-module(telemetry). -export([execute/3, list_handlers/1]).\n"
                "execute(E, M, D) -> maps:get(pid, D) ! {telemetry, E, M}.\n"
                "list_handlers([crema, client, connected]) -> [handler];\n"
                "list_handlers(_) -> [].\n",
            {module, telemetry} = load(Source),
            {ok, Owner} = crema_events:start_link(),
            {fake, Owner};
        _ ->
            skipped
    end.

load(Source) ->
    {ok, Tokens, _} = erl_scan:string(Source),
    {ok, telemetry, Binary} = compile:forms(forms(Tokens, [], []), []),
    code:load_binary(telemetry, "telemetry.erl", Binary).

forms([], [], Forms) ->
    lists:reverse(Forms);
forms([{dot, _} = Dot | Tokens], Part, Forms) ->
    {ok, Form} = erl_parse:parse_form(lists:reverse([Dot | Part])),
    forms(Tokens, [], [Form | Forms]);
forms([Token | Tokens], Part, Forms) ->
    forms(Tokens, [Token | Part], Forms).

unload_telemetry(skipped) ->
    ok;
unload_telemetry({fake, Owner}) ->
    stop(Owner),
    code:purge(telemetry),
    code:delete(telemetry),
    code:purge(telemetry).

forwards(skipped) ->
    ok;
forwards({fake, _}) ->
    ok = crema_events:execute(?EVENT, #{count => 2}, #{pid => self()}),
    ?assertEqual([{telemetry, ?EVENT, #{count => 2}}], received()),
    ok = crema_events:execute(?EVENT, #{count => 2}, #{}),
    ?assert(crema_events:listening(?EVENT)),
    ?assertNot(crema_events:listening(?OTHER)).

table_is_sound_test() ->
    %% Every event of the table can be attached to, is there once, and names no
    %% field twice; the documentation has them all.
    Table = crema_event_table:table(),
    Doc = crema_event_table:doc(),
    Names = [Name || #{name := Name} <- Table],
    ?assertEqual(length(Names), length(lists:usort(Names))),
    [
        begin
            ?assertMatch([crema, _ | _], Name),
            Fields = [Field || {Field, _, _} <- Measurements ++ Metadata],
            ?assertEqual(length(Fields), length(lists:usort(Fields))),
            ?assertMatch({_, _}, binary:match(Doc, iolist_to_binary(io_lib:format("~0p", [Name]))))
        end
     || #{name := Name, measurements := Measurements, metadata := Metadata} <- Table
    ].

table_accepts_what_it_says_test() ->
    %% An event built from its row passes the check, with and without what is optional.
    [
        begin
            ?assertEqual(ok, crema_event_table:check(Name, sample(Measured), sample(Described))),
            ?assertEqual(
                ok,
                crema_event_table:check(
                    Name, sample(required(Measured)), sample(required(Described))
                )
            )
        end
     || #{name := Name, measurements := Measured, metadata := Described} <-
            crema_event_table:table()
    ].

required(Fields) ->
    [Field || {_, Type, _} = Field <- Fields, not is_optional(Type)].

is_optional({optional, _}) -> true;
is_optional(_) -> false.

sample(Fields) -> maps:from_list([{Name, value(Type)} || {Name, Type, _} <- Fields]).

value({optional, Type}) -> value(Type);
value({one_of, [First | _]}) -> First;
value({integer, _}) -> 1;
value(integer) -> 1;
value(binary) -> <<"text">>;
value(atom) -> atom;
value(pid) -> self();
value(list) -> [];
value(map) -> #{};
value(term) -> {any, "term"}.

table_refuses_the_rest_test() ->
    %% An unknown event, and a missing, unknown or wrong field, are each named.
    Check = fun crema_event_table:check/3,
    ?assertMatch({error, [_]}, Check([crema, no, such], #{}, #{})),
    Good = #{client => self(), name => undefined},
    ?assertEqual(ok, Check(?EVENT, #{}, Good)),
    ?assertMatch({error, [_, _]}, Check(?EVENT, #{}, #{})),
    ?assertMatch({error, [_]}, Check(?EVENT, #{extra => 1}, Good)),
    ?assertMatch({error, [_]}, Check(?EVENT, #{}, Good#{client := nobody})).

%% What handlers sent to this process; they run in it, or before their senders end.
received() ->
    receive
        Message -> [Message | received()]
    after 0 -> []
    end.

%% The default handler prints what these tests provoke: off meanwhile.
quiet(Fun) ->
    Level = maps:get(level, logger:get_primary_config()),
    Default = logger:get_handler_config(default),
    _ = logger:set_handler_config(default, level, none),
    try
        ok = logger:set_primary_config(level, error),
        Fun()
    after
        ok = logger:set_primary_config(level, Level),
        case Default of
            {ok, #{level := Before}} -> logger:set_handler_config(default, level, Before);
            {error, _} -> ok
        end
    end.
