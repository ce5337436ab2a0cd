%% The Kafka clients of the demo, in a supervisor of its own: one producer, and the two members of
%% the consumer group.
-module(demo_clients_sup).
-behaviour(supervisor).

-export([start_link/1, stop_member/1, init/1]).

-spec start_link(demo_sup:config()) -> supervisor:startlink_ret().
start_link(Config) ->
    supervisor:start_link({local, ?MODULE}, ?MODULE, Config).

%% As a supervisor stops any child: the member finishes, commits and leaves the group.
-spec stop_member(atom()) -> ok.
stop_member(Name) ->
    ok = supervisor:terminate_child(?MODULE, Name).

-spec init(demo_sup:config()) -> {ok, {supervisor:sup_flags(), [supervisor:child_spec()]}}.
init(Config) ->
    Bootstrap = bootstrap(Config),
    %% Shared by all handlers, so that only one of them ever crashes.
    Fuse = atomics:new(1, []),
    Members = [member(Name, Bootstrap, Fuse, Config) || Name <- [demo_member_1, demo_member_2]],
    {ok, {#{strategy => one_for_one}, [producer(Bootstrap) | Members]}}.

bootstrap(#{bootstrap := embedded}) -> crema_cluster:bootstrap_servers(demo_cluster);
bootstrap(#{bootstrap := Brokers}) -> Brokers.

producer(Bootstrap) ->
    crema_producer:child_spec(#{name => demo_producer, bootstrap_servers => Bootstrap}).

member(Name, Bootstrap, Fuse, Config) ->
    #{group := Group, topic := Topic, crash_at := CrashAt} = Config,
    Spec = crema_consumer:child_spec(#{
        name => Name,
        bootstrap_servers => Bootstrap,
        group => Group,
        topics => [Topic],
        start => earliest,
        handler => {demo_handler, #{crash_at => CrashAt, fuse => Fuse}},
        kafka => kafka(Config)
    }),
    Spec#{id => Name}.

%% A member hears of a rebalance at its next heartbeat. An embedded cluster, when a member has left,
%% waits for nearly the session time-out; and it answers a fetch that found nothing after the fetch
%% wait, whatever is produced meanwhile.
kafka(#{bootstrap := embedded}) ->
    #{
        'heartbeat.interval.ms' => 500,
        'session.timeout.ms' => 3000,
        'fetch.wait.max.ms' => 20
    };
%% Brokers make the topic when the first line is produced; it is noticed within a second.
kafka(_Config) ->
    #{'heartbeat.interval.ms' => 500, 'topic.metadata.refresh.interval.ms' => 1000}.
