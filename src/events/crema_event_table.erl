%% @doc Every event crema sends: one table, for documentation and for tests.
%%
%% Attach to them with {@link crema_events:attach/4}, or with `telemetry:attach/4'
%% where the application has telemetry.
-module(crema_event_table).

-export([table/0, fields/1, doc/0, check/3]).

-export_type([row/0, field/0, type/0]).

-type type() ::
    integer
    | binary
    | atom
    | pid
    | list
    | map
    | term
    | {integer, Unit :: ms | us | bytes | messages}
    | {one_of, [atom()]}
    %% May be absent.
    | {optional, type()}.

-type field() :: {Name :: atom(), type(), Doc :: binary()}.

-type row() :: #{
    name := crema_events:event_name(),
    measurements := [field()],
    metadata := [field()],
    doc := binary()
}.

%% @doc The events, by subject.
-spec table() -> [row()].
table() ->
    crema_event_client:events() ++ crema_event_producer:events() ++ crema_event_consumer:events().

%% @doc The fields of an event of the table.
-spec fields(crema_events:event_name()) -> [Metadata :: [field()] | Measurements :: [field()]].
fields(Name) ->
    [#{metadata := Described, measurements := Measured}] = rows(Name),
    [Described, Measured].

-spec rows(crema_events:event_name()) -> [row()].
rows(Name) ->
    [Row || #{name := Known} = Row <- table(), Known =:= Name].

%% @private Whether an event is as the table has it: its name is there, no field is
%% missing, unknown or of another type. For tests; crema does not call it when
%% it sends.
-spec check(crema_events:event_name(), Measurements :: map(), Metadata :: map()) ->
    ok | {error, [binary(), ...]}.
check(Name, Measurements, Metadata) ->
    case rows(Name) of
        [#{measurements := Measured, metadata := Described}] ->
            Faults =
                crema_event_field:faults("measurement", Measured, Measurements) ++
                    crema_event_field:faults("metadata", Described, Metadata),
            case Faults of
                [] -> ok;
                _ -> {error, Faults}
            end;
        [] ->
            {error, [unicode:characters_to_binary(io_lib:format("~0tp is not in the table", [Name]))]}
    end.

%% @doc The table as markdown, a section for each event.
-spec doc() -> binary().
doc() ->
    iolist_to_binary(lists:join("\n", lists:map(fun doc_row/1, table()))).

-spec doc_row(row()) -> iolist().
doc_row(#{name := Name, doc := Doc, measurements := Measured, metadata := Described}) ->
    [
        io_lib:format("### `~0tp`\n\n~ts\n\n", [Name, Doc]),
        "| Field | Kind | Type | Meaning |\n|---|---|---|---|\n",
        [doc_field("measurement", Field) || Field <- Measured],
        [doc_field("metadata", Field) || Field <- Described]
    ].

-spec doc_field(string(), field()) -> iolist().
doc_field(Kind, {Name, Type, Doc}) ->
    io_lib:format("| `~s` | ~s | ~ts | ~ts |\n", [
        Name, Kind, crema_event_field:describe(Type), Doc
    ]).
