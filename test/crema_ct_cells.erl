%% The table of docs/connections.md: which ways to connect cannot work, on which
%% brokers, and by which limit of librdkafka's.
-module(crema_ct_cells).

-export([left_out/1, rows/0, timed/3]).

-define(HEADING, <<"## What cannot work">>).

%% @doc Whether a case of crema_security_kafka_SUITE cannot work on these brokers with
%% this librdkafka, by which limit, and why.
-spec left_out(atom()) -> none | {Limit :: atom(), Why :: binary()}.
left_out(Cell) ->
    Brokers = iolist_to_binary(["Kafka ", crema_ct_kafka:env("VERSION")]),
    #{limits := Limits} = crema:info(),
    Known = [Limit || #{code := Limit} <- Limits],
    Found = [
        {Limit, Why}
     || {Cells, On, Limit, Why} <- rows(),
        lists:member(Cell, Cells),
        binary:longest_common_prefix([On, Brokers]) =:= byte_size(On),
        lists:member(Limit, Known)
    ],
    case Found of
        [] -> none;
        [One] -> One
    end.

-spec rows() -> [{Cells :: [atom()], Brokers :: binary(), Limit :: atom(), Why :: binary()}].
rows() ->
    {ok, Text} = file:read_file(crema_ct_documents:path("docs/connections.md")),
    [_, Behind] = binary:split(Text, ?HEADING),
    [Table | _] = binary:split(Behind, <<"\n## ">>),
    [
        {[binary_to_atom(C) || C <- quoted(Cells)], On, binary_to_atom(hd(quoted(Limit))), Why}
     || <<"| `", _/binary>> = Row <- binary:split(Table, <<"\n">>, [global]),
        [_, Cells, On, Limit, Why | _] <- [
            [string:trim(Cell) || Cell <- binary:split(Row, <<"|">>, [global])]
        ]
    ].

quoted(Text) ->
    {match, Found} = re:run(Text, "`(\\w+)`", [global, {capture, all_but_first, binary}]),
    lists:append(Found).

%% @doc Runs a case, and writes down how it has ended and what time it took, for
%% scripts/security.
-spec timed(atom(), string(), fun(() -> term())) -> ok.
timed(Cell, How, Run) ->
    {Time, _} = timer:tc(Run),
    case os:getenv("CREMA_CELLS") of
        false ->
            ok;
        File ->
            Line = io_lib:format("~s ~s ~.1f s~n", [Cell, How, Time / 1.0e6]),
            file:write_file(File, Line, [append])
    end.
