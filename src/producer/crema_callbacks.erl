%% @private Callbacks of messages that are under way, and what their reports shall
%% say beside what the driver reports: a row for each message under the tag that
%% goes with it, so that neither functions nor labels cross into C.
%%
%% Whoever produces puts the rows there before the call and takes them out again
%% if it is refused; the client's reporter takes each when it calls back. A caller
%% that is killed in between leaves rows that are found when the client is idle.
-module(crema_callbacks).

-export([new/0, bequeath/2]).
-export([note/3, forget/2, take/2]).
-export([count/1, last/1, orphans/2]).
-export([call/2]).

-export_type([callback/0, callbacks/0, noted/0, noting/0]).

%% Called with the result of one message; `{M, F, A}' as M:F(Result, A...).
-type callback() :: crema_types:callback().
%% The rows `{Tag, Caller, Callback, Origin}', and the last tag given out.
-type callbacks() :: {ets:tid(), atomics:atomics_ref()}.
-type noted() :: {First :: non_neg_integer(), Count :: non_neg_integer()}.
-type noting() :: #{noted := noted(), callback := callback()}.

%% @doc For the calling process, a producer's: for all its clients.
-spec new() -> callbacks().
new() ->
    Table = ets:new(?MODULE, [public, {write_concurrency, true}]),
    {Table, atomics:new(1, [{signed, false}])}.

%% @doc It survives its owner, in that process.
-spec bequeath(callbacks(), pid()) -> ok.
bequeath({Table, _}, Heir) ->
    true = ets:setopts(Table, {heir, Heir, none}),
    ok.

%% @doc Rows for a call's messages, under tags one after another. Of messages that
%% are wrong nothing is noted, nor for a client that has ended: the call that
%% follows is refused.
-spec note(callback(), [crema_prepare:prepared()], callbacks() | none) -> noted().
note(Callback, Messages, {Table, Tags}) ->
    Origins = origins(Messages),
    Count = length(Origins),
    First = atomics:add_get(Tags, 1, Count) - Count + 1,
    Rows = rows(First, self(), Callback, Origins),
    try ets:insert(Table, Rows) of
        true -> {First, Count}
    catch
        error:badarg -> {First, 0}
    end;
note(_Callback, _Messages, none) ->
    {0, 0}.

-spec origins([crema_prepare:prepared()]) -> [crema_report:origin()].
origins(Messages) ->
    try
        [crema_report:origin(Message) || Message <- Messages]
    catch
        error:_ -> []
    end.

-spec rows(pos_integer(), pid(), callback(), [crema_report:origin()]) -> [tuple()].
rows(Tag, Caller, Callback, [Origin | Rest]) ->
    [{Tag, Caller, Callback, Origin} | rows(Tag + 1, Caller, Callback, Rest)];
rows(_Tag, _Caller, _Callback, []) ->
    [].

%% @doc The call was refused: nobody is called back.
-spec forget(noted(), callbacks() | none) -> ok.
forget({First, Count}, {Table, _}) ->
    try
        _ = [ets:delete(Table, Tag) || Tag <- lists:seq(First, First + Count - 1)],
        ok
    catch
        error:badarg -> ok
    end;
forget(_Noted, none) ->
    ok.

%% @doc Whom to call for a message, once.
-spec take(Tag :: pos_integer(), callbacks()) -> {callback(), crema_report:origin()} | none.
take(Tag, {Table, _}) ->
    case ets:take(Table, Tag) of
        [{_, _, Callback, Origin}] -> {Callback, Origin};
        [] -> none
    end.

-spec count(callbacks()) -> non_neg_integer().
count({Table, _}) ->
    case ets:info(Table, size) of
        Size when is_integer(Size) -> Size;
        undefined -> 0
    end.

%% @doc The last tag given out: 0 when there was none.
-spec last(callbacks()) -> non_neg_integer().
last({_, Tags}) ->
    atomics:get(Tags, 1).

%% @doc The rows after that tag whose callers are dead. When all of a client's
%% reports are done with after this was asked, no call with them can have been
%% made, nor will be.
-spec orphans(After :: non_neg_integer(), callbacks()) -> [noted()].
orphans(After, {Table, _}) ->
    [
        {Tag, 1}
     || {Tag, Caller, _, _} <- ets:tab2list(Table), Tag > After, not is_process_alive(Caller)
    ].

%% @doc Calls it, or any function that users may give in one of these forms.
-spec call(fun((Argument) -> term()) | {module(), atom(), [term()]}, Argument) -> term().
call({Module, Function, Args}, Argument) -> apply(Module, Function, [Argument | Args]);
call(Fun, Argument) -> Fun(Argument).
