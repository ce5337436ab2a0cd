%% @private What the rows of the table of events are made of.
-module(crema_event_row).

-export([event/4, client/0, problem/0, duration/1]).

-type row() :: crema_event_table:row().
-type field() :: crema_event_table:field().

-spec event(crema_events:event_name(), binary(), [field()], [field()]) -> row().
event(Name, Doc, Measurements, Metadata) ->
    #{name => Name, measurements => Measurements, metadata => Metadata, doc => Doc}.

-spec client() -> [field()].
client() ->
    [
        {client, pid, <<"the producer or consumer">>},
        {name, term, <<"its name in the options, undefined without one">>}
    ].

-spec problem() -> [field()].
problem() ->
    [
        {code, atom, <<"code of the error">>},
        {message, binary, <<"what happened and what to do">>}
    ].

-spec duration(binary()) -> field().
duration(Doc) -> {duration, {integer, ms}, Doc}.
