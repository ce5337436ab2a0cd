%% @private On whose behalf a process works: those that called it, those that
%% started it, and those that started its callers, as OTP and Elixir note them
%% (`$callers', `$ancestors').
-module(crema_family).

-export([of_self/0]).

-export_type([family/0]).

%% The process first. The root is the one that all of it goes back to: of a test,
%% its process.
-type family() :: {Root :: pid(), [pid(), ...]}.

-spec of_self() -> family().
of_self() ->
    {dictionary, Own} = process_info(self(), dictionary),
    Callers = pids('$callers', Own),
    Ancestors = pids('$ancestors', Own),
    Lines = [[Caller | ancestors(Caller)] || Caller <- Callers],
    Root =
        case Lines of
            [] -> lists:last([self() | Ancestors]);
            _ -> lists:last(lists:last(Lines))
        end,
    {Root, lists:usort([self() | Ancestors] ++ lists:append(Lines))}.

-spec ancestors(pid()) -> [pid()].
ancestors(Pid) when node(Pid) =:= node() ->
    case process_info(Pid, dictionary) of
        {dictionary, Dictionary} -> pids('$ancestors', Dictionary);
        undefined -> []
    end;
ancestors(_) ->
    [].

%% Those that have ended have no name any more.
-spec pids(atom(), [{term(), term()}]) -> [pid()].
pids(Key, Dictionary) ->
    case lists:keyfind(Key, 1, Dictionary) of
        {_, Known} when is_list(Known) ->
            [Pid || One <- Known, Pid <- [crema_registry:whereis_name(One)], is_pid(Pid)];
        _ ->
            []
    end.
