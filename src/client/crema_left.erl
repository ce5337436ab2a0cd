%% @private Reports that were still unclaimed when their producer ended: each
%% kept for its caller, who may await it yet. At most so many; the oldest are
%% forgotten first, and those of a caller with the caller.
-module(crema_left).

-export([new/0, new/1, put/4, take/3, has/3, ask/4, expired/2, gone/2, all/1]).

-export_type([left/0]).

%% The driver's packed reports, or verdicts that Erlang processes have made.
-type reports() :: binary() | term().
-type key() :: {Caller :: pid(), Call :: pos_integer()}.

-record(left, {
    most :: pos_integer(),
    reports = #{} :: #{key() => {Age :: integer(), reports()}},
    ages = gb_trees:empty() :: gb_trees:tree(integer(), key()),
    %% who asks for what the reaper has not left yet
    askers = #{} :: #{key() => {gen_server:from(), Timer :: reference() | none}},
    monitors = #{} :: #{pid() => reference()}
}).
-opaque left() :: #left{}.

-define(MOST, 100000).

-spec new() -> left().
new() ->
    new(?MOST).

-spec new(Most :: pos_integer()) -> left().
new(Most) ->
    #left{most = Most}.

%% @doc Keeps reports, or answers who asked for them already.
-spec put(pid(), pos_integer(), reports(), left()) -> left().
put(Caller, Call, Reports, #left{askers = Askers} = Left) ->
    Key = {Caller, Call},
    case maps:take(Key, Askers) of
        {{From, Timer}, Rest} ->
            ok = cancel(Timer),
            gen_server:reply(From, {ok, Reports}),
            Left#left{askers = Rest};
        error ->
            keep(Key, Reports, bounded(watched(Caller, Left)))
    end.

-spec keep(key(), reports(), left()) -> left().
keep(Key, Reports, #left{reports = All, ages = Ages} = Left) ->
    Age = erlang:unique_integer([monotonic]),
    Left#left{reports = All#{Key => {Age, Reports}}, ages = gb_trees:insert(Age, Key, Ages)}.

-spec bounded(left()) -> left().
bounded(#left{most = Most, reports = All, ages = Ages} = Left) when map_size(All) >= Most ->
    {_, Oldest, Rest} = gb_trees:take_smallest(Ages),
    Left#left{reports = maps:remove(Oldest, All), ages = Rest};
bounded(Left) ->
    Left.

-spec watched(pid(), left()) -> left().
watched(Caller, #left{monitors = Monitors} = Left) when is_map_key(Caller, Monitors) ->
    Left;
watched(Caller, #left{monitors = Monitors} = Left) ->
    Left#left{monitors = Monitors#{Caller => erlang:monitor(process, Caller)}}.

%% @doc Reports that are here; they are then no more.
-spec take(pid(), pos_integer(), left()) -> {reports(), left()} | error.
take(Caller, Call, #left{reports = All, ages = Ages} = Left) ->
    case maps:take({Caller, Call}, All) of
        {{Age, Reports}, Rest} ->
            {Reports, Left#left{reports = Rest, ages = gb_trees:delete(Age, Ages)}};
        error ->
            error
    end.

-spec has(pid(), pos_integer(), left()) -> boolean().
has(Caller, Call, #left{reports = All}) ->
    is_map_key({Caller, Call}, All).

%% @doc Somebody waits for reports that the reaper will leave, or not.
-spec ask(key(), gen_server:from(), timeout(), left()) -> left().
ask(Key, From, Timeout, #left{askers = Askers} = Left) ->
    Timer =
        case Timeout of
            infinity -> none;
            _ -> erlang:send_after(Timeout, self(), {expired, Key})
        end,
    Left#left{askers = Askers#{Key => {From, Timer}}}.

-spec cancel(reference() | none) -> ok.
cancel(none) ->
    ok;
cancel(Timer) ->
    _ = erlang:cancel_timer(Timer),
    ok.

-spec expired(key(), left()) -> left().
expired(Key, #left{askers = Askers} = Left) ->
    case maps:take(Key, Askers) of
        {{From, _}, Rest} ->
            gen_server:reply(From, error),
            Left#left{askers = Rest};
        error ->
            Left
    end.

-spec gone(pid(), left()) -> left().
gone(Caller, #left{reports = All, ages = Ages, monitors = Monitors} = Left) ->
    Theirs = [{Key, Age} || {{Pid, _} = Key, {Age, _}} <- maps:to_list(All), Pid =:= Caller],
    Left#left{
        reports = maps:without([Key || {Key, _} <- Theirs], All),
        ages = lists:foldl(fun({_, Age}, Acc) -> gb_trees:delete(Age, Acc) end, Ages, Theirs),
        monitors = maps:remove(Caller, Monitors)
    }.

%% @doc What is kept.
-spec all(left()) -> [{key(), reports()}].
all(#left{reports = All}) ->
    [{Key, Reports} || {Key, {_Age, Reports}} <- maps:to_list(All)].
