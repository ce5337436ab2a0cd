%% @private The driver that the escript holds: a shared object cannot be loaded from an
%% archive, so it is put once into a folder of the user's, named by its checksum.
%%
%% What is loaded runs as the user, so nobody else may have put it there: the folder is the
%% user's own and closed to others, and each start compares the file with the driver that
%% the escript holds, byte by byte.
-module(crema_cli_driver).

-export([prepare/0, prepare/2]).

-include_lib("kernel/include/file.hrl").

-define(DRIVER, "crema_drv.so").

%% @doc Where crema is run from an escript, has the application take the driver from the
%% cache. Throws `{failed, Text}' when that cannot be.
-spec prepare() -> ok.
prepare() ->
    Private = code:priv_dir(crema),
    case is_list(Private) andalso filelib:is_regular(filename:join(Private, ?DRIVER)) of
        true -> ok;
        false -> application:set_env(crema, driver_directory, prepare(cache(), extracted()))
    end.

-spec cache() -> file:filename().
cache() ->
    case {os:getenv("XDG_CACHE_HOME", ""), os:getenv("HOME", "")} of
        {[$/ | _] = Cache, _} -> filename:join(Cache, "crema");
        {_, [$/ | _] = Home} -> filename:join([Home, ".cache", "crema"]);
        _ -> failed("there is no place for the driver: set XDG_CACHE_HOME or HOME")
    end.

-spec extracted() -> binary().
extracted() ->
    {ok, Sections} = escript:extract(escript:script_name(), []),
    {archive, Archive} = lists:keyfind(archive, 1, Sections),
    Wanted = "crema/priv/" ?DRIVER,
    {ok, [{Wanted, Bytes}]} = zip:extract(Archive, [memory, {file_list, [Wanted]}]),
    Bytes.

%% @doc The folder below `Cache' that holds this driver, made if it is not there.
-spec prepare(file:filename(), Driver :: binary()) -> file:filename().
prepare(Cache, Driver) ->
    Hash = [io_lib:format("~2.16.0b", [Byte]) || <<Byte>> <= erlang:md5(Driver)],
    Directory = filename:join(Cache, lists:flatten(Hash)),
    File = filename:join(Directory, ?DRIVER),
    closed(Cache),
    case file:read_link_info(Directory) of
        {error, enoent} -> made(Directory, Driver);
        _ -> ok
    end,
    writers(Directory) =:= 0 orelse others(Directory),
    case is_right(File, Driver) of
        true -> ok;
        false -> written(File, Driver)
    end,
    Directory.

%% Who may write to the cache could put another folder in the place of the driver's.
-spec closed(file:filename()) -> ok.
closed(Cache) ->
    ok = checked(filelib:ensure_dir(filename:join(Cache, ?DRIVER)), Cache),
    case writers(Cache) of
        0 -> ok;
        _ -> checked(file:change_mode(Cache, 8#700), Cache)
    end.

%% The permissions of others to write to it. It is a folder of the user's own, and no link.
-spec writers(file:filename()) -> non_neg_integer().
writers(Directory) ->
    {ok, #file_info{uid = Me}} = file:read_file_info("/proc/self"),
    case file:read_link_info(Directory) of
        {ok, #file_info{type = directory, uid = Me, mode = Mode}} -> Mode band 8#022;
        {ok, _} -> others(Directory);
        {error, Reason} -> refused(Reason, Directory)
    end.

-spec others(file:filename()) -> no_return().
others(Directory) ->
    failed([Directory, " is not a folder of your own that is closed to others: remove it, or set "
        "XDG_CACHE_HOME"]).

%% It is there with its mode and the driver, or not at all: other processes may do the same
%% now. Where one was faster, that has made it.
-spec made(file:filename(), binary()) -> ok.
made(Directory, Driver) ->
    New = own(Directory),
    ok = checked(file:make_dir(New), New),
    ok = checked(file:change_mode(New, 8#700), New),
    written(filename:join(New, ?DRIVER), Driver),
    case file:rename(New, Directory) of
        ok -> ok;
        {error, _} -> checked(file:del_dir_r(New), New)
    end.

%% A name that no other process uses.
-spec own(file:filename()) -> file:filename().
own(File) ->
    lists:concat([File, ".", os:getpid(), ".", os:system_time()]).

-spec is_right(file:filename(), binary()) -> boolean().
is_right(File, Driver) ->
    case {file:read_link_info(File), file:read_file(File)} of
        {{ok, #file_info{type = regular}}, {ok, Driver}} -> true;
        _ -> false
    end.

%% Another process may do the same now: each has a file of its own, and puts it into place
%% whole. What a VM has loaded stays as it was.
-spec written(file:filename(), binary()) -> ok.
written(File, Driver) ->
    New = own(File),
    ok = checked(file:write_file(New, Driver, [exclusive, raw]), New),
    ok = checked(file:change_mode(New, 8#500), New),
    checked(file:rename(New, File), File).

-spec checked(ok | {error, term()}, file:filename()) -> ok.
checked(ok, _File) ->
    ok;
checked({error, Reason}, File) ->
    refused(Reason, File).

-spec refused(file:posix() | badarg | terminated | system_limit, file:filename()) -> no_return().
refused(Reason, File) ->
    failed([File, ": ", file:format_error(Reason), ", and the driver must be put there: set ",
        "XDG_CACHE_HOME to a folder of yours"]).

-spec failed(iodata()) -> no_return().
failed(Text) -> throw({failed, Text}).
