%% @private The boundary: the one module that loads the driver, opens ports and
%% commands them. It packs nothing and decides nothing.
%%
%% A port's BIFs print their arguments in a stack trace, and those hold the
%% configuration: so every badarg of a port is caught here, and becomes an
%% error without arguments.
-module(crema_port).

-include("crema_commands.hrl").

-export([open/1, close/1, kill/1]).
-export([command/3, send/2, offer/2, ask/4, ask_async/3, last_answer/2, answer/1, event/1, error_or/1]).
-export([monitor/1, owner/1, is_open/1, orphans/0, reaper_time/0, bad_properties/1, commands/0]).

-export_type([client/0, command/0, tag/0]).

%% A port, or in tests a process that stands in for one ({@link crema_stand_in}).
-type client() :: port() | pid().
-type command() :: 1..255.
-type tag() :: reference().

-define(DRIVER, "crema_drv").
%% A closed client's last answers come within this, mostly at once.
-define(REAPER_TIME, 5000).

%% @doc Opens a port, owned by the calling process, on a driver of this version. One of
%% the kind `intake' is nobody's client; the anchor is there when it is opened.
-spec open(client | anchor | intake) -> {ok, port()} | crema_error:error().
open(Kind) ->
    case load() of
        ok -> open_loaded(Kind);
        Error -> Error
    end.

-spec open_loaded(client | anchor | intake) -> {ok, port()} | crema_error:error().
open_loaded(Kind) ->
    try open_port({spawn_driver, spawned(Kind)}, [binary]) of
        Port when Kind =:= intake ->
            {ok, Port};
        Port ->
            case command(Port, ?CMD_HELLO, <<?COMMANDS_HASH:64>>) of
                ok ->
                    {ok, Port};
                Error ->
                    close(Port),
                    Error
            end
    catch
        error:Reason ->
            crema_error:make(system_limit, ["a port could not be opened: ", inspect(Reason)], #{})
    end.

%% @doc Its end is told by a 'DOWN', as that of a process.
-spec monitor(client()) -> reference().
monitor(Pid) when is_pid(Pid) -> erlang:monitor(process, Pid);
monitor(Port) -> erlang:monitor(port, Port).

%% @doc The process whose client it is.
-spec owner(client()) -> pid() | undefined.
owner(Pid) when is_pid(Pid) ->
    crema_stand_in:owner(Pid);
owner(Port) ->
    case erlang:port_info(Port, connected) of
        {connected, Owner} -> Owner;
        undefined -> undefined
    end.

-spec is_open(client()) -> boolean().
is_open(Pid) when is_pid(Pid) -> is_process_alive(Pid);
is_open(Port) -> erlang:port_info(Port, id) =/= undefined.

%% @doc The clients' ports whose owners have ended just now: they are about to close.
-spec orphans() -> [port()].
orphans() ->
    [Port || Port <- erlang:ports(), is_client(Port), not has_owner(Port)].

-spec is_client(port()) -> boolean().
is_client(Port) ->
    erlang:port_info(Port, name) =:= {name, spawned(client)}.

-spec has_owner(port()) -> boolean().
has_owner(Port) ->
    Owner = owner(Port),
    is_pid(Owner) andalso is_process_alive(Owner).

-spec spawned(client | anchor | intake) -> string().
spawned(Kind) -> ?DRIVER ++ [$\s | atom_to_list(Kind)].

%% @doc Within so many milliseconds a closed client has said its last, mostly at once.
-spec reaper_time() -> pos_integer().
reaper_time() -> ?REAPER_TIME.

-spec close(client()) -> ok.
close(Port) ->
    try port_close(Port) of
        true -> ok
    catch
        error:badarg -> ok
    end.

%% @doc Closes a port, whoever owns it.
-spec kill(client()) -> ok.
kill(Pid) when is_pid(Pid) ->
    crema_stand_in:close(Pid);
kill(Port) ->
    true = exit(Port, kill),
    ok.

%% @doc Carries out a command at once. `{ok, Binary}' is an answer that is not a
%% term: packed reports.
-spec command(client() | none, command(), iodata()) ->
    ok | wait | {ok, term()} | {packed, binary()} | crema_error:error().
command(Port, Command, Data) ->
    try port_control(Port, Command, Data) of
        [] -> ok;
        <<131, _/binary>> = Term -> answer(Term);
        Packed -> {packed, Packed}
    catch
        error:badarg -> stood_in(Port, fun() -> crema_stand_in:command(Port, Command, Data) end)
    end.

%% What is no open port may be a process that stands in for one.
-spec stood_in(client() | none, fun(() -> Answer)) -> Answer | crema_error:error().
stood_in(Pid, Ask) when is_pid(Pid) -> Ask();
stood_in(_, _Ask) -> closed().

%% @doc Offers a message at a port of the kind `intake': whether it was accepted.
-spec offer(port(), iodata()) -> boolean().
offer(Port, Message) ->
    try
        port_control(Port, 0, Message) =:= []
    catch
        error:badarg -> false
    end.

%% @doc Hands over a command and what comes behind it, by reference. It is
%% answered by a packet only.
-spec send(client() | none, iodata()) -> ok | crema_error:error().
send(Port, Data) ->
    try port_command(Port, Data) of
        true -> ok
    catch
        error:badarg -> stood_in(Port, fun() -> crema_stand_in:send(Port, Data) end)
    end.

%% @doc A command that is answered later, waited for. `Cancel' is called when
%% the time is over: `ok' from it says that no answer will come.
-spec ask(client() | none, fun((binary()) -> {command(), iodata()}), timeout(), Cancel) ->
    ok | {ok, term()} | crema_error:error()
when
    Cancel :: fun((binary()) -> ok | crema_error:error()) | none.
ask(Port, Command, Timeout, Cancel) ->
    Ref = make_ref(),
    Tag = term_to_binary(Ref),
    {Number, Data} = Command(Tag),
    case command(Port, Number, Data) of
        ok ->
            Monitor = monitor(Port),
            Answer =
                receive
                    {Ref, Bytes} -> answer(Bytes);
                    {'DOWN', Monitor, _, _, _} -> after_close(Ref)
                after Timeout -> give_up(Ref, Tag, Cancel)
                end,
            erlang:demonitor(Monitor, [flush]),
            Answer;
        Other ->
            Other
    end.

%% A port's 'DOWN' arrives before the last answers, which the reaper sends.
-spec after_close(tag()) -> ok | {ok, term()} | crema_error:error().
after_close(Ref) ->
    receive
        {Ref, Bytes} -> answer(Bytes)
    after ?REAPER_TIME -> closed()
    end.

-spec give_up(tag(), binary(), none | fun((binary()) -> ok | crema_error:error())) ->
    ok | {ok, term()} | crema_error:error().
give_up(Ref, Tag, Cancel) ->
    case Cancel =/= none andalso Cancel(Tag) of
        false ->
            timeout();
        ok ->
            timeout();
        {error, Reason} ->
            case last_answer(Ref, Reason) of
                {ok, Bytes} -> answer(Bytes);
                none -> timeout()
            end
    end.

%% @doc The answer to what could not be cancelled, for this reason. It has come
%% already, or, if the client was closed meanwhile, comes soon: the reaper gives
%% one to all who wait. Who did not take it would find it in the mailbox later.
-spec last_answer(tag(), crema_error:reason()) -> {ok, binary()} | none.
last_answer(Ref, {Code, _}) ->
    Soon =
        case Code of
            closed -> ?REAPER_TIME;
            _ -> 0
        end,
    receive
        {Ref, Bytes} -> {ok, Bytes}
    after Soon -> none
    end.

%% @doc A command that is answered later by `{Ref, Bytes}' in the mailbox: see
%% {@link answer/1}.
-spec ask_async(client(), command(), fun((binary()) -> iodata())) ->
    {ok, tag()} | crema_error:error().
ask_async(Port, Command, Data) ->
    Ref = make_ref(),
    case command(Port, Command, Data(term_to_binary(Ref))) of
        ok -> {ok, Ref};
        {error, _} = Error -> Error
    end.

%% @doc What the driver answered, as this side returns it.
-spec answer(binary()) -> ok | wait | {ok, term()} | {packed, binary()} | crema_error:error().
answer(<<131, _/binary>> = Term) ->
    error_or(binary_to_term(Term));
answer(Packed) ->
    {packed, Packed}.

%% @doc What the driver tells the owner. Errors, also those inside an event,
%% have the form that answers have.
-spec event(binary()) -> tuple().
event(Bytes) ->
    case binary_to_term(Bytes) of
        {error, _} = Error -> error_or(Error);
        Event -> list_to_tuple([error_or(Element) || Element <- tuple_to_list(Event)])
    end.

%% @doc An error inside an answer, in the form that answers have; other terms as
%% they are.
-spec error_or(term()) -> term().
error_or({error, {Name, Text, Fatal, Retriable, Abortable}}) ->
    driver_error(Name, Text, #{fatal => Fatal, retriable => Retriable, abortable => Abortable});
error_or({error, Faults}) when is_list(Faults) ->
    bad_properties(Faults);
error_or(Other) ->
    Other.

%% librdkafka's names are in upper case; crema's own are atoms of its modules.
-spec driver_error(binary(), binary(), map()) -> crema_error:error().
driver_error(<<First, _/binary>> = Name, Text, Flags) when First >= $a, First =< $z ->
    Code = binary_to_existing_atom(Name),
    crema_error:make(Code, Text, flags(Code, Flags));
driver_error(Name, Text, Flags) ->
    crema_error:from_kafka(Name, Text, Flags).

%% The driver knows librdkafka's own only.
-spec flags(atom(), map()) -> map().
flags(queue_full, Flags) -> Flags#{retriable => true};
flags(_, Flags) -> Flags.

%% @doc The error of properties that librdkafka refuses, each with what it says.
-spec bad_properties([{binary(), binary()}]) -> crema_error:error().
bad_properties(Faults) ->
    Lines = lists:join("; ", [[Key, ": ", Text] || {Key, Text} <- Faults]),
    crema_error:make(bad_options, ["wrong properties under kafka: ", Lines], #{
        faults => [#{option => Key, reason => Text} || {Key, Text} <- Faults]
    }).

%% @doc The command table, for tests and docs.
-spec commands() -> [{command(), atom()}].
commands() ->
    ?COMMANDS.

-spec load() -> ok | crema_error:error().
load() ->
    Directory = application:get_env(crema, driver_directory, code:priv_dir(crema)),
    case is_list(Directory) andalso erl_ddll:load_driver(Directory, ?DRIVER) of
        ok ->
            %% So that the atoms of what the driver answers of its own exist.
            _ = crema_error_table:own(),
            ok;
        false ->
            missing("the application's priv directory was not found");
        %% Loaded before, to stay until the VM exits, maybe from elsewhere:
        %% HELLO tells whether it fits.
        {error, Loaded} when Loaded =:= permanent; Loaded =:= inconsistent ->
            ok;
        {error, Reason} ->
            missing(erl_ddll:format_error(Reason))
    end.

-spec missing(string()) -> crema_error:error().
missing(Text) ->
    Library =
        case string:find(Text, "librdkafka") of
            nomatch -> "";
            _ -> " (install the package librdkafka1, or build with CREMA_LIBRDKAFKA=bundled)"
        end,
    crema_error:make(
        driver_missing, ["crema's driver could not be loaded: ", Text, Library], #{}
    ).

-spec closed() -> crema_error:error().
closed() ->
    crema_error:make(closed, "the client is closed", #{}).

-spec timeout() -> crema_error:error().
timeout() ->
    crema_error:make(timeout, "there was no answer in time", #{}).

-spec inspect(term()) -> iolist().
inspect(Term) ->
    io_lib:format("~0p", [Term]).
