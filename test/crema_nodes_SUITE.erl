%% Messages that have left their node: the consumer is on one, those who
%% acknowledge them are on another.
-module(crema_nodes_SUITE).

-include_lib("stdlib/include/assert.hrl").

-export([all/0, suite/0, init_per_testcase/2, end_per_testcase/2]).
-export([acknowledged_from_afar/1, too_late_from_afar/1, node_is_gone/1, another_vm/1]).
%% What is run on the nodes.
-export([consumer/3, keeper/1, kept/1]).

suite() -> [{timetrap, {seconds, 60}}].

all() -> [acknowledged_from_afar, too_late_from_afar, node_is_gone, another_vm].

init_per_testcase(_, Config) ->
    [{here, start_node("here")}, {there, start_node("there")} | Config].

end_per_testcase(_, Config) ->
    [peer:stop(Peer) || Peer <- [here(Config), there(Config)], is_process_alive(Peer)].

here(Config) -> proplists:get_value(here, Config).
there(Config) -> proplists:get_value(there, Config).

start_node(Name) ->
    {ok, Socket} = gen_tcp:listen(0, []),
    {ok, Port} = inet:port(Socket),
    ok = gen_tcp:close(Socket),
    {ok, Peer, _} = peer:start(#{
        name => Name ++ "-" ++ integer_to_list(Port),
        host => "127.0.0.1",
        longnames => true,
        connection => standard_io,
        args => ["-epmd_module", "crema_ct_epmd", "-setcookie", "crema", "-pa" | code:get_path()]
    }),
    Peer.

%% A consumer of five messages, which leaves them to a process on the other node,
%% and keeps the reasons for which some have failed.
start(Config, Options) ->
    Keeper = peer:call(there(Config), erlang, spawn, [?MODULE, keeper, [[]]]),
    Reasons = peer:call(here(Config), erlang, spawn, [?MODULE, keeper, [[]]]),
    Consumer = peer:call(here(Config), ?MODULE, consumer, [Keeper, Reasons, Options], 30000),
    {Consumer, Keeper, Reasons}.

keeper(Kept) ->
    receive
        {keep, Thing} ->
            keeper([Thing | Kept]);
        {kept, From} ->
            From ! {self(), lists:reverse(Kept)},
            keeper(Kept)
    end.

kept(Keeper) ->
    Keeper ! {kept, self()},
    receive
        {Keeper, Kept} -> Kept
    end.

consumer(Keeper, Reasons, Options) ->
    {ok, _} = application:ensure_all_started(crema),
    Tell = fun(_, _, #{reason := Reason}, _) -> Reasons ! {keep, Reason} end,
    ok = crema_events:attach(?MODULE, [crema, consumer, handler_error], Tell, none),
    Handler = fun(Message) ->
        ok = crema:delegate(Message, Keeper),
        Keeper ! {keep, Message},
        noack
    end,
    {_, Consumer} = crema_ct:hold(fun() ->
        Brokers = crema_ct:brokers(),
        Topic = crema_ct_consume:filled(Brokers, 5),
        {ok, Consumer} = crema_consumer:start_link(Options#{
            bootstrap_servers => crema_ct:bootstrap(Brokers),
            group => Topic,
            topics => [Topic],
            backoff => {1, 20},
            handler => Handler
        }),
        Consumer
    end),
    Consumer.

%% So many of what is kept on a node.
kept(Peer, Keeper, Count) ->
    crema_ct:await(fun() ->
        Kept = peer:call(Peer, ?MODULE, kept, [Keeper]),
        length(Kept) >= Count andalso {ok, lists:sublist(Kept, Count)}
    end).

acknowledged_from_afar(Config) ->
    %% Another node acknowledges many at once, as often as it likes, and declares
    %% messages failed; when the consumer has stopped it is told.
    {Consumer, Keeper, Reasons} = start(Config, #{}),
    There = fun(Function, Args) -> peer:call(there(Config), crema, Function, Args) end,
    [One, Two | Others] = All = kept(there(Config), Keeper, 5),
    ?assertEqual(ok, There(ack, [Others])),
    ?assertEqual(ok, There(ack, [maps:get(token, One), 5000])),
    ?assertEqual(ok, There(ack, [Others])),
    ?assertEqual(ok, There(nack, [Two, {not_saved, there}])),
    ?assertEqual(All ++ [Two], kept(there(Config), Keeper, 6)),
    ?assertEqual([{not_saved, there}], kept(here(Config), Reasons, 1)),
    ?assertEqual(ok, There(ack, [Two])),
    #{partitions := [Partition]} = peer:call(here(Config), crema, info, [Consumer]),
    ?assertMatch(#{unacknowledged := 0, stored := 5}, Partition),
    ok = peer:call(here(Config), crema_consumer, stop, [Consumer]),
    ?assertMatch({error, {stale_assignment, _}}, There(ack, [Two])),
    ?assertMatch({error, {not_acknowledged, #{failed := [_, _]}}}, There(nack, [[One, Two], why])).

too_late_from_afar(Config) ->
    %% What a process of another node does not acknowledge within its time has
    %% failed.
    {_, Keeper, Reasons} = start(Config, #{remote_ack_timeout => 2000}),
    [One | Others] = kept(there(Config), Keeper, 5),
    ?assertEqual(ok, peer:call(there(Config), crema, ack, [Others])),
    ?assertEqual([One], lists:nthtail(5, kept(there(Config), Keeper, 6))),
    ?assertEqual([ack_timeout], kept(here(Config), Reasons, 1)).

node_is_gone(Config) ->
    %% When the node ends, all have failed that were left to its processes.
    {_, Keeper, Reasons} = start(Config, #{}),
    _ = kept(there(Config), Keeper, 5),
    ok = peer:stop(there(Config)),
    Expected = lists:duplicate(5, {delegate_down, noconnection}),
    ?assertEqual(Expected, kept(here(Config), Reasons, 5)).

another_vm(Config) ->
    %% A token from a VM that has ended is refused by the one started in its place, where
    %% another partition may have the same consumer's pid. (Without distribution pids
    %% are the same each time.)
    First = fun(Peer) ->
        Keeper = peer:call(Peer, erlang, spawn, [?MODULE, keeper, [[]]]),
        _ = peer:call(Peer, ?MODULE, consumer, [Keeper, Keeper, #{}], 30000),
        [#{token := Token} | _] = kept(Peer, Keeper, 5),
        Token
    end,
    [{crema_token, _, Before, _}, {crema_token, Pid, Slot, Offset}] = crema_ct:spawned([
        fun() -> First(Peer) end
     || Peer <- [here(Config), there(Config)]
    ]),
    Ack = fun(S) -> peer:call(there(Config), crema, ack, [{crema_token, Pid, S, Offset}]) end,
    ?assertMatch({error, {stale_assignment, _}}, Ack(Before)),
    ?assertEqual(ok, Ack(Slot)).
