%% @private A request to end comes to the command as a message, so that it can say what
%% becomes of what it was given.
-module(crema_cli_signals).
-behaviour(gen_event).

-export([take/0]).
-export([init/1, handle_event/2, handle_call/2]).

%% @doc From now on the calling process gets `{signal, Name}' for SIGTERM and SIGHUP.
-spec take() -> ok.
take() ->
    ok = gen_event:swap_handler(erl_signal_server, {erl_signal_handler, []}, {?MODULE, self()}),
    lists:foreach(fun(Signal) -> ok = os:set_signal(Signal, handle) end, [sigterm, sighup]).

-spec init({pid(), term()}) -> {ok, pid()}.
init({Pid, _}) -> {ok, Pid}.

-spec handle_event(atom(), pid()) -> {ok, pid()}.
handle_event(Signal, Pid) ->
    Pid ! {signal, Signal},
    {ok, Pid}.

-spec handle_call(term(), pid()) -> {ok, ok, pid()}.
handle_call(_, Pid) -> {ok, ok, Pid}.
