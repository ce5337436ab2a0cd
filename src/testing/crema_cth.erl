%% @doc A hook of Common Test: each suite has an embedded cluster of its own.
%%
%% ```
%% suite() -> [{ct_hooks, [{crema_cth, [{topics, #{"orders" => 2}}]}]}].
%%
%% a_case(Config) ->
%%     Brokers = proplists:get_value(bootstrap_servers, Config),
%%     ok = crema_cluster:down(proplists:get_value(crema_cluster, Config)).
%% '''
%% Its options are those of {@link crema_cluster:start_link/1}. The application is started
%% if need be, and stays.
-module(crema_cth).

-export([id/1, init/2, pre_init_per_suite/3, post_end_per_suite/4]).

-record(state, {options :: map() | list(), cluster = none :: none | pid()}).

%% @private
-spec id(term()) -> module().
id(_Options) ->
    ?MODULE.

%% @private
-spec init(term(), map() | list()) -> {ok, #state{}}.
init(_Id, Options) ->
    {ok, #state{options = Options}}.

%% @private The process that this is called in may end before the suite.
-spec pre_init_per_suite(atom(), Config, #state{}) -> {Config | {fail, term()}, #state{}} when
    Config :: [{atom(), term()}].
pre_init_per_suite(_Suite, Config, #state{options = Options} = State) ->
    {ok, _} = application:ensure_all_started(crema),
    case crema_cluster:start_link(Options) of
        {ok, Cluster} ->
            true = unlink(Cluster),
            Brokers = crema_cluster:bootstrap_servers(Cluster),
            Known = [{crema_cluster, Cluster}, {bootstrap_servers, Brokers}],
            {Known ++ Config, State#state{cluster = Cluster}};
        {error, Reason} ->
            {{fail, Reason}, State}
    end.

%% @private
-spec post_end_per_suite(atom(), term(), Return, #state{}) -> {Return, #state{}}.
post_end_per_suite(_Suite, _Config, Return, #state{cluster = none} = State) ->
    {Return, State};
post_end_per_suite(_Suite, _Config, Return, #state{cluster = Cluster} = State) ->
    ok = crema_cluster:stop(Cluster),
    {Return, State#state{cluster = none}}.
