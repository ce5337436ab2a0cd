%% Looking for secrets: in what is logged, at all levels, and told by events; in terms,
%% as they are printed; in all that can be read of processes.
-module(crema_ct_secrets).

-include("crema_ct_secrets.hrl").

-export([look/0, look_away/1, forget/1, lines/1, lines/2, events/2, shown/2, shown/3, everywhere/1]).
-export([log/2]).

-export_type([look/0]).

-opaque look() :: #{log := ets:table(), level := logger:level(), before := [pid()]}.

%% @doc From now on all is kept that is logged and told, in a table of the caller's.
-spec look() -> look().
look() ->
    #{level := Level} = logger:get_primary_config(),
    ok = logger:set_primary_config(level, all),
    Log = ets:new(?MODULE, [public, duplicate_bag]),
    ok = logger:add_handler(?MODULE, ?MODULE, #{level => all, filter_default => log, log => Log}),
    Names = [Name || #{name := Name} <- crema_event_table:table()],
    Tell = fun(Name, Measurements, Metadata, _) ->
        ets:insert(Log, {{event, Name}, text({Measurements, Metadata}), Metadata})
    end,
    ok = crema_events:attach(?MODULE, Names, Tell, none),
    #{log => Log, level => Level, before => processes()}.

-spec look_away(look()) -> ok.
look_away(#{level := Level}) ->
    _ = crema_events:detach(?MODULE),
    ok = logger:remove_handler(?MODULE),
    logger:set_primary_config(level, Level).

%% The logger calls this: once as a person reads it, once with all there is.
-spec log(logger:log_event(), map()) -> true.
log(Event, #{log := Log}) ->
    Read = logger_formatter:format(Event, #{single_line => true}),
    ets:insert(Log, {line, unicode:characters_to_binary(Read), text(Event)}).

%% @doc Nothing was logged or told until now.
-spec forget(look()) -> true.
forget(#{log := Log}) -> ets:delete_all_objects(Log).

%% @doc What was logged, as a person reads it.
-spec lines(look()) -> [binary()].
lines(#{log := Log}) -> [Read || {line, Read, _} <- ets:lookup(Log, line)].

%% @doc Those lines with a text in them.
-spec lines(unicode:chardata(), look()) -> [binary()].
lines(Text, Look) ->
    Part = unicode:characters_to_binary(Text),
    [Line || Line <- lines(Look), binary:match(Line, Part) =/= nomatch].

%% @doc The metadata of an event, each time it was told.
-spec events([atom()], look()) -> [map()].
events(Name, #{log := Log}) ->
    [Metadata || {_, _, Metadata} <- ets:lookup(Log, {event, Name})].

%% @doc All texts with the marker: of a term, and of what was logged and told.
-spec shown(term(), look()) -> [binary()].
shown(Term, Look) -> shown(Term, Look, <<?MARKER>>).

%% @doc The same of another secret.
-spec shown(term(), look(), binary()) -> [binary()].
shown(Term, #{log := Log}, Secret) ->
    Logged = [
        Text
     || {What, One, Other} <- ets:tab2list(Log),
        Text <- [One | [Other || What =:= line]]
    ],
    [Text || Text <- [text(Term) | Logged], binary:match(Text, Secret) =/= nomatch].

-spec text(term()) -> binary().
text(Term) -> unicode:characters_to_binary(io_lib:format("~0tp", [Term])).

%% @doc All that can be read of crema's processes and of those that have come since the
%% look began, of tables, of the application environment and of ports.
-spec everywhere(look()) -> term().
everywhere(#{before := Before, log := Log}) ->
    Others = [P || P <- Before, application:get_application(P) =/= {ok, crema}],
    Processes = processes() -- [self() | Others],
    Tables = [
        {Table, ets:tab2list(Table)}
     || Table <- ets:all(), Table =/= Log,
        lists:member(ets:info(Table, owner), Processes),
        ets:info(Table, protection) =/= private
    ],
    Shared = {
        Tables, application:get_all_env(crema), persistent_term:get(),
        [erlang:port_info(Port) || Port <- erlang:ports()]
    },
    {Shared, [process(P) || P <- Processes]}.

-spec process(pid()) -> term().
process(Pid) ->
    Items = [messages, dictionary, current_stacktrace, current_function],
    case process_info(Pid, Items) of
        undefined -> {Pid, ended};
        Info -> {Pid, Info, process_info(Pid), state(Pid, proplists:get_value(current_function, Info))}
    end.

%% Only of those that answer, as processes of OTP's behaviours do.
-spec state(pid(), mfa()) -> term().
state(Pid, {Module, Function, _}) when
    Module =:= gen_server; Module =:= gen_statem; Function =:= hibernate
->
    try
        {sys:get_state(Pid), sys:get_status(Pid)}
    catch
        exit:Ended -> Ended
    end;
state(_, _) ->
    none.
