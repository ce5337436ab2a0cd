%% What crema says of clients, by their names: lines of the log, from notice up, and
%% events of connections.
-module(crema_ct_lines).

-export([open/1, close/1, lines/1, events/1]).
%% For logger.
-export([log/2]).

-define(EVENTS, [
    [crema, client, Event]
 || Event <- [connected, disconnected, broker_down, broker_up, error]
]).

%% @doc From now on, until the end of the suite.
open(Config) ->
    {Holder, ok} = crema_ct:hold(fun() ->
        ?MODULE = ets:new(?MODULE, [ordered_set, public, named_table]),
        ok
    end),
    ok = logger:add_handler(?MODULE, ?MODULE, #{level => notice}),
    ok = crema_events:attach(?MODULE, ?EVENTS, fun keep/4, none),
    [{lines, Holder} | Config].

close(Config) ->
    ok = crema_events:detach(?MODULE),
    ok = logger:remove_handler(?MODULE),
    crema_ct:let_go(proplists:get_value(lines, Config)).

%% @doc `{Level, Line}', in their order.
lines(Name) ->
    Begin = ["^crema \\w+ '?", atom_to_list(Name), "'?:"],
    [
        {Level, Line}
     || {_, {line, Level, Line}} <- ets:tab2list(?MODULE),
        re:run(Line, Begin, [{capture, none}]) =:= match
    ].

%% @doc `{Event, Metadata}', in their order.
events(Name) ->
    [
        {Event, Metadata}
     || {_, {event, Event, #{name := Of} = Metadata}} <- ets:tab2list(?MODULE), Of =:= Name
    ].

keep(Event, Measurements, Metadata, none) ->
    ok = crema_event_table:check(Event, Measurements, Metadata),
    add({event, Event, Metadata}).

log(#{level := Level, msg := {Format, Args}}, _) when is_list(Format), is_list(Args) ->
    add({line, Level, unicode:characters_to_binary(io_lib:format(Format, Args))});
log(_, _) ->
    ok.

add(Said) -> ets:insert(?MODULE, {erlang:unique_integer([monotonic]), Said}).
