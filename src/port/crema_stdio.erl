%% @private Standard input and output of a command, as the bytes that they are.
%%
%% The `user' process would read all there is, whether anybody takes it or not, and
%% make characters of it. Here a process of its own reads ahead by no more than a
%% little: a port on a descriptor knows no other way to wait than to be closed, which
%% leaves the descriptor open. What is written waits while nobody reads it.
-module(crema_stdio).

-export([input/0, ask/1, output/0, write/2, close/1, is_terminal/1]).

-export_type([input/0, output/0]).

-opaque input() :: pid().
-opaque output() :: port().

%% What may wait in the reading process; more comes only while it is being stopped.
-define(AHEAD, 262144).

-record(reading, {
    %% none: stopped for a while
    port = none :: none | eof | port(),
    chunks = queue:new() :: queue:queue(binary() | eof),
    bytes = 0 :: non_neg_integer(),
    asked = none :: none | {pid(), reference()}
}).

%% @doc Begins to read standard input.
-spec input() -> input().
input() ->
    spawn_link(fun() ->
        process_flag(trap_exit, true),
        _ = process_flag(priority, high),
        reading(opened(#reading{}))
    end).

%% @doc `{Ref, Bytes}' or `{Ref, eof}' will come, once.
-spec ask(input()) -> reference().
ask(Input) ->
    Ref = make_ref(),
    Input ! {ask, self(), Ref},
    Ref.

-spec opened(#reading{}) -> #reading{}.
opened(Reading) ->
    Reading#reading{port = open_port({fd, 0, 0}, [in, stream, binary, eof])}.

-spec reading(#reading{}) -> no_return().
reading(#reading{port = Port} = Reading) ->
    receive
        {ask, Pid, Ref} -> served(Reading#reading{asked = {Pid, Ref}});
        {_, {data, Bytes}} -> served(more(Bytes, Reading));
        {Port, eof} -> served(ended(Reading));
        {'EXIT', Port, Reason} when is_port(Port) -> exit(Reason);
        {'EXIT', Pid, Reason} when is_pid(Pid) -> exit(Reason);
        _ -> reading(Reading)
    end.

%% A closed port sends nothing more; what it had sent before is here in order.
-spec more(binary(), #reading{}) -> #reading{}.
more(Bytes, #reading{port = Port, chunks = Chunks, bytes = Size} = Reading) ->
    New = Reading#reading{chunks = queue:in(Bytes, Chunks), bytes = Size + byte_size(Bytes)},
    case New#reading.bytes > ?AHEAD andalso is_port(Port) of
        true ->
            true = port_close(Port),
            New#reading{port = none};
        false ->
            New
    end.

-spec ended(#reading{}) -> #reading{}.
ended(#reading{chunks = Chunks} = Reading) ->
    Reading#reading{port = eof, chunks = queue:in(eof, Chunks)}.

-spec served(#reading{}) -> no_return().
served(#reading{asked = none} = Reading) ->
    reading(Reading);
served(#reading{asked = {Pid, Ref}, chunks = Chunks, bytes = Size} = Reading) ->
    case queue:out(Chunks) of
        {empty, _} when Reading#reading.port =:= none ->
            reading(opened(Reading));
        {empty, _} ->
            reading(Reading);
        {{value, eof}, _} ->
            Pid ! {Ref, eof},
            reading(Reading#reading{asked = none});
        {{value, Bytes}, Rest} ->
            Pid ! {Ref, Bytes},
            Left = Size - byte_size(Bytes),
            reading(Reading#reading{asked = none, chunks = Rest, bytes = Left})
    end.

%% @doc Begins to write standard output: the calling process must trap exits. The port
%% is busy, and whoever writes waits, as long as anything is in its queue.
-spec output() -> output().
output() ->
    open_port({fd, 1, 1}, [out, stream, binary, {busy_limits_port, {1, 1}}]).

%% @doc Waits until what was written before is taken. `closed': nobody does any more.
-spec write(output(), iodata()) -> ok | closed | {error, Reason :: term()}.
write(Output, Bytes) ->
    try port_command(Output, Bytes) of
        true -> ok
    catch
        error:badarg -> ended_by(Output)
    end.

%% @doc Waits until all is taken. What fails behind a port's close is lost: so nothing
%% may be left by then, and to write nothing waits for that.
-spec close(output()) -> ok | closed | {error, Reason :: term()}.
close(Output) ->
    case write(Output, <<>>) of
        ok ->
            _ = catch port_close(Output),
            ended_by(Output);
        Ended ->
            Ended
    end.

%% A port that has ended says so to who has opened it, once.
-spec ended_by(output()) -> ok | closed | {error, term()}.
ended_by(Output) ->
    receive
        {'EXIT', Output, normal} -> ok;
        {'EXIT', Output, epipe} -> closed;
        {'EXIT', Output, Reason} -> {error, Reason}
    after 1000 -> closed
    end.

%% @doc Whether a person is at that end.
-spec is_terminal(0..2) -> boolean().
is_terminal(Descriptor) ->
    case file:read_link("/proc/self/fd/" ++ integer_to_list(Descriptor)) of
        {ok, "/dev/pts/" ++ _} -> true;
        {ok, "/dev/tty" ++ _} -> true;
        {ok, "/dev/console"} -> true;
        _ -> false
    end.
