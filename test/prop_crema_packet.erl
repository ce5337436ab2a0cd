%% Properties of what crosses the port: messages survive the way through the
%% driver, and nothing that is sent to a port makes it crash or hang.
%%
%% CREMA_PROPER_CASES is the number of cases of bytes (3000), each for ports of
%% five kinds in two ways.
-module(prop_crema_packet).

-include_lib("proper/include/proper.hrl").
-include("../src/port/crema_commands.hrl").

-export([handle_message/2]).

-define(TOPIC, <<"prop_crema_packet">>).
%% Of ports that nobody else uses.
-define(OTHER, <<"bytes_for_ports">>).
%% A port that is not open is exchanged after so many cases, and when bytes that
%% were meant to be wrong have opened it.
-define(FRESH, 100).

%% @doc The number of cases for the wrapper that runs these properties.
cases() ->
    list_to_integer(os:getenv("CREMA_PROPER_CASES", "3000")).

prop_round_trip() ->
    %% What is produced is what is consumed: keys, values, headers, time-stamps;
    %% null and empty apart.
    Property = ?FORALL(Messages, non_empty(list(message())), begin
        #{producer := P} = get_clients(),
        ok = application:set_env(crema, ?MODULE, self()),
        {ok, Results} =
            crema:produce_many(P, [M#{topic => ?TOPIC, partition => 0} || M <- Messages]),
        [true = is_map(Report) || {ok, Report} <- Results],
        Expected = [expected(M) || M <- Messages],
        Got = [seen(M, E) || {M, E} <- lists:zip(consumed(length(Messages)), Expected)],
        ?WHENFAIL(io:format("expected ~p~ngot ~p~n", [Expected, Got]), Got =:= Expected)
    end),
    numtests(max(20, cases() div 30), ?SETUP(fun with_clients/0, Property)).

%% The consumer's handler.
handle_message(Message, State) ->
    {ok, Property} = application:get_env(crema, ?MODULE),
    Property ! {consumed, Message},
    {ack, State}.

consumed(0) ->
    [];
consumed(Left) ->
    receive
        {consumed, Message} -> [Message | consumed(Left - 1)]
    after 20000 -> error({missing, Left})
    end.

%% As a consumer gets what was given to a producer.
expected(Message) ->
    #{
        key => bytes(maps:get(key, Message, undefined)),
        value => bytes(maps:get(value, Message, undefined)),
        headers => [{bytes(N), bytes(V)} || {N, V} <- maps:get(headers, Message, [])],
        timestamp => maps:get(timestamp, Message, any)
    }.

bytes(Null) when Null =:= undefined; Null =:= nil -> undefined;
bytes(Bytes) -> iolist_to_binary(Bytes).

seen(Message, #{timestamp := any}) ->
    (maps:with([key, value, headers], Message))#{timestamp => any};
seen(Message, _) ->
    maps:with([key, value, headers, timestamp], Message).

message() ->
    ?LET(
        {Key, Value, Headers, Time},
        {optional(data()), optional(value()), optional(headers()), optional(range(1, 1 bsl 41))},
        maps:from_list(
            [{key, K} || {some, K} <- [Key]] ++ [{value, V} || {some, V} <- [Value]] ++
                [{headers, H} || {some, H} <- [Headers]] ++ [{timestamp, T} || {some, T} <- [Time]]
        )
    ).

optional(Type) -> oneof([none, {some, Type}]).

data() ->
    frequency([
        {6, binary()}, {1, undefined}, {1, nil}, {1, <<>>}, {2, list(oneof([byte(), binary()]))}
    ]).

%% Also those that go by reference, alone and as parts of others.
value() ->
    frequency([
        {8, data()},
        {1, ?LET(N, range(16000, 70000), binary:copy(<<"v">>, N))},
        {1, ?LET({N, From}, {range(1, 40000), range(0, 20000)}, binary:part(large(), From, N))}
    ]).

large() -> binary:copy(<<"0123456789">>, 6000).

headers() -> list({oneof([name(), "name", [<<"na">>, $m, "e"], <<>>]), data()}).

%% librdkafka gives a header's name as text that ends with a zero byte.
name() -> ?LET(Bytes, binary(), binary:replace(Bytes, <<0>>, <<"0">>, [global])).

prop_bytes_to_a_port() ->
    %% Any bytes to any command, of a producer, a consumer, a reader, a cluster, a port
    %% that is not open and one where messages come in, are answered: with an error, unless they happen to be
    %% right. The port and its client are as before.
    Property = ?FORALL(
        {Command, Bytes}, command(), send_to_all(Command, Bytes, get_clients())
    ),
    numtests(cases(), ?SETUP(fun with_clients/0, Property)).

send_to_all(Command, Bytes, Clients) ->
    #{ports := OfClients, intake := Intake} = Clients,
    Ports = [{intake, Intake} | OfClients],
    Fresh = fresh_port(),
    Answers = [{Kind, answer(Port, Command, Bytes)} || {Kind, Port} <- [{new, Fresh} | Ports]],
    [true = sent(Port, Bytes) || Port <- [Fresh | [Port || {_, Port} <- Ports]]],
    Alive = [Kind || {Kind, Port} <- Ports, is_alive(Kind, Port)],
    Command =:= ?CMD_OPEN andalso lists:member({new, ok}, Answers) andalso discard_fresh_port(),
    forget_messages(),
    ?WHENFAIL(
        io:format("command ~p, bytes ~p: ~p, alive ~p~n", [Command, Bytes, Answers, Alive]),
        length(Alive) =:= length(Ports) andalso
            lists:all(fun({Kind, Answer}) -> is_right(Kind, Command, Bytes, Answer) end, Answers)
    ).

answer(Port, Command, Bytes) ->
    try port_control(Port, Command, Bytes) of
        [] -> ok;
        <<131, _/binary>> = Term -> binary_to_term(Term);
        Packed -> {packed, Packed}
    catch
        error:badarg -> badarg
    end.

sent(Port, Bytes) ->
    %% As crema_port sends: the size of the command, the command, and more behind.
    port_command(Port, Bytes) andalso
        port_command(Port, [<<(byte_size(Bytes)):32>>, Bytes]) andalso
        port_command(Port, [<<(byte_size(Bytes) div 2):32>>, Bytes, large()]).

is_alive(Kind, Port) when Kind =:= anchor; Kind =:= intake ->
    is_list(erlang:port_info(Port));
is_alive(_, Port) ->
    {ok, Info} = answer(Port, ?CMD_INFO, <<>>),
    is_list(Info).

%% It takes messages only, with a client's key.
is_right(intake, _Command, _Bytes, Answer) ->
    Answer =:= {packed, [0]};
is_right(_Kind, _Command, _Bytes, {error, {Name, Text, Fatal, Retriable, Abortable}}) ->
    is_binary(Name) andalso is_binary(Text) andalso
        lists:all(fun is_boolean/1, [Fatal, Retriable, Abortable]);
is_right(new, ?CMD_OPEN, _Bytes, {error, [_ | _] = Faults}) ->
    lists:all(fun({Key, Text}) -> is_binary(Key) andalso is_binary(Text) end, Faults);
is_right(producer, ?CMD_TOPIC_CONFIG, _Bytes, {error, [_ | _] = Faults}) ->
    lists:all(fun({Key, Text}) -> is_binary(Key) andalso is_binary(Text) end, Faults);
is_right(Kind, Command, Bytes, Answer) ->
    may_succeed(Kind, Command, Bytes) andalso Answer =/= badarg.

%% Commands that take no argument, or any bytes as a tag, and arguments that are
%% right.
may_succeed(producer, ?CMD_TRANSACT, <<What, Epoch:32, _Tag, _/binary>>) ->
    What =< ?TRANSACT_FIRST_REPORT andalso (What =:= ?TRANSACT_BEGIN) =:= (Epoch > 0);
may_succeed(Kind, Command, Bytes) ->
    lists:member(Command, always(Kind)) orelse is_sample(Command, Bytes).

always(new) -> [?CMD_CLOSE, ?CMD_RUNTIME, ?CMD_ALLOCATED, ?CMD_PROPERTIES];
always(producer) ->
    [
        ?CMD_CLOSE, ?CMD_RUNTIME, ?CMD_ALLOCATED, ?CMD_PROPERTIES, ?CMD_INFO, ?CMD_FLUSH, ?CMD_PURGE,
        ?CMD_REPORTER, ?CMD_TALLIED, ?CMD_INTAKE
    ];
always(consumer) ->
    [
        ?CMD_CLOSE, ?CMD_RUNTIME, ?CMD_ALLOCATED, ?CMD_PROPERTIES, ?CMD_INFO, ?CMD_SLOTS, ?CMD_RELEASE,
        ?CMD_GROUP_METADATA, ?CMD_SETTLE
    ];
always(reader) -> [?CMD_CLOSE, ?CMD_RUNTIME, ?CMD_ALLOCATED, ?CMD_PROPERTIES, ?CMD_INFO, ?CMD_SLOTS];
always(cluster) -> [?CMD_CLOSE, ?CMD_RUNTIME, ?CMD_ALLOCATED, ?CMD_PROPERTIES, ?CMD_INFO].

%% Whether the bytes differ from an argument that is right in no more than what
%% it may contain: names, numbers, text.
is_sample(?CMD_ACK, Bytes) ->
    %% a slot and runs of offsets, as many as there are
    byte_size(Bytes) rem 16 =:= 8;
is_sample(Command, Bytes) ->
    [] =/= [Sample || Sample <- samples(Command), is_like(Sample, Bytes)].

is_like(<<131, _/binary>> = Sample, <<131, _/binary>> = Bytes) ->
    try
        is_same_shape(binary_to_term(Sample), binary_to_term(Bytes))
    catch
        error:badarg -> false
    end;
is_like(Sample, Bytes) ->
    byte_size(Sample) =:= byte_size(Bytes).

is_same_shape(A, B) when is_tuple(A), is_tuple(B), tuple_size(A) =:= tuple_size(B) ->
    Pairs = lists:zip(tuple_to_list(A), tuple_to_list(B)),
    lists:all(fun({X, Y}) -> is_same_shape(X, Y) end, Pairs);
is_same_shape(A, B) when is_list(A), is_list(B) -> true;
is_same_shape(A, B) when is_binary(A), is_binary(B) -> true;
is_same_shape(A, B) when is_integer(A), is_integer(B) -> true;
is_same_shape(A, B) -> is_atom(A) andalso (is_atom(B) orelse is_integer(B)).

%% A command's number, and bytes: any, or almost right. RETIRE and DRAIN take no
%% argument, and would end what the other commands are sent to.
command() ->
    Ending = [?CMD_RETIRE, ?CMD_DRAIN],
    Number = ?SUCHTHAT(Command, oneof([byte(), known()]), not lists:member(Command, Ending)),
    ?LET(Command, Number, {Command, argument(Command)}).

known() -> elements([Number || {Number, _} <- ?COMMANDS]).

argument(Command) ->
    Samples = [?LET(Sample, elements(samples(Command)), spoilt(Sample)) || samples(Command) =/= []],
    Term = ?LET(Any, any(), term_to_binary(Any)),
    frequency([{1, binary()}, {1, Term} | [{6, Sample} || Sample <- Samples]]).

spoilt(Sample) ->
    oneof([
        ?LET(N, range(0, byte_size(Sample)), binary:part(Sample, 0, N)),
        ?LET(More, binary(), <<Sample/binary, More/binary>>),
        ?LET({At, Byte}, {range(0, byte_size(Sample) - 1), byte()}, with_byte(Sample, At, Byte)),
        ?LET({At, N}, {range(0, byte_size(Sample) - 1), range(1, 8)}, without_bytes(Sample, At, N)),
        ?LET(Changes, list({range(0, byte_size(Sample) - 1), byte()}),
            lists:foldl(fun({At, Byte}, Acc) -> with_byte(Acc, At, Byte) end, Sample, Changes)),
        %% sizes at the ends of their range
        ?LET({At, Size}, {range(0, byte_size(Sample) - 1), elements([0, 16#7FFFFFFF, 16#FFFFFFFF])},
            with_size(Sample, At, Size))
    ]).

with_byte(Bytes, At, Byte) ->
    <<Before:At/binary, _, After/binary>> = Bytes,
    <<Before/binary, Byte, After/binary>>.

without_bytes(Bytes, At, Count) ->
    <<Before:At/binary, Rest/binary>> = Bytes,
    Gone = min(Count, byte_size(Rest)),
    <<_:Gone/binary, After/binary>> = Rest,
    <<Before/binary, After/binary>>.

with_size(Bytes, At, Size) ->
    <<Before:At/binary, Rest/binary>> = Bytes,
    case Rest of
        <<_:4/binary, After/binary>> -> <<Before/binary, Size:32, After/binary>>;
        _ -> <<Before/binary, Size:32>>
    end.

%% Arguments that are right, for every command that takes one.
samples(?CMD_HELLO) -> [<<?COMMANDS_HASH:64>>];
samples(?CMD_OPEN) ->
    [
        term_to_binary({tag(), Kind, Properties, Options})
     || Properties <- [[{<<"log.queue">>, <<"true">>}, {<<"group.id">>, <<"g">>}]],
        Kind <- [producer, consumer, reader],
        Options <- [[], [{<<"max_messages">>, 5}, {<<"batch_bytes">>, 100}]]
    ];
samples(?CMD_CLOSE) -> [tag()];
samples(?CMD_ERROR_NAME) -> [term_to_binary(-185)];
samples(?CMD_METADATA) -> [term_to_binary({tag(), Topic, 0, 10}) || Topic <- [<<>>, ?OTHER]];
samples(?CMD_WATERMARKS) -> [term_to_binary({tag(), ?OTHER, 0, 10})];
samples(?CMD_PRODUCE) ->
    [
        produce(Mode, Via, M)
     || Mode <- [none, keep, wait, send],
        Via <- [<<>>, crema_packet:via(0, 0, 1)],
        M <- message_samples()
    ] ++ [produce(send, crema_packet:to_reporter(<<>>), M) || M <- message_samples()];
samples(?CMD_REPORTED) -> [<<0:32>>, <<3:32>>];
samples(?CMD_LOOK) -> [<<7:64>>];
samples(?CMD_AWAIT) -> [<<7:64, (tag())/binary>>];
samples(?CMD_CANCEL) -> [<<0, 7:64>>, <<1, (tag())/binary>>, <<2, (tag())/binary>>];
samples(?CMD_FLUSH) -> [tag()];
samples(?CMD_SETTLE) -> [tag()];
samples(?CMD_TOPIC_CONFIG) ->
    Pairs = [{<<"compression.type">>, <<"gzip">>}, {<<"message.timeout.ms">>, <<"1000">>}],
    [term_to_binary(Pairs), term_to_binary(tl(Pairs)), term_to_binary([])];
samples(?CMD_TRANSACT) ->
    [<<1, 7:32, (tag())/binary>> | [<<What, 0:32, (tag())/binary>> || What <- [0, 2, 3, 4]]];
samples(?CMD_SEND_OFFSETS) ->
    Metadata = <<"CGMDv2:", 1:32, "group", 0, "member", 0, 1>>,
    [term_to_binary({tag(), Metadata, [{?OTHER, 0, 17}], 10})];
samples(?CMD_GROUP_METADATA) -> [<<0:32, (tag())/binary>>, <<1:32, (slot()):64, (tag())/binary>>];
samples(?CMD_SUBSCRIBE) ->
    Topics = [?OTHER, <<"^b.*">>],
    [
        term_to_binary({tag(), Topics, Start, latest, Early})
     || Start <- [earliest, error, 17], Early <- [[], [?OTHER]]
    ];
samples(?CMD_TAKE) -> [<<(slot()):64>>];
samples(?CMD_DEMAND) -> [<<(slot()):64, 100:32>>];
samples(?CMD_ACK) -> [<<(slot()):64, 5:64, 9:64>>, <<(slot()):64, 0:64, 3:64, 7:64, 9:64>>];
samples(?CMD_COMMIT) -> [term_to_binary({tag(), Of}) || Of <- partition_samples()];
samples(?CMD_SEEK) ->
    [
        term_to_binary({tag(), Of, Where, 1, 10})
     || Of <- partition_samples(), Where <- [offset, beginning, 'end', timestamp]
    ];
samples(?CMD_START_AT) ->
    [term_to_binary({tag(), slot(), Where, 0}) || Where <- [offset, beginning]];
samples(?CMD_COMMITTED) -> [term_to_binary({tag(), Of, 10}) || Of <- partition_samples()];
samples(?CMD_LIST_OFFSETS) ->
    [term_to_binary({tag(), Of, Where, 0, 10}) || Of <- partition_samples(), Where <- ['end', timestamp]];
samples(?CMD_PROBE) ->
    Settings = [{<<"ssl.ca.pem">>, <<"-">>}, {<<"ssl.cipher.suites">>, <<"ALL">>}],
    [
        term_to_binary({tag(), <<"127.0.0.1">>, 1, <<"localhost">>, Given, [<<0, 0, 0, 0>>], 10})
     || Given <- [[], Settings]
    ];
samples(?CMD_DESCRIBE) -> [term_to_binary({tag(), Topic, 0, 10}) || Topic <- [<<>>, ?OTHER]];
samples(?CMD_READABLE) -> [term_to_binary({tag(), ?OTHER, 0, 10})];
samples(?CMD_OPERATIONS) -> [term_to_binary({tag(), ?OTHER, Kind, 10}) || Kind <- [0, 1]];
samples(?CMD_ASSIGN) ->
    [term_to_binary([{?OTHER, P, 0, To} || P <- [0, 1]]) || To <- [infinity, 7]];
samples(?CMD_REDELIVER) -> [<<(slot()):64, 5:64, 9:64>>];
samples(?CMD_WAITING) -> [<<(slot()):64, 0:64, 9:64>>];
samples(?CMD_MOCK_TOPIC) -> [term_to_binary({tag(), <<"other">>, 2})];
samples(?CMD_MOCK_ERRORS) ->
    [term_to_binary({0, [{request_timed_out, 0}, {transport, 0}, {no_error, 5}]})];
samples(?CMD_MOCK_BROKER) -> [term_to_binary({tag(), 1, rtt, 5})];
samples(?CMD_SET_TOKEN) ->
    Later = erlang:system_time(millisecond) + 60000,
    [term_to_binary({<<"t">>, Later, <<>>, E}) || E <- [[], [{<<"a">>, <<"b">>}]]];
samples(?CMD_SET_CREDENTIALS) -> [term_to_binary({<<"user">>, <<"password">>})];
samples(_) -> [].

partition_samples() -> [[], [{?OTHER, 0}], [{?OTHER, 0}, {?OTHER, 1}, {<<"unknown">>, 7}]].

tag() -> term_to_binary({tag, 1}).

%% One that the consumer's port has been assigned.
slot() -> maps:get(slot, get_clients()).

produce(Mode, Via, Messages) ->
    {ok, Packed, _} = crema_packet:produce(Mode, refuse, Via, 1 bsl 40, tag(), 1000000, Messages),
    iolist_to_binary(Packed).

message_samples() ->
    [
        [#{topic => ?OTHER}],
        [#{topic => ?OTHER, key => <<"k">>, value => <<"value">>} || _ <- [1, 2, 3]],
        [#{topic => ?OTHER, timestamp => 17, partition => 1}],
        [#{topic => ?OTHER, headers => [{a, <<"1">>}, {b, undefined}]}],
        [#{topic => ?OTHER, partition => {hash, ?HASH_MURMUR2, 2, <<"k">>}}, skipped],
        [#{topic => ?OTHER, value => large()}, #{topic => <<"other">>, value => <<>>}]
    ].

%% ---- clients, for as long as a property runs ------------------------------------

with_clients() ->
    Keeper = keeper(),
    fun() -> stop(Keeper) end.

%% Clients are owned by a process that lives as long as the property.
keeper() ->
    Self = self(),
    Keeper = spawn_link(fun() ->
        process_flag(trap_exit, true),
        Clients = start(),
        ok = application:set_env(crema, prop_clients, Clients),
        Self ! {self(), started},
        receive
            {stop, From} -> From ! {self(), stop_clients(Clients)}
        end
    end),
    receive
        {Keeper, started} -> Keeper
    after 30000 -> error(not_started)
    end.

stop(Keeper) ->
    Keeper ! {stop, self()},
    receive
        {Keeper, ok} -> ok
    after 60000 -> error(not_stopped)
    end.

get_clients() ->
    {ok, Clients} = application:get_env(crema, prop_clients),
    Clients.

start() ->
    {ok, _} = application:ensure_all_started(crema),
    {ok, Cluster} = crema_cluster:start_link(#{topics => #{?TOPIC => 1, ?OTHER => 2}}),
    Servers = crema_cluster:bootstrap_servers(Cluster),
    {ok, P} = crema_producer:start_link(#{bootstrap_servers => Servers}),
    {ok, C} = crema_consumer:start_link(#{
        bootstrap_servers => Servers, group => ?MODULE, topics => [?TOPIC], handler => ?MODULE
    }),
    Kinds = [
        {producer, []},
        {producer, [{<<"transactional.id">>, <<"t">>}]},
        {consumer, [{<<"group.id">>, <<"g">>}]},
        {reader, []},
        {cluster, []}
    ],
    Common = [{<<"log.queue">>, <<"true">>}, {<<"bootstrap.servers">>, Servers}],
    Ports = [
        begin
            {ok, Port, _} = crema_client:open(Kind, Properties ++ Common, []),
            {Kind, Port}
        end
     || {Kind, Properties} <- Kinds
    ],
    {consumer, Port} = lists:keyfind(consumer, 1, Ports),
    {ok, Intake} = crema_port:open(intake),
    Clients = #{
        cluster => Cluster, producer => P, consumer => C, intake => Intake, ports => Ports
    },
    Clients#{slot => subscribed(Port)}.

subscribed(Port) ->
    Subscribe = fun(Tag) ->
        {?CMD_SUBSCRIBE, term_to_binary({Tag, [?OTHER], earliest, earliest, []})}
    end,
    ok = crema_port:ask(Port, Subscribe, 10000, none),
    crema_ct:await(fun() ->
        case answer(Port, ?CMD_SLOTS, <<>>) of
            {ok, [Slot | _]} -> {ok, element(1, Slot)};
            {ok, []} -> false
        end
    end).

%% The clients that got all those bytes can be closed like any others.
stop_clients(#{cluster := Cluster, producer := P, consumer := C, ports := Ports, intake := I}) ->
    ok = crema_port:close(I),
    Deadline = erlang:monotonic_time(millisecond) + 20000,
    [ok = crema_client:close(Port, Deadline) || {_, Port} <- Ports],
    ok = crema_consumer:stop(C),
    ok = crema_producer:stop(P),
    ok = crema_cluster:stop(Cluster).

fresh_port() ->
    case get(?MODULE) of
        {Port, Left} when Left > 0 ->
            _ = put(?MODULE, {Port, Left - 1}),
            Port;
        _ ->
            _ = discard_fresh_port(),
            {ok, New} = crema_port:open(client),
            _ = put(?MODULE, {New, ?FRESH}),
            New
    end.

discard_fresh_port() ->
    [ok = crema_port:close(Port) || {Port, _} <- [erase(?MODULE)]].

forget_messages() ->
    receive
        _ -> forget_messages()
    after 0 -> ok
    end.
