%% Modules that are no part of crema, compiled where they are needed.
-module(crema_ct_modules).

-export([load/2]).

%% @doc Compiles those of the project whose files match, without warnings, and loads them.
-spec load(Pattern :: file:filename(), [compile:option()]) -> ok.
load(Pattern, Options) ->
    [_ | _] = Files = filelib:wildcard(crema_ct_documents:path(Pattern)),
    lists:foreach(
        fun(File) ->
            {ok, Module, Code} = compile:file(File, [binary, report, warnings_as_errors | Options]),
            {module, Module} = code:load_binary(Module, File, Code)
        end,
        Files
    ).
