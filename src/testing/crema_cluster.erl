%% @doc The embedded cluster: Kafka brokers inside the VM, for tests and trials.
%% It is librdkafka's mock cluster, so it needs nothing installed, and other
%% processes of the machine can connect to it as well.
%%
%% What it does not have: TLS, SASL, administration, `read_committed', offsets
%% by time, persistence; and it retains 5 MiB or 100,000 message sets a
%% partition. The first member of a group waits 3 seconds; when one leaves, the
%% others wait for `session.timeout.ms', less a second (set it to 3000 in
%% tests). Reports have no true timestamp. A fetch that finds nothing is answered
%% after `fetch.wait.max.ms', whatever is produced meanwhile.
-module(crema_cluster).
-behaviour(gen_server).

-include("../port/crema_commands.hrl").

-export([start_link/0, start_link/1, child_spec/1, stop/1]).
-export([bootstrap_servers/1, create_topic/3, fail/3]).
-export([slow/2, slow/3, down/1, down/2, up/1, up/2, rebalance/1, evict/1]).
-export([init/1, handle_call/3, handle_cast/2, handle_info/2, terminate/2]).

-record(state, {port :: port(), servers :: binary()}).

-define(DEADLINE, 10000).

-export_type([request/0, answer/0]).

-type request() ::
    produce | fetch | metadata | offset_commit | find_coordinator | join_group | heartbeat
    | init_producer_id | add_partitions_to_txn | add_offsets_to_txn | end_txn | txn_offset_commit
    | Kafkas :: 0..32767.
-type answer() :: atom() | {atom(), Late :: 0..60000}.
%% `no_error', or one of librdkafka's errors, as errors of this library name them.

%% @doc Starts a cluster of one broker.
-spec start_link() -> {ok, pid()} | {error, term()}.
start_link() ->
    start_link(#{}).

%% @doc Starts a cluster: `brokers' (1), `topics' (name to number of partitions;
%% others come into being when used, with 4 partitions), `name'.
-spec start_link(Options :: map() | list()) ->
    {ok, pid()} | {error, crema_error:reason() | {already_started, pid()}}.
start_link(Options) ->
    case crema_options:parse(cluster, Options) of
        {ok, Parsed} -> crema_child:start_link(gen_server, ?MODULE, Parsed);
        {error, _} = Error -> Error
    end.

%% @doc A child specification, with the options of {@link start_link/1}.
-spec child_spec(Options :: map() | list()) -> supervisor:child_spec().
child_spec(Options) ->
    crema_child:spec(cluster, ?MODULE, worker, Options, fun(_) -> ?DEADLINE end).

%% @doc Stops the cluster: its brokers and all they hold are gone.
-spec stop(crema_types:client()) -> ok.
stop(Cluster) ->
    crema_child:stop(Cluster, default).

%% @doc The addresses to give to producers and consumers.
-spec bootstrap_servers(gen_server:server_ref()) -> binary().
bootstrap_servers(Cluster) ->
    gen_server:call(Cluster, bootstrap_servers).

%% @doc Creates a topic.
-spec create_topic(gen_server:server_ref(), iodata(), pos_integer()) ->
    ok | crema_error:error().
create_topic(Cluster, Topic, Partitions) ->
    gen_server:call(Cluster, {create_topic, iolist_to_binary(Topic), Partitions}, infinity).

%% @doc Has each broker answer its next requests of a kind by errors, one after
%% another: `crema_cluster:fail(Cluster, produce, [not_leader_for_partition])'.
%% What fails is not carried out. `transport' closes the connection instead, and
%% `{no_error, Late}' is a right answer that comes so many milliseconds late. At
%% most 1000 answers; a kind may be given by Kafka's number for it.
-spec fail(gen_server:server_ref(), request(), [answer()]) -> ok.
fail(Cluster, Request, Answers) ->
    Timed = [late(Answer) || Answer <- Answers],
    case gen_server:call(Cluster, {fail, number(Request), Timed}) of
        ok -> ok;
        {error, _} -> erlang:error(badarg)
    end.

-spec late(answer()) -> {atom(), non_neg_integer()}.
late({_, _} = Answer) -> Answer;
late(Answer) -> {Answer, 0}.

-spec number(request()) -> non_neg_integer().
number(produce) -> 0;
number(fetch) -> 1;
number(metadata) -> 3;
number(offset_commit) -> 8;
number(find_coordinator) -> 10;
number(join_group) -> 11;
number(heartbeat) -> 12;
number(init_producer_id) -> 22;
number(add_partitions_to_txn) -> 24;
number(add_offsets_to_txn) -> 25;
number(end_txn) -> 26;
number(txn_offset_commit) -> 28;
number(Number) when is_integer(Number) -> Number.

%% @doc Has all brokers answer everything so many milliseconds late, up to 60,000, until
%% that is said anew; 0: at once.
-spec slow(gen_server:server_ref(), non_neg_integer()) -> ok.
slow(Cluster, Millis) ->
    change(Cluster, all, rtt, Millis).

%% @doc The same of one broker, by its number from 1 on.
-spec slow(gen_server:server_ref(), pos_integer(), non_neg_integer()) -> ok.
slow(Cluster, Broker, Millis) ->
    change(Cluster, Broker, rtt, Millis).

%% @doc Stops all brokers: connections are closed, and none is accepted until {@link up/1}.
%% They keep what they hold.
-spec down(gen_server:server_ref()) -> ok.
down(Cluster) ->
    change(Cluster, all, down, 0).

%% @doc Stops one. Partitions that it leads get no other leader.
-spec down(gen_server:server_ref(), pos_integer()) -> ok.
down(Cluster, Broker) ->
    change(Cluster, Broker, down, 0).

%% @doc All brokers accept connections again.
-spec up(gen_server:server_ref()) -> ok.
up(Cluster) ->
    change(Cluster, all, up, 0).

%% @doc One does.
-spec up(gen_server:server_ref(), pos_integer()) -> ok.
up(Cluster, Broker) ->
    change(Cluster, Broker, up, 0).

-spec change(gen_server:server_ref(), all | pos_integer(), rtt | down | up, non_neg_integer()) -> ok.
change(Cluster, Broker, What, Millis) ->
    case gen_server:call(Cluster, {change, Broker, What, Millis}, infinity) of
        ok -> ok;
        {error, _} -> erlang:error(badarg)
    end.

%% @doc Has the members of a group join it anew: at its next heartbeat the first one is
%% told that the group rebalances, and so are the others then. With several groups it is
%% the one with the first heartbeat.
-spec rebalance(gen_server:server_ref()) -> ok.
rebalance(Cluster) ->
    fail(Cluster, heartbeat, [rebalance_in_progress]).

%% @doc Puts a member out of its group: the one whose heartbeat comes first. It has lost
%% its partitions, and joins anew.
-spec evict(gen_server:server_ref()) -> ok.
evict(Cluster) ->
    fail(Cluster, heartbeat, [unknown_member_id]).

%% @private
-spec init(map()) -> {ok, #state{}} | {stop, term()}.
init(#{brokers := Brokers, topics := Topics}) ->
    process_flag(trap_exit, true),
    Properties = [{<<"log.queue">>, <<"true">>}],
    case crema_client:open(cluster, Properties, [{<<"brokers">>, Brokers}]) of
        {ok, Port, Servers} ->
            ok = crema_registry:register(cluster, Port, #{}, #{kind => cluster}),
            create_topics(Port, maps:to_list(Topics), #state{port = Port, servers = Servers});
        {error, Reason} ->
            {stop, Reason}
    end.

-spec create_topics(port(), [{binary(), pos_integer()}], #state{}) ->
    {ok, #state{}} | {stop, term()}.
create_topics(_Port, [], State) ->
    {ok, State};
create_topics(Port, [{Topic, Partitions} | Rest], State) ->
    case create(Port, Topic, Partitions) of
        ok -> create_topics(Port, Rest, State);
        {error, Reason} -> {stop, Reason}
    end.

-spec create(port(), binary(), pos_integer()) -> ok | crema_error:error().
create(Port, Topic, Partitions) ->
    Command = fun(Tag) -> {?CMD_MOCK_TOPIC, term_to_binary({Tag, Topic, Partitions})} end,
    case is_topic_name(Topic) of
        true -> crema_port:ask(Port, Command, ?DEADLINE, none);
        false -> crema_error:make(topic_exception, "brokers refuse this name", #{topic => Topic})
    end.

%% Kafka's rule, which the mock cluster does not have.
-spec is_topic_name(binary()) -> boolean().
is_topic_name(Topic) when Topic =:= <<".">>; Topic =:= <<"..">> -> false;
is_topic_name(Topic) -> re:run(Topic, "^[a-zA-Z0-9._-]{1,249}$", [dollar_endonly]) =/= nomatch.

%% @private
-spec handle_call(term(), gen_server:from(), #state{}) ->
    {reply, term(), #state{}} | {stop, normal, ok, #state{}}.
handle_call(bootstrap_servers, _From, #state{servers = Servers} = State) ->
    {reply, Servers, State};
handle_call({create_topic, Topic, Partitions}, _From, #state{port = Port} = State) ->
    {reply, create(Port, Topic, Partitions), State};
handle_call({fail, Request, Answers}, _From, #state{port = Port} = State) ->
    {reply, crema_port:command(Port, ?CMD_MOCK_ERRORS, term_to_binary({Request, Answers})), State};
handle_call({change, Broker, What, Millis}, _From, #state{port = Port} = State) ->
    Id =
        case Broker of
            all -> -1;
            _ -> Broker
        end,
    Command = fun(Tag) -> {?CMD_MOCK_BROKER, term_to_binary({Tag, Id, What, Millis})} end,
    {reply, crema_port:ask(Port, Command, ?DEADLINE, none), State};
handle_call({stop, _}, _From, State) ->
    {stop, normal, ok, State};
handle_call(_, _From, State) ->
    {reply, {error, unknown_call}, State}.

%% @private
-spec handle_cast(term(), #state{}) -> {noreply, #state{}}.
handle_cast(_, State) ->
    {noreply, State}.

%% @private What librdkafka says of the clients that come and go is no news.
-spec handle_info(term(), #state{}) -> {noreply, #state{}} | {stop, term(), #state{}}.
handle_info({'EXIT', _, Reason}, State) ->
    {stop, Reason, State};
handle_info(_, State) ->
    {noreply, State}.

%% @private
-spec terminate(term(), #state{}) -> ok.
terminate(_Reason, #state{port = Port}) ->
    crema_client:close(Port, erlang:monotonic_time(millisecond) + ?DEADLINE).
