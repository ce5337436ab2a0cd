%% @private Every code that an error may have, once: for what errors say, and for
%% documentation. librdkafka has more than these; they come as it tells them.
-module(crema_error_table).

-export([find/1, rows/0, own/0, doc/1]).

-export_type([rows/0, row/0]).

%% Whether the same call may succeed later, what has happened, and what to do. The
%% last is a whole sentence: it stands behind the message of an error.
-type row() :: {Retriable :: yes | no, Meaning :: binary(), Hint :: binary()}.
-type rows() :: #{crema_error:code() => row()}.

-spec find(crema_error:code()) -> {ok, row()} | none.
find(Code) ->
    find(Code, [fun own/0, fun crema_error_connection:rows/0, fun crema_error_kafka:rows/0]).

-spec find(crema_error:code(), [fun(() -> rows())]) -> {ok, row()} | none.
find(_Code, []) ->
    none;
find(Code, [Rows | Others]) ->
    case Rows() of
        #{Code := Row} -> {ok, Row};
        #{} -> find(Code, Others)
    end.

-spec rows() -> rows().
rows() ->
    maps:merge(own(), maps:merge(crema_error_connection:rows(), crema_error_kafka:rows())).

%% Those that are not librdkafka's, but for what a diagnosis says.
-spec own() -> rows().
own() ->
    crema_error_own:rows().

%% @doc A part of the table as Markdown.
-spec doc(own | connection | kafka) -> binary().
doc(own) -> table(own());
doc(connection) -> table(crema_error_connection:rows());
doc(kafka) -> table(crema_error_kafka:rows()).

-spec table(rows()) -> binary().
table(Rows) ->
    Lines = [
        io_lib:format("| `~s` | ~ts | ~s | ~ts |\n", [Code, Meaning, Retriable, Hint])
     || {Code, {Retriable, Meaning, Hint}} <- lists:sort(maps:to_list(Rows))
    ],
    Head = "| Code | Meaning | Retriable | What to do |\n|---|---|---|---|\n",
    unicode:characters_to_binary([Head | Lines]).
