%% @private Standard output of a command: bytes as they are, and what is known of the
%% terminal, if there is one. Who reads it may stop to, which is no failure.
-module(crema_cli_output).

-export([open/0, write/2, rows/5, close/1, is_terminal/0, width/0, height/0]).

-spec open() -> crema_stdio:output().
open() ->
    _ = process_flag(trap_exit, true),
    crema_stdio:output().

%% @doc Throws `closed' when nobody reads any more, and `{failed, Text}' when it cannot
%% be written.
-spec write(crema_stdio:output(), iodata()) -> ok.
write(Output, Bytes) ->
    judged(crema_stdio:write(Output, Bytes)).

%% @doc Prints rows as a table for people, or each as an object of JSON with these
%% fields. What is not known is the atom `none'.
-spec rows(
    crema_stdio:output(), crema_cli_arguments:given(), [atom()], [crema_cli_text:column()],
    [[term()]]
) -> ok.
rows(Output, #{json := true}, Fields, _Columns, Rows) ->
    write(Output, [crema_cli_text:json(Fields, Row) || Row <- Rows]);
rows(Output, _Given, _Fields, Columns, Rows) ->
    write(Output, crema_cli_text:table(Columns, Rows, width())).

%% @doc The same of what was written last.
-spec close(crema_stdio:output()) -> ok.
close(Output) ->
    judged(crema_stdio:close(Output)).

-spec judged(ok | closed | {error, term()}) -> ok.
judged(ok) -> ok;
judged(closed) -> throw(closed);
judged({error, Reason}) -> throw({failed, ["standard output cannot be written: ", why(Reason)]}).

-spec why(term()) -> iodata().
why(Reason) when is_atom(Reason) -> file:format_error(Reason);
why(Reason) -> io_lib:format("~0tp", [Reason]).

-spec is_terminal() -> boolean().
is_terminal() -> crema_stdio:is_terminal(1).

%% @doc Columns of the terminal, as it is now.
-spec width() -> pos_integer() | infinity.
width() ->
    case {is_terminal(), io:columns()} of
        {false, _} -> infinity;
        {true, {ok, Columns}} when Columns >= 20 -> Columns;
        {true, _} -> 80
    end.

%% @doc Its lines.
-spec height() -> pos_integer() | infinity.
height() ->
    case {is_terminal(), io:rows()} of
        {false, _} -> infinity;
        {true, {ok, Rows}} when Rows >= 5 -> Rows;
        {true, _} -> 24
    end.
