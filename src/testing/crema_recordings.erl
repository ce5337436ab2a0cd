%% @private What recording producers have recorded, and what tests have asked to be
%% done to it (crema_test is the interface). One process for all of them, so that a
%% recording outlives its producer; started by the first.
%%
%% A recording belongs to the family (crema_family) of the process that produced it,
%% and to the tests that were allowed one of that family. It goes when the root of
%% the family has ended and so have those tests; of a root that stays, as an
%% application's supervisor, the oldest go when there are too many.
-module(crema_recordings).
-behaviour(gen_server).

-export([ensure_started/0, add/4, settle/2, list/0, changed/2, allow/1, rule/1, reset/0]).
-export([start_link/0, init/1, handle_call/3, handle_cast/2, handle_info/2]).

-export_type([id/0, state/0, recording/0, rule/0, verdict/0]).

-type id() :: pos_integer().
%% `pending': its report is still to come; `open': its transaction is.
-type state() :: produced | pending | open | aborted | failed.
%% What was sent, by whom, and what became of it.
-type recording() :: #{
    producer := term(),
    state := state(),
    error => crema_error:code(),
    topic := binary(),
    partition := integer(),
    offset := integer(),
    key := binary() | undefined,
    value := binary() | undefined,
    headers := [{binary(), binary() | undefined}],
    timestamp := integer()
}.
%% Of the messages that match, the next so many are failed (a code of librdkafka's,
%% and a status), reported so late, or their call is refused.
-type rule() :: #{
    what := {fail, crema_error:code(), Number :: integer(), Status :: byte()}
        | {refuse, crema_error:code()} | {delay, Millis :: non_neg_integer()},
    times := pos_integer() | infinity,
    match := fun((recording()) -> boolean())
}.
-type verdict() :: {id(), ok | {Number :: integer(), Status :: byte()}, Offset :: integer()}.

-record(row, {
    id :: id(),
    root :: pid(),
    family :: [pid()],
    %% those that were allowed one of the family
    tests :: [pid()],
    recording :: map()
}).
-record(state, {
    version = 0 :: non_neg_integer(),
    rows = #{} :: #{id() => #row{}},
    %% of each root, oldest first
    roots = #{} :: #{pid() => queue:queue(id())},
    offsets = #{} :: #{{pid(), binary(), integer()} => non_neg_integer()},
    allowed = #{} :: #{pid() => Test :: pid()},
    rules = [] :: [{Test :: pid(), rule()}],
    monitors = #{} :: #{pid() => reference()},
    %% who wants to hear of the next change
    waiters = [] :: [gen_server:from()]
}).

-define(MOST_OF_A_ROOT, 10000).

-spec ensure_started() -> ok | {error, term()}.
ensure_started() ->
    Spec = #{id => ?MODULE, start => {?MODULE, start_link, []}},
    try is_pid(whereis(?MODULE)) orelse supervisor:start_child(crema_sup, Spec) of
        true -> ok;
        {ok, _} -> ok;
        {error, {already_started, _}} -> ok;
        {error, _} = Error -> Error
    catch
        exit:_ -> crema_error:make(closed, "the application crema is not started", #{})
    end.

-spec start_link() -> gen_server:start_ret().
start_link() ->
    gen_server:start_link({local, ?MODULE}, ?MODULE, [], []).

%% @doc Records a call's messages, in that state, unless they are to fail: what is to
%% be reported of each, and how late. Or the call is refused as a whole.
-spec add(crema_family:family(), Producer :: term(), state(), [map()]) ->
    {ok, [verdict()], Late :: non_neg_integer()} | {refuse, crema_error:code()}.
add(Family, Producer, State, Messages) ->
    gen_server:call(?MODULE, {add, Family, Producer, State, Messages}, infinity).

%% @doc What has become of them.
-spec settle([id()], state() | {failed, crema_error:code()}) -> ok.
settle([], _State) ->
    ok;
settle(Ids, State) ->
    gen_server:call(?MODULE, {settle, Ids, State}, infinity).

%% @doc All that belongs to the calling process, in its order. The version is for
%% {@link changed/2}.
-spec list() -> {Version :: non_neg_integer(), [recording()]}.
list() ->
    call(list, {0, []}).

%% @doc Waits until there is a later version, for so long at most.
-spec changed(Version :: non_neg_integer(), timeout()) -> ok | timeout.
changed(Version, Timeout) ->
    try
        gen_server:call(?MODULE, {changed, Version}, Timeout)
    catch
        exit:{timeout, _} -> timeout
    end.

%% @doc What that process, and those it starts and calls for, produce from now on is
%% the calling test's too. `taken' when it is another's already.
-spec allow(pid()) -> ok | {taken, By :: pid()}.
allow(Pid) ->
    call({allow, Pid}, ok).

-spec rule(rule()) -> ok.
rule(Rule) ->
    call({rule, Rule}, ok).

%% @doc Forgets all that belongs to the calling process: recordings and rules.
-spec reset() -> ok.
reset() ->
    call(reset, ok).

-spec call(term(), Stopped :: term()) -> term().
call(Request, Stopped) ->
    case ensure_started() of
        ok -> gen_server:call(?MODULE, Request, infinity);
        {error, _} -> Stopped
    end.

-spec init([]) -> {ok, #state{}}.
init([]) ->
    %% Where that is a mistake it must not go unseen.
    logger:info("crema: producers with the option record send nothing"),
    {ok, #state{}}.

-spec handle_call(term(), gen_server:from(), #state{}) ->
    {reply, term(), #state{}} | {noreply, #state{}}.
handle_call({add, Family, Producer, As, Messages}, _From, State) ->
    {Reply, New} = add(Family, Producer, As, Messages, State),
    {reply, Reply, New};
handle_call({settle, Ids, As}, _From, #state{rows = Rows} = State) ->
    {reply, ok, changed(State#state{rows = lists:foldl(fun(Id, R) -> settled(Id, As, R) end, Rows, Ids)})};
handle_call(list, {Test, _}, #state{version = Version} = State) ->
    {reply, {Version, [R || #row{recording = R} <- of_test(Test, State)]}, State};
handle_call({changed, Version}, From, #state{version = Version, waiters = Waiters} = State) ->
    {noreply, State#state{waiters = [From | Waiters]}};
handle_call({changed, _}, _From, State) ->
    {reply, ok, State};
handle_call({allow, Pid}, {Test, _}, #state{allowed = Allowed} = State) ->
    case Allowed of
        #{Pid := Other} when Other =/= Test ->
            {reply, {taken, Other}, State};
        _ ->
            {reply, ok, watch(Pid, watch(Test, State#state{allowed = Allowed#{Pid => Test}}))}
    end;
handle_call({rule, Rule}, {Test, _}, #state{rules = Rules} = State) ->
    {reply, ok, watch(Test, State#state{rules = Rules ++ [{Test, Rule}]})};
handle_call(reset, {Test, _}, #state{rules = Rules} = State) ->
    Ids = [Id || #row{id = Id} <- of_test(Test, State)],
    Left = [Rule || {Of, _} = Rule <- Rules, Of =/= Test],
    {reply, ok, changed(forget(Ids, State#state{rules = Left}))};
handle_call(_, _From, State) ->
    {reply, {error, unknown_call}, State}.

-spec handle_cast(term(), #state{}) -> {noreply, #state{}}.
handle_cast(_, State) ->
    {noreply, State}.

-spec handle_info(term(), #state{}) -> {noreply, #state{}}.
handle_info({'DOWN', _, process, Pid, _}, State) ->
    {noreply, ended(Pid, State)};
handle_info(_, State) ->
    {noreply, State}.

%% ---- recordings ---------------------------------------------------------------------

-spec add(crema_family:family(), term(), state(), [map()], #state{}) ->
    {{ok, [verdict()], non_neg_integer()} | {refuse, crema_error:code()}, #state{}}.
add({Root, Family}, Producer, As, Messages, #state{allowed = Allowed} = State) ->
    Tests = lists:usort([Test || Pid <- Family, {ok, Test} <- [maps:find(Pid, Allowed)]]),
    About = #row{id = 1, root = Root, family = Family, tests = Tests, recording = #{}},
    Given = [Message#{producer => Producer, state => As} || Message <- Messages],
    case refused(Given, About, State) of
        {Code, New} ->
            {{refuse, Code}, New};
        none ->
            {Verdicts, {Late, New}} = lists:mapfoldl(
                fun(Recording, Acc) -> add_one(Recording, About, Acc) end,
                {0, watch(Root, State)},
                Given
            ),
            {{ok, Verdicts, Late}, changed(bounded(Root, New))}
    end.

-spec refused([map()], #row{}, #state{}) -> {crema_error:code(), #state{}} | none.
refused([Recording | Rest], About, State) ->
    case apply_rule(refuse, Recording, About, State) of
        {{refuse, Code}, New} -> {Code, New};
        none -> refused(Rest, About, State)
    end;
refused([], _About, _State) ->
    none.

-spec add_one(map(), #row{}, {non_neg_integer(), #state{}}) ->
    {verdict(), {non_neg_integer(), #state{}}}.
add_one(Recording, About, {Late, State}) ->
    {Delay, Delayed} =
        case apply_rule(delay, Recording, About, State) of
            {{delay, Millis}, Used} -> {Millis, Used};
            none -> {0, State}
        end,
    case apply_rule(fail, Recording, About, Delayed) of
        {{fail, Code, Number, Status}, Failing} ->
            Failed = Recording#{state := failed, error => Code, offset => -1001},
            {Id, New} = put_row(Failed, About, Failing),
            {{Id, {Number, Status}, -1001}, {max(Late, Delay), New}};
        none ->
            {Offset, Counted} = next_offset(Recording, About, Delayed),
            {Id, New} = put_row(late(Delay, Recording#{offset => Offset}), About, Counted),
            {{Id, ok, Offset}, {max(Late, Delay), New}}
    end.

-spec late(non_neg_integer(), map()) -> map().
late(0, Recording) -> Recording;
late(_, Recording) -> Recording#{state := pending}.

%% From 0 on for each test, whatever others produce meanwhile.
-spec next_offset(map(), #row{}, #state{}) -> {non_neg_integer(), #state{}}.
next_offset(#{topic := Topic, partition := Partition}, #row{root = Root}, State) ->
    #state{offsets = Offsets} = State,
    Key = {Root, Topic, Partition},
    Offset = maps:get(Key, Offsets, 0),
    {Offset, State#state{offsets = Offsets#{Key => Offset + 1}}}.

-spec put_row(map(), #row{}, #state{}) -> {id(), #state{}}.
put_row(Recording, #row{root = Root} = About, #state{rows = Rows, roots = Roots} = State) ->
    Id = erlang:unique_integer([positive, monotonic]),
    Queue = queue:in(Id, maps:get(Root, Roots, queue:new())),
    Row = About#row{id = Id, recording = Recording},
    {Id, State#state{rows = Rows#{Id => Row}, roots = Roots#{Root => Queue}}}.

-spec bounded(pid(), #state{}) -> #state{}.
bounded(Root, #state{roots = Roots, rows = Rows} = State) ->
    case Roots of
        #{Root := Queue} ->
            case queue:len(Queue) > ?MOST_OF_A_ROOT of
                true ->
                    {{value, Oldest}, Rest} = queue:out(Queue),
                    Left = State#state{
                        rows = maps:remove(Oldest, Rows), roots = Roots#{Root := Rest}
                    },
                    bounded(Root, Left);
                false ->
                    State
            end;
        #{} ->
            State
    end.

-spec settled(id(), state() | {failed, crema_error:code()}, #{id() => #row{}}) ->
    #{id() => #row{}}.
settled(Id, As, Rows) ->
    case {Rows, As} of
        {#{Id := #row{recording = #{state := failed}}}, _} ->
            Rows;
        {#{Id := #row{recording = Recording} = Row}, {failed, Code}} ->
            Rows#{Id := Row#row{recording = Recording#{state := failed, error => Code}}};
        {#{Id := #row{recording = Recording} = Row}, _} ->
            Rows#{Id := Row#row{recording = Recording#{state := As}}};
        %% Its test has ended.
        {#{}, _} ->
            Rows
    end.

-spec of_test(pid(), #state{}) -> [#row{}].
of_test(Test, #state{rows = Rows}) ->
    lists:keysort(#row.id, [Row || Row <- maps:values(Rows), is_of(Test, Row)]).

-spec is_of(pid(), #row{}) -> boolean().
is_of(Test, #row{family = Family, tests = Tests}) ->
    lists:member(Test, Family) orelse lists:member(Test, Tests).

-spec changed(#state{}) -> #state{}.
changed(#state{version = Version, waiters = Waiters} = State) ->
    lists:foreach(fun(From) -> gen_server:reply(From, ok) end, Waiters),
    State#state{version = Version + 1, waiters = []}.

%% ---- rules --------------------------------------------------------------------------

%% The first of that kind which matches is used up by one.
-spec apply_rule(fail | delay | refuse, map(), #row{}, #state{}) -> {tuple(), #state{}} | none.
apply_rule(Kind, Recording, About, #state{rules = Rules} = State) ->
    Applies = fun({Test, #{what := What, match := Match}}) ->
        element(1, What) =:= Kind andalso is_of(Test, About) andalso matches(Match, Recording)
    end,
    case lists:splitwith(fun(Rule) -> not Applies(Rule) end, Rules) of
        {_, []} ->
            none;
        {Before, [{_, #{what := What, times := 1}} | Rest]} ->
            {What, State#state{rules = Before ++ Rest}};
        {_, [{_, #{what := What, times := infinity}} | _]} ->
            {What, State};
        {Before, [{Test, #{what := What, times := Times} = Rule} | Rest]} ->
            {What, State#state{rules = Before ++ [{Test, Rule#{times := Times - 1}} | Rest]}}
    end.

%% A test's function: its failure is not that of other tests.
-spec matches(fun((recording()) -> boolean()), map()) -> boolean().
matches(Match, Recording) ->
    try
        Match(Recording) =:= true
    catch
        Class:Reason ->
            logger:error("a function given to crema_test failed with ~s ~0tp", [Class, Reason]),
            false
    end.

%% ---- the end ------------------------------------------------------------------------

-spec watch(pid(), #state{}) -> #state{}.
watch(Pid, #state{monitors = Monitors} = State) when is_map_key(Pid, Monitors) ->
    State;
watch(Pid, #state{monitors = Monitors} = State) ->
    State#state{monitors = Monitors#{Pid => erlang:monitor(process, Pid)}}.

-spec ended(pid(), #state{}) -> #state{}.
ended(Pid, State) ->
    #state{rows = Rows, allowed = Allowed, rules = Rules, offsets = Offsets} = State,
    Is = fun(Test) -> Test =/= Pid end,
    Without = maps:map(
        fun(_, #row{tests = Tests} = Row) -> Row#row{tests = lists:filter(Is, Tests)} end, Rows
    ),
    Gone = [
        Id
     || #row{id = Id, root = Root, tests = Tests} <- maps:values(Rows),
        Tests =:= [Pid] orelse (Root =:= Pid andalso not lists:any(Is, Tests))
    ],
    forget(Gone, State#state{
        rows = Without,
        monitors = maps:remove(Pid, State#state.monitors),
        allowed = maps:filter(fun(Of, Test) -> Of =/= Pid andalso Test =/= Pid end, Allowed),
        rules = [Rule || {Test, _} = Rule <- Rules, Test =/= Pid],
        offsets = maps:filter(fun({Root, _, _}, _) -> Root =/= Pid end, Offsets)
    }).

-spec forget([id()], #state{}) -> #state{}.
forget(Ids, #state{rows = Rows, roots = Roots} = State) ->
    Left = maps:without(Ids, Rows),
    Kept = maps:map(
        fun(_, Queue) -> queue:filter(fun(Id) -> is_map_key(Id, Left) end, Queue) end, Roots
    ),
    State#state{
        rows = Left, roots = maps:filter(fun(_, Queue) -> not queue:is_empty(Queue) end, Kept)
    }.
