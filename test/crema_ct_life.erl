%% What the suites about a producer's life share: its port, its fatal errors, its
%% end, and events as messages.
-module(crema_ct_life).

-export([port/1, produced/1, messages/1]).
-export([fatal/1, fatal/2, reloading/2, ended/2]).
-export([told/1, untold/0, event/1]).
-export([handle_event/4]).

%% @doc The port of a producer, or none.
port(P) ->
    {ok, producer, Port, _, _} = crema_registry:lookup(P),
    Port.

%% @doc Produces a message; its offset.
produced(P) ->
    case crema:produce(P, #{topic => t, partition => 0}) of
        {ok, #{offset := Offset}} -> {ok, Offset};
        Error -> Error
    end.

messages(Count) ->
    [#{topic => t, value => integer_to_binary(N)} || N <- lists:seq(1, Count)].

%% @doc Tells a producer of a fatal error, as the driver does.
fatal(P) ->
    fatal(P, <<"_FATAL">>).

fatal(P, Name) ->
    P ! {crema_event, port(P), term_to_binary({error, {Name, <<"planned">>, true, false, false}})},
    ok.

%% @doc A producer that waits for its next client.
reloading(Config, Backoff) ->
    P = crema_ct:producer(Config, #{on_fatal => reload, reload_backoff => Backoff}),
    {ok, _} = produced(P),
    fatal(P),
    crema_ct:await(fun() -> maps:get(state, crema:status(P)) =:= reloading end),
    P.

%% @doc Why a process has ended.
ended(P, Monitor) ->
    receive
        {'DOWN', Monitor, process, P, Reason} -> Reason
    after 10000 -> error({goes_on, crema:status(P)})
    end.

%% @doc This process is told of events from now on, until untold/0.
told(Events) ->
    ok = crema_events:attach(?MODULE, Events, fun ?MODULE:handle_event/4, self()).

untold() ->
    _ = crema_events:detach(?MODULE),
    ok.

handle_event(Name, Measurements, Metadata, To) ->
    ok = crema_event_table:check(Name, Measurements, Metadata),
    To ! {event, Name, maps:merge(Measurements, Metadata)}.

%% @doc The next event of that name, as one map.
event(Name) ->
    receive
        {event, Name, Data} -> Data
    after 10000 -> error({no_event, Name})
    end.
