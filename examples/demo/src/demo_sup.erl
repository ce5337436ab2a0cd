%% The top of the demo: the count and its display, an embedded cluster, then the Kafka clients.
-module(demo_sup).
-behaviour(supervisor).

-export([start_link/1, start_source/1, init/1]).

-export_type([config/0]).

-type config() :: #{
    text := demo_text:text(),
    bootstrap := embedded | string(),
    topic := binary(),
    group := binary(),
    %% The line at which a handler crashes, 0 for none.
    crash_at := non_neg_integer(),
    %% The width of the terminal, or plain for an output that is none.
    display := plain | pos_integer()
}.

-define(PARTITIONS, 4).

-spec start_link(config()) -> supervisor:startlink_ret().
start_link(Config) ->
    supervisor:start_link({local, ?MODULE}, ?MODULE, Config).

%% The stream belongs to the story and happens once: it is started by it, and never restarted.
-spec start_source(config()) -> supervisor:startchild_ret().
start_source(Config) ->
    Start = {demo_source, start_link, [Config]},
    supervisor:start_child(?MODULE, #{id => source, start => Start, restart => temporary}).

%% rest_for_one: the clients know the address of the cluster that was started before them.
-spec init(config()) -> {ok, {supervisor:sup_flags(), [supervisor:child_spec()]}}.
init(Config) ->
    Children = [
        #{id => counter, start => {demo_counter, start_link, []}},
        #{id => display, start => {demo_display, start_link, [Config]}},
        #{id => clients, start => {demo_clients_sup, start_link, [Config]}, type => supervisor}
    ],
    {ok, {#{strategy => rest_for_one}, cluster(Config) ++ Children}}.

cluster(#{bootstrap := embedded, topic := Topic}) ->
    Opts = #{name => demo_cluster, topics => #{Topic => ?PARTITIONS}},
    [#{id => cluster, start => {crema_cluster, start_link, [Opts]}}];
cluster(_Config) ->
    [].
