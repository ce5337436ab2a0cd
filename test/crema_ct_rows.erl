%% The rows of docs/consumer.md: the cases that show what crema has, and those of
%% them that are not run on some brokers or with some librdkafka.
-module(crema_ct_rows).

-export([shown/0, not_shown/0, left_out/0]).
%% A hook of Common Test, which by itself does not name what fails.
-export([init/2, on_tc_fail/4, on_tc_skip/4]).

-type shower() :: {Suite :: module(), Case :: atom()} | {Property :: module(), properties}.

%% What follows is the table of what is left out.
-define(HEADING, <<"## What is not run">>).

%% @doc All that its tables name, each once.
-spec shown() -> [shower()].
shown() ->
    [Shown, _] = parts(),
    lists:usort(lists:append([named(Row) || Row <- rows(Shown)])).

%% @doc Its rows that name nothing.
-spec not_shown() -> [binary()].
not_shown() ->
    [Shown, _] = parts(),
    [_, Tables] = binary:split(Shown, <<"shown by |\n">>),
    [Row || Row <- rows(Tables), named(Row) =:= [], binary:match(Row, <<"shown by">>) =:= nomatch].

%% @doc What is left out, on which brokers or with which librdkafka, and why.
-spec left_out() -> [{shower(), Where :: binary(), Why :: binary()}].
left_out() ->
    [_, LeftOut] = parts(),
    [
        {Shower, Where, Why}
     || Row <- rows(LeftOut), [_, Named, Where, Why | _] <- [cells(Row)], Shower <- named(Named)
    ].

parts() ->
    {ok, Text} = file:read_file(crema_ct_documents:path("docs/consumer.md")),
    [_, _] = binary:split(Text, ?HEADING).

rows(Text) -> [Row || <<"| ", _/binary>> = Row <- binary:split(Text, <<"\n">>, [global])].

cells(Row) -> [string:trim(Cell) || Cell <- binary:split(Row, <<"|">>, [global])].

named(Text) ->
    Pattern = "`(crema_\\w+_SUITE|prop_\\w+)(?::([\\w,]+))?`",
    case re:run(Text, Pattern, [global, {capture, all_but_first, binary}]) of
        {match, Found} -> lists:append([showers(Names) || Names <- Found]);
        nomatch -> []
    end.

showers([<<"prop_", _/binary>> = Module]) ->
    [{binary_to_atom(Module), properties}];
showers([Suite]) ->
    Module = binary_to_atom(Suite),
    [{Module, Case} || Case <- cases(Module, Module:all())];
showers([Suite, Cases]) ->
    [{binary_to_atom(Suite), binary_to_atom(C)} || C <- string:lexemes(Cases, ",")].

cases(Module, Entries) ->
    lists:append([
        case Entry of
            {group, Group} -> cases(Module, element(3, lists:keyfind(Group, 1, Module:groups())));
            Case -> [Case]
        end
     || Entry <- Entries
    ]).

-spec init(term(), none) -> {ok, none}.
init(_Id, none) -> {ok, none}.

-spec on_tc_fail(module(), atom() | tuple(), term(), none) -> none.
on_tc_fail(Suite, Case, Reason, none) -> tell(Suite, Case, "FAILED", Reason).

-spec on_tc_skip(module(), atom() | tuple(), term(), none) -> none.
on_tc_skip(Suite, Case, Reason, none) -> tell(Suite, Case, "SKIPPED", Reason).

tell(Suite, Case, What, Reason) ->
    io:format(user, "%%% ~s ==> ~0p: ~s~n~p~n", [Suite, Case, What, Reason]),
    none.
