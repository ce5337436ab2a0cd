%% @doc A handler of events that writes each of them into OTP's log, as one line
%% such as
%%
%% ```
%% crema producer flushed (orders): result=ok duration=12ms
%% '''
%%
%% It is not there unless it is attached: by itself crema logs only what is wrong.
-module(crema_events_logger).

-export([attach/0, attach/1, detach/0, events/0]).
%% For crema_events.
-export([handle/4]).

-export_type([options/0]).

-type options() :: #{
    %% Which events, of those in crema_event_table: those of events/0.
    events => [crema_events:event_name(), ...],
    %% The level of those that tell of nothing wrong: info. The others have warning.
    level => logger:level(),
    %% Whether to write what users' data may be in as well (messages produced,
    %% reasons a handler gave): false.
    payloads => boolean()
}.

%% The most characters of one value.
-define(MOST, 2000).

%% @doc The same as `attach(#{})'.
-spec attach() -> ok | {error, already_exists | not_started}.
attach() ->
    attach(#{}).

%% @doc From now on writes events into the log. Raises `badarg', with a reason, for
%% options that are none.
-spec attach(options()) -> ok | {error, already_exists | not_started}.
attach(Given) when is_map(Given) ->
    Options = maps:merge(#{events => events(), level => info, payloads => false}, Given),
    case [Key || {Key, Value} <- maps:to_list(Options), not is_option(Key, Value)] of
        [] ->
            Events = maps:get(events, Options),
            crema_events:attach(?MODULE, Events, fun ?MODULE:handle/4, Options);
        [Key | _] ->
            error({badarg, <<(crema_input:show(Key))/binary, " is no option, or not its value">>})
    end.

-spec is_option(term(), term()) -> boolean().
is_option(events, Events) ->
    Known = [Name || #{name := Name} <- crema_event_table:table()],
    is_list(Events) andalso Events =/= [] andalso crema_input:is_proper(Events) andalso
        Events -- Known =:= [];
is_option(level, Level) -> lists:member(Level, levels());
is_option(payloads, Flag) -> is_boolean(Flag);
is_option(_, _) -> false.

-spec levels() -> [logger:level()].
levels() -> [emergency, alert, critical, error, warning, notice, info, debug].

%% @doc Ends it.
-spec detach() -> ok | {error, not_found | not_started}.
detach() ->
    crema_events:detach(?MODULE).

%% @doc The events that are written when no others are asked for: all but the
%% statistics and those that crema logs anyway.
-spec events() -> [crema_events:event_name(), ...].
events() ->
    [Name || #{name := Name} <- crema_event_table:table()] --
        [
            [crema, client, statistics],
            [crema, client, log],
            [crema, client, error],
            [crema, client, fatal],
            [crema, client, disconnected],
            [crema, client, broker_down],
            [crema, client, broker_up],
            [crema, buffer, lost],
            [crema, consumer, offset_reset],
            [crema, consumer, commit_failed],
            [crema, consumer, handler_crashed],
            [crema, consumer, handler_error]
        ].

%% @private
-spec handle(crema_events:event_name(), map(), map(), options()) -> ok.
handle(Name, Measurements, Metadata, #{level := Quiet, payloads := Payloads}) ->
    Level =
        case is_wrong(Measurements, Metadata) of
            true -> warning;
            false -> Quiet
        end,
    case logger:allow(Level, ?MODULE) of
        true ->
            Line = line(Name, Measurements, Metadata, Payloads),
            logger:log(Level, "~ts", [Line], #{crema_event => Name});
        false ->
            ok
    end.

-spec is_wrong(map(), map()) -> boolean().
is_wrong(_, #{code := _}) -> true;
is_wrong(_, #{result := Result}) when Result =/= ok -> true;
is_wrong(#{failed := Failed}, _) -> Failed > 0;
is_wrong(_, _) -> false.

-spec line(crema_events:event_name(), map(), map(), boolean()) -> iolist().
line(Name, Measurements, Metadata, Payloads) ->
    Client =
        case Metadata of
            #{name := Given} when Given =/= undefined -> Given;
            #{client := Pid} -> Pid;
            _ -> none
        end,
    Rows = crema_event_table:fields(Name),
    Fields = [
        [" ", atom_to_list(Field), "=", value(Type, maps:get(Field, Values))]
     || {Values, Described} <- lists:zip([Metadata, Measurements], Rows),
        {Field, Type, _} <- Described,
        is_map_key(Field, Values),
        is_shown(Field, Type, Payloads)
    ],
    Words = lists:join(" ", [atom_to_list(Part) || Part <- Name]),
    [Words, " (", text(Client), "):" | Fields].

%% By default only what cannot hold users' data.
-spec is_shown(atom(), crema_event_table:type(), Payloads :: boolean()) -> boolean().
is_shown(Field, _, _) when Field =:= client; Field =:= name -> false;
is_shown(_, _, true) -> true;
is_shown(Field, _, _) when Field =:= topics; Field =:= failures; Field =:= partitions -> true;
is_shown(Field, {optional, Type}, false) -> is_shown(Field, Type, false);
is_shown(_, Type, false) -> not lists:member(Type, [term, list, map]).

-spec value(crema_event_table:type(), term()) -> iolist() | binary().
value({optional, Type}, Value) -> value(Type, Value);
value({integer, messages}, Value) -> integer_to_list(Value);
value({integer, Unit}, Value) -> [integer_to_list(Value), atom_to_list(Unit)];
value(_, Value) -> text(Value).

%% On one line.
-spec text(term()) -> iolist() | binary().
text(Value) ->
    case is_binary(Value) andalso io_lib:printable_unicode_list(unicode:characters_to_list(Value)) of
        true -> re:replace(Value, "\\s+", " ", [global, unicode]);
        false -> io_lib:format("~0tp", [Value], [{chars_limit, ?MOST}])
    end.
