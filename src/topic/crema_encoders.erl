%% @private Processes that run a function on items, each on one at a time; what
%% finds none free waits. They are linked to the process that has them, which
%% must trap exits: one that crashes is replaced, and its item failed.
-module(crema_encoders).

-export([new/2, submit/3, handle/2, stop/1]).

-export_type([encoders/0, outcome/0]).

-type outcome() :: {ok, Result :: term()} | {crashed, Reason :: term()}.

-record(encoders, {
    function :: fun((Item :: term()) -> term()),
    free :: [pid()],
    busy = #{} :: #{pid() => Tag :: term()},
    backlog = queue:new() :: queue:queue({Tag :: term(), Item :: term()})
}).
-opaque encoders() :: #encoders{}.

-spec new(pos_integer(), fun((term()) -> term())) -> encoders().
new(Count, Function) ->
    #encoders{function = Function, free = [start(Function) || _ <- lists:seq(1, Count)]}.

-spec start(fun((term()) -> term())) -> pid().
start(Function) ->
    Parent = self(),
    spawn_link(fun() -> encode(Parent, Function) end).

-spec encode(pid(), fun((term()) -> term())) -> no_return().
encode(Parent, Function) ->
    receive
        {encode, Item} -> Parent ! {?MODULE, self(), Function(Item)}
    end,
    encode(Parent, Function).

%% @doc Has an item encoded; {@link handle/2} will give its outcome and the tag.
-spec submit(Tag :: term(), Item :: term(), encoders()) -> encoders().
submit(Tag, Item, #encoders{free = [Pid | Free], busy = Busy} = Encoders) ->
    Pid ! {encode, Item},
    Encoders#encoders{free = Free, busy = Busy#{Pid => Tag}};
submit(Tag, Item, #encoders{free = [], backlog = Backlog} = Encoders) ->
    Encoders#encoders{backlog = queue:in({Tag, Item}, Backlog)}.

%% @doc Ends them: their links would not, when the process that has them ends
%% normally.
-spec stop(encoders()) -> ok.
stop(#encoders{free = Free, busy = Busy}) ->
    lists:foreach(fun(Pid) -> exit(Pid, kill) end, Free ++ maps:keys(Busy)).

%% @doc Takes what is theirs from the mailbox.
-spec handle(term(), encoders()) -> {Tag :: term(), outcome(), encoders()} | {none, encoders()} | unknown.
handle({?MODULE, Pid, Result}, #encoders{busy = Busy} = Encoders) when is_map_key(Pid, Busy) ->
    {Tag, Rest} = maps:take(Pid, Busy),
    {Tag, {ok, Result}, freed(Pid, Encoders#encoders{busy = Rest})};
handle({'EXIT', Pid, Reason}, #encoders{busy = Busy, free = Free} = Encoders) ->
    case {maps:take(Pid, Busy), lists:member(Pid, Free)} of
        {{Tag, Rest}, _} -> {Tag, {crashed, Reason}, replaced(Encoders#encoders{busy = Rest})};
        {error, true} -> {none, replaced(Encoders#encoders{free = lists:delete(Pid, Free)})};
        {error, false} -> unknown
    end;
handle(_, _) ->
    unknown.

-spec replaced(encoders()) -> encoders().
replaced(#encoders{function = Function} = Encoders) ->
    freed(start(Function), Encoders).

-spec freed(pid(), encoders()) -> encoders().
freed(Pid, #encoders{free = Free, backlog = Backlog} = Encoders) ->
    Ready = Encoders#encoders{free = [Pid | Free]},
    case queue:out(Backlog) of
        {{value, {Tag, Item}}, Rest} -> submit(Tag, Item, Ready#encoders{backlog = Rest});
        {empty, _} -> Ready
    end.
