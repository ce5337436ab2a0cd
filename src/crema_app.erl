%% @private The application: a registry of clients, the event dispatcher and
%% the anchor. Producers and consumers live in their users' own trees.
-module(crema_app).
-behaviour(application).
-behaviour(supervisor).

-export([start/2, prep_stop/1, stop/1, init/1]).

-spec start(application:start_type(), term()) -> {ok, pid()} | {error, term()}.
start(_Type, _Args) ->
    case supervisor:start_link({local, crema_sup}, ?MODULE, []) of
        {ok, _} = Started -> Started;
        {error, _} = Error -> Error
    end.

%% Called while all of it still runs.
-spec prep_stop(State) -> State.
prep_stop(State) ->
    ok = crema_shutdown:clients(),
    State.

-spec stop(term()) -> ok.
stop(_State) ->
    ok.

-spec init([]) -> {ok, {supervisor:sup_flags(), [supervisor:child_spec()]}}.
init([]) ->
    ok = crema_registry:new_table(),
    ok = crema_partitions:new_table(),
    Children = [
        #{id => Module, start => {Module, start_link, []}}
     || Module <- [crema_registry, crema_events, crema_anchor, crema_partitions]
    ],
    {ok, {#{strategy => one_for_one, intensity => 3, period => 10}, Children}}.
