%% Crema's Erlang modules are replaced below clients that work: see docs/operations.md.
-module(crema_upgrade_SUITE).

-include_lib("stdlib/include/assert.hrl").

-export([all/0, suite/0, init_per_suite/1, end_per_suite/1, end_per_testcase/2]).
-export([while_all_work/1]).
-export([event/4]).

suite() -> [{timetrap, {minutes, 3}}].

all() -> [while_all_work].

init_per_suite(Config) ->
    Started = crema_ct:start(Config),
    {ok, Modules} = application:get_key(crema, modules),
    {One, Other} = lists:split(length(Modules) div 2, Modules),
    Changed = crema_ct:spawned([fun() -> [changed(M) || M <- Part] end || Part <- [One, Other]]),
    %% Not into Config, which Common Test shows.
    ok = persistent_term:put(?MODULE, lists:append(Changed)),
    Started.

end_per_suite(Config) ->
    _ = persistent_term:erase(?MODULE),
    crema_ct:stop(Config).

end_per_testcase(_, _Config) ->
    _ = crema_events:detach(?MODULE),
    crema_ct:cleanup().

%% With one more function: to code that is the same, funs of before would be as good as new.
changed(Module) ->
    {Module, Beam, File} = code:get_object_code(Module),
    {ok, {_, [{abstract_code, {_, Forms}}]}} = beam_lib:chunks(Beam, [abstract_code]),
    {Before, [{attribute, _, module, _} = Name | Behind]} =
        lists:splitwith(fun(Form) -> element(3, Form) =/= module end, Forms),
    More = [
        {attribute, 1, export, [{crema_ct_changed, 0}]},
        {function, 1, crema_ct_changed, 0, [{clause, 1, [], [], [{atom, 1, true}]}]}
    ],
    {Exports, [End]} = lists:split(length(Behind) - 1, Behind),
    [Export, Function] = More,
    All = Before ++ [Name, Export | Exports] ++ [Function, End],
    {ok, Module, Code} = compile:forms(All, [debug_info]),
    {Module, File, Code}.

while_all_work(Config) ->
    %% All modules at once, without a purge: the processes are the same, nothing is lost
    %% nor comes twice, callbacks, handlers and event handlers are called, and what is
    %% started again starts in the new code.
    P = crema_ct:producer(Config, #{kafka => #{'statistics.interval.ms' => 100}}),
    Self = self(),
    ok = crema_events:attach(?MODULE, [crema, client, statistics], fun ?MODULE:event/4, Self),
    [Single, Keyed] = Topics = [crema_ct:topic(Config, 2) || _ <- [single, keyed]],
    Told = fun(Name) -> fun(#{value := V}) -> Self ! {Name, binary_to_integer(V)}, ok end end,
    Consumers = [
        crema_ct:consumer(Config, Single, #{}, #{handler => Told(single)}),
        crema_ct:consumer(Config, Keyed, #{}, #{handler => Told(keyed), concurrency => {key, 2}})
    ],
    [crema_ct:await(fun() -> length(crema_ct_consume:partitions(C)) =:= 2 end) || C <- Consumers],
    {ok, Handle} = crema:topic(P, Keyed, #{pipeline => 2}),
    {ok, Pool} = crema_pool:start_link(#{size => 2, bootstrap_servers => crema_ct:bootstrap(Config)}),
    Before = linked([P, Pool | Consumers]),
    Producing = spawn_link(fun() -> produce(P, Topics, 1) end),
    [?assertEqual({Name, 1}, next(Name)) || Name <- [single, keyed]],
    ok = lists:foreach(fun replaced/1, persistent_term:get(?MODULE)),
    ?assert(crema:crema_ct_changed()),
    Producing ! {stop, Self},
    Count =
        receive
            {produced, Produced} -> Produced
        end,
    [?assertEqual({Name, N}, next(Name)) || Name <- [single, keyed], N <- lists:seq(2, Count)],
    ?assertEqual(Before, linked([P, Pool | Consumers])),
    _ = [receive statistics -> ok after 5000 -> error(no_statistics) end || _ <- lists:seq(1, 3)],
    ?assertMatch({ok, _}, crema_pool:with(Pool, fun(M) -> crema:produce(M, #{topic => unread}) end)),
    {ok, Ref} = crema:push(Handle, #{value => integer_to_binary(Count + 1), partition => 0}),
    ?assertMatch({ok, _}, crema:await(Ref, 5000)),
    ?assertEqual({keyed, Count + 1}, next(keyed)),
    ok = started_again(P, hd(Consumers), Single, Count),
    ok = crema_pool:stop(Pool).

event(_, _, _, To) -> To ! statistics.

replaced({Module, File, Code}) ->
    {module, Module} = code:load_binary(Module, File, Code).

%% A client, a handler's process and a member.
started_again(P, Consumer, Topic, Count) ->
    ok = crema_renewal:renew(P),
    ok = crema_renewal:renew(Consumer),
    {ok, consumer, _, _, Group} = crema_registry:lookup(Consumer),
    true = exit(Group, kill),
    {ok, _} = crema:produce(P, #{
        topic => Topic, partition => 0, value => integer_to_binary(Count + 1)
    }),
    crema_ct:await(fun() -> element(2, next(single)) =:= Count + 1 end, 30000),
    ok.

produce(P, [Single, Keyed] = Topics, N) ->
    Message = #{key => <<"k">>, value => integer_to_binary(N), partition => 0},
    Self = self(),
    {ok, _} = crema:produce(P, Message#{topic => Single}),
    Report = fun(Result) -> Self ! {called, N, Result} end,
    ok = crema:produce_async(P, Message#{topic => Keyed}, #{report => Report}),
    receive
        {called, N, {ok, _}} -> ok
    end,
    receive
        {stop, From} -> From ! {produced, N}
    after 1 -> produce(P, Topics, N + 1)
    end.

next(Name) ->
    receive
        {Name, _} = Next -> Next
    after 20000 -> error({missing, Name})
    end.

%% Each client with the processes around it.
linked(Clients) ->
    [{Client, process_info(Client, links)} || Client <- Clients].
