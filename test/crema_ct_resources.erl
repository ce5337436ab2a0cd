%% What a VM takes at one moment: all that could grow. Of the soak and of suites.
-module(crema_ct_resources).

-export([take/0]).

%% @doc Bytes and numbers, always the same ones in the same order.
take() ->
    Memory = erlang:memory(),
    Resident = resident(),
    [{resident, Resident}, {native, native(Resident)}] ++
        [
            {Kind, proplists:get_value(Kind, Memory)}
         || Kind <- [total, processes, binary, atom, ets, code, system]
        ] ++
        [
            {descriptors, entries("/proc/self/fd")},
            {threads, entries("/proc/self/task")},
            {atoms, erlang:system_info(atom_count)},
            {process_count, erlang:system_info(process_count)},
            {ports, erlang:system_info(port_count)},
            {ets_tables, length(ets:all())},
            {ets_rows, lists:sum([rows(Table) || Table <- ets:all()])},
            {persistent_terms, maps:get(count, persistent_term:info())},
            {clients, rows(crema_registry)},
            {reapers, maps:get(reapers, crema:info())}
        ].

%% What belongs to this process alone and has been written to: files that are
%% mapped, and come and go with the page cache, are not in it.
resident() ->
    {ok, Text} = file:read_file("/proc/self/smaps_rollup"),
    {match, [KiB]} = re:run(Text, "Private_Dirty: *([0-9]+) kB", [{capture, all_but_first, list}]),
    list_to_integer(KiB) * 1024.

%% What librdkafka and the driver have: what malloc() has given and not got back, without
%% the pages that it keeps for later. The emulator has its first carriers of it, which stay.
%% Where the C library does not tell, what is resident and not the emulator's.
native(Resident) ->
    case crema_anchor:allocated() of
        {ok, none} -> Resident - carriers();
        {ok, Allocated} -> Allocated
    end.

%% What the emulator's own allocators have from the system.
carriers() ->
    Allocators = [
        Allocator
     || Allocator <- erlang:system_info(alloc_util_allocators), Allocator =/= sys_alloc
    ],
    lists:sum([
        Size
     || {_, _, Instance} <- lists:append([of_allocator(Allocator) || Allocator <- Allocators]),
        {Kind, Carriers} <- Instance,
        lists:member(Kind, [mbcs, mbcs_pool, sbcs]),
        Size <- sizes(Carriers)
    ]).

of_allocator(Allocator) ->
    case erlang:system_info({allocator_sizes, Allocator}) of
        false -> [];
        Instances -> Instances
    end.

sizes(Carriers) ->
    [element(2, Entry) || Entry <- Carriers, element(1, Entry) =:= carriers_size].

entries(Folder) ->
    {ok, Names} = file:list_dir(Folder),
    length(Names).

%% A table may have gone meanwhile.
rows(Table) ->
    case ets:info(Table, size) of
        undefined -> 0;
        Size -> Size
    end.
