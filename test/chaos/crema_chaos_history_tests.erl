%% That a history is read as it was written.
-module(crema_chaos_history_tests).

-include_lib("eunit/include/eunit.hrl").

-define(PROCESSES, 5).
-define(ENTRIES, 200).

merged_test() ->
    %% What several processes write is read in one order: that of the times, and each
    %% file's own.
    in_folder(fun(Folder) ->
        Writers = [spawn_monitor(fun() -> write(Folder, P) end) || P <- lists:seq(1, ?PROCESSES)],
        [receive {'DOWN', Monitor, _, _, Reason} -> ?assertEqual(normal, Reason) end
         || {_, Monitor} <- Writers],
        Entries = read(Folder),
        ?assertEqual(?PROCESSES * ?ENTRIES, length(Entries)),
        Times = [At || #{at := At} <- Entries],
        ?assertEqual(lists:sort(Times), Times),
        [
            ?assertEqual(
                lists:seq(1, ?ENTRIES),
                [N || #{process := Of, numbers := [N]} <- Entries, Of =:= P]
            )
         || P <- lists:seq(1, ?PROCESSES)
        ]
    end).

write(Folder, P) ->
    Writer = crema_chaos_history:open(Folder),
    [
        crema_chaos_history:write(Writer, [
            #{what => accepted, process => P, numbers => [N]} || N <- [Even - 1, Even]
        ])
     || Even <- lists:seq(2, ?ENTRIES, 2)
    ],
    crema_chaos_history:close(Writer).

cut_off_test() ->
    %% Wherever a kill cuts the last entry off, those before it are read.
    in_folder(fun(Folder) ->
        Writer = crema_chaos_history:open(Folder),
        [crema_chaos_history:write(Writer, #{what => calm, number => N}) || N <- [1, 2, 3]],
        crema_chaos_history:close(Writer),
        [File] = filelib:wildcard(filename:join(Folder, "*")),
        {ok, Bytes} = file:read_file(File),
        Each = byte_size(Bytes) div 3,
        [
            begin
                ok = file:write_file(File, binary:part(Bytes, 0, Size)),
                ?assertEqual(
                    lists:seq(1, Size div Each), [N || #{what := calm, number := N} <- read(Folder)]
                )
            end
         || Size <- lists:seq(0, byte_size(Bytes))
        ]
    end).

in_folder(Fun) ->
    Folder = filename:join(
        "_build", "history-" ++ integer_to_list(erlang:unique_integer([positive]))
    ),
    ok = filelib:ensure_path(Folder),
    try Fun(Folder)
    after ok = file:del_dir_r(Folder)
    end.

read(Folder) ->
    lists:reverse(crema_chaos_history:fold(fun(Entry, All) -> [Entry | All] end, [], Folder)).
