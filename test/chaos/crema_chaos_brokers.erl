%% The brokers of a run, and the proxies before them: what is done to them, and undone.
-module(crema_chaos_brokers).

-export([start/1, create_topic/1, disturb/2, partitions/1, calm/1]).

-record(brokers, {
    script :: file:filename(),
    proxies :: [{1..3, pid()}],
    %% of the topic that gets more
    partitions :: counters:counters_ref()
}).

-define(NODES, [1, 2, 3]).

%% @doc Proxies where the brokers say that they are; below `scripts/kafka run --nodes 3'.
start(Script) ->
    Partitions = counters:new(1, []),
    ok = counters:add(Partitions, 1, crema_chaos_setup:partitions()),
    Ports = lists:zip3(?NODES, ports("KAFKA_PROXY"), ports("KAFKA_PROXIED")),
    #brokers{
        script = Script,
        partitions = Partitions,
        proxies = [
            {Node, element(2, crema_chaos_proxy:start_link(Own, Broker))}
         || {Node, Own, Broker} <- Ports
        ]
    }.

ports(Name) ->
    [
        list_to_integer(lists:last(string:lexemes(Address, ":")))
     || Address <- string:lexemes(os:getenv(Name), ",")
    ].

create_topic(Topic) ->
    asked(fun(Socket) ->
        crema_ct_wire:create_topic(Socket, Topic, crema_chaos_setup:partitions(), length(?NODES))
    end).

%% @doc Does it, and returns what undoes it.
disturb({kill_broker, Which}, Brokers) ->
    Node = node_of(Which),
    order(Brokers, "kill", Node),
    fun() -> order(Brokers, "restart", Node) end;
disturb({pause_broker, Which}, Brokers) ->
    Node = node_of(Which),
    order(Brokers, "pause", Node),
    fun() -> order(Brokers, "resume", Node) end;
disturb({cut, Which}, Brokers) ->
    [ok = crema_chaos_proxy:cut(Proxy) || Proxy <- proxies(Which, Brokers)],
    fun() -> ok end;
disturb({refuse, Which}, Brokers) ->
    set(Which, refuse, Brokers),
    fun() -> set(Which, open, Brokers) end;
disturb({delay, Which, Millis}, Brokers) ->
    set(Which, {delay, Millis}, Brokers),
    fun() -> set(Which, open, Brokers) end;
disturb({add_partition, Topic}, #brokers{partitions = Partitions} = Brokers) ->
    ok = counters:add(Partitions, 1, 1),
    ok = asked(fun(Socket) ->
        crema_ct_wire:grow_topic(Socket, Topic, partitions(Brokers))
    end),
    fun() -> ok end;
disturb({hold, Which, Way, End}, Brokers) ->
    set(Which, {hold, Way}, Brokers),
    fun() ->
        [ok = crema_chaos_proxy:cut(Proxy) || End =:= cut, Proxy <- proxies(Which, Brokers)],
        set(Which, open, Brokers)
    end.

%% @doc Of the topic that gets more.
partitions(#brokers{partitions = Partitions}) -> counters:get(Partitions, 1).

set(Which, Mode, Brokers) ->
    [ok = crema_chaos_proxy:set(Proxy, Mode) || Proxy <- proxies(Which, Brokers)],
    ok.

proxies(all, #brokers{proxies = Proxies}) -> [Proxy || {_, Proxy} <- Proxies];
proxies(Node, #brokers{proxies = Proxies}) -> [proplists:get_value(Node, Proxies)].

%% @doc All of them run, and let everything through.
calm(#brokers{proxies = Proxies} = Brokers) ->
    [ok = crema_chaos_proxy:set(Proxy, open) || {_, Proxy} <- Proxies],
    order(Brokers, "resume", all).

%% The first one if nobody knows the leader.
node_of(controller) ->
    asked(fun(Socket) ->
        Leader = crema_ct_wire:controller(Socket),
        true = is_integer(Leader),
        Leader
    end, 1);
node_of(Which) ->
    Which.

asked(Ask) -> asked(Ask, ok).

%% The answer of whichever node is there, or else another one.
asked(Ask, Else) -> asked(Ask, Else, string:lexemes(os:getenv("KAFKA_BOOTSTRAP"), ",")).

asked(_Ask, Else, []) ->
    Else;
asked(Ask, Else, [Address | Others]) ->
    try
        Socket = crema_ct_wire:connect(Address),
        Answer = Ask(Socket),
        ok = crema_ct_wire:close(Socket),
        Answer
    catch
        error:_ -> asked(Ask, Else, Others)
    end.

%% By scripts/kafka, which says nothing when it is done.
order(#brokers{script = Script}, Command, Which) ->
    Nodes = case Which of all -> []; _ -> [integer_to_list(Which)] end,
    Words = [Script, Command, os:getenv("KAFKA_DIR") | Nodes],
    case os:cmd(lists:flatten(lists:join($\s, Words)) ++ " 2>&1") of
        "" -> ok;
        Said -> error({Command, Which, Said})
    end.
