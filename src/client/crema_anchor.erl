%% @private Holds the anchor: a port that stays open as long as the application
%% runs. Clients that are being reaped send their last reports through it, and
%% questions about the driver itself go to it.
-module(crema_anchor).
-behaviour(gen_server).

-include("../port/crema_commands.hrl").

-export([start_link/0, runtime/0, error_name/1]).
-export([init/1, handle_call/3, handle_cast/2]).

-spec start_link() -> gen_server:start_ret().
start_link() ->
    gen_server:start_link({local, ?MODULE}, ?MODULE, [], []).

%% @doc What the loaded driver and its librdkafka are.
-spec runtime() -> {ok, [{atom(), term()}]} | crema_error:error().
runtime() ->
    command(?CMD_RUNTIME, <<>>).

%% @doc Name and description of an error code of librdkafka's.
-spec error_name(integer()) -> {ok, {binary(), binary()}} | crema_error:error().
error_name(Code) ->
    command(?CMD_ERROR_NAME, term_to_binary(Code)).

-spec command(crema_port:command(), binary()) -> {ok, term()} | crema_error:error().
command(Command, Data) ->
    case persistent_term:get(?MODULE, none) of
        none -> crema_error:make(closed, "the application crema is not started", #{});
        Port -> crema_port:command(Port, Command, Data)
    end.

-spec init([]) -> {ok, port()} | {stop, crema_error:reason()}.
init([]) ->
    case crema_port:open(anchor) of
        {ok, Port} ->
            persistent_term:put(?MODULE, Port),
            {ok, Port};
        {error, Reason} ->
            {stop, Reason}
    end.

-spec handle_call(term(), gen_server:from(), port()) -> {noreply, port()}.
handle_call(_, _From, Port) ->
    {noreply, Port}.

-spec handle_cast(term(), port()) -> {noreply, port()}.
handle_cast(_, Port) ->
    {noreply, Port}.
