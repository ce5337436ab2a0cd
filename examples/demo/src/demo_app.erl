-module(demo_app).
-behaviour(application).

-export([start/2, stop/1]).

-spec start(application:start_type(), term()) -> {ok, pid()} | {error, term()}.
start(_Type, _Args) ->
    {ok, Config} = application:get_env(demo, config),
    demo_sup:start_link(Config).

-spec stop(term()) -> ok.
stop(_State) ->
    ok.
