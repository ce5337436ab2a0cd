%% @private A process that stands in for a client's port, in tests: it is commanded
%% through crema_port as a port is, by the same bytes, and answers as one.
-module(crema_stand_in).

-include("../port/crema_commands.hrl").

-export([command/3, send/2, owner/1, close/1]).

%% A gen_server that gets `{command, Command, Bytes, Family}' and
%% `{send, Bytes, Family}', whose answers are those of {@link crema_port:command/3},
%% and `owner'.

-spec command(pid(), crema_port:command(), iodata()) ->
    ok | wait | {ok, term()} | {packed, binary()} | crema_error:error().
command(Pid, Command, Data) ->
    call(Pid, {command, Command, iolist_to_binary(Data), crema_family:of_self()}).

%% @doc A PRODUCE with values behind it.
-spec send(pid(), iodata()) -> ok | crema_error:error().
send(Pid, Data) ->
    call(Pid, {send, iolist_to_binary(Data), crema_family:of_self()}).

%% @doc It ends as a port's client does, in its own time.
-spec close(pid()) -> ok.
close(Pid) ->
    _ = command(Pid, ?CMD_CLOSE, <<>>),
    ok.

%% @doc Whose client it is.
-spec owner(pid()) -> pid() | undefined.
owner(Pid) ->
    case call(Pid, owner) of
        Owner when is_pid(Owner) -> Owner;
        {error, _} -> undefined
    end.

-spec call(pid(), term()) -> term().
call(Pid, Request) ->
    try
        gen_server:call(Pid, Request, infinity)
    catch
        exit:_ -> crema_error:make(closed, "the client is closed", #{})
    end.
