%% The account of the demo: what is produced, handled and acknowledged, and the words counted in
%% each partition. It also keeps the producer from running away from the group.
-module(demo_counter).
-behaviour(gen_server).

%% For the source.
-export([reserve/2]).
%% For the handlers.
-export([count/3, acknowledged/2]).
%% For the story and the display.
-export([start_link/0, notify/1, totals/0, partitions/0]).
-export([init/1, handle_call/3, handle_cast/2]).

-export_type([totals/0]).

%% How far the producer may be ahead of the group, over all partitions: well below what an embedded
%% cluster retains of each.
-define(LEAD_LINES, 20_000).
-define(LEAD_BYTES, 2 * 1024 * 1024).

-type totals() :: #{
    produced := non_neg_integer(),
    handled := non_neg_integer(),
    acknowledged := non_neg_integer(),
    redelivered := non_neg_integer()
}.

-record(state, {
    totals = #{produced => 0, handled => 0, acknowledged => 0, redelivered => 0} :: totals(),
    %% Bytes produced and not handled yet.
    lead_bytes = 0 :: integer(),
    %% The source, while it waits for room.
    source = none :: none | {gen_server:from(), pos_integer(), non_neg_integer()},
    %% Who waits for how many acknowledged lines.
    watchers = [] :: [{pid(), non_neg_integer()}],
    partitions = #{} :: #{non_neg_integer() => demo_partition:partition()}
}).

-spec start_link() -> {ok, pid()} | {error, term()}.
start_link() ->
    gen_server:start_link({local, ?MODULE}, ?MODULE, [], []).

%% Waits until there is room for so many lines more, and takes it.
-spec reserve(Lines :: pos_integer(), Bytes :: non_neg_integer()) -> ok.
reserve(Lines, Bytes) ->
    gen_server:call(?MODULE, {reserve, Lines, Bytes}, infinity).

%% Counts a line, unless it was counted before.
-spec count(Partition :: integer(), Offset :: integer(), demo_partition:line()) -> ok.
count(Partition, Offset, Line) ->
    gen_server:call(?MODULE, {count, Partition, Offset, Line}, infinity).

-spec acknowledged(Partition :: integer(), Offset :: integer()) -> ok.
acknowledged(Partition, Offset) ->
    gen_server:cast(?MODULE, {acknowledged, Partition, Offset}).

%% Sends the caller {acknowledged, Lines} as soon as so many lines are.
-spec notify(Lines :: non_neg_integer()) -> ok.
notify(Lines) ->
    gen_server:cast(?MODULE, {notify, self(), Lines}).

-spec totals() -> totals().
totals() ->
    gen_server:call(?MODULE, totals, infinity).

-spec partitions() -> #{non_neg_integer() => demo_partition:summary()}.
partitions() ->
    gen_server:call(?MODULE, partitions, infinity).

-spec init([]) -> {ok, #state{}}.
init([]) ->
    {ok, #state{}}.

-spec handle_call(term(), gen_server:from(), #state{}) ->
    {reply, term(), #state{}} | {noreply, #state{}}.
handle_call({reserve, Lines, Bytes}, From, State) ->
    {noreply, grant(State#state{source = {From, Lines, Bytes}})};
handle_call({count, Partition, Offset, Line}, _From, State) ->
    {reply, ok, count_line(Partition, Offset, Line, State)};
handle_call(totals, _From, State) ->
    {reply, State#state.totals, State};
handle_call(partitions, _From, #state{partitions = Partitions} = State) ->
    {reply, maps:map(fun(_Number, P) -> demo_partition:summary(P) end, Partitions), State}.

-spec handle_cast(term(), #state{}) -> {noreply, #state{}}.
handle_cast({acknowledged, Number, Offset}, #state{partitions = Partitions} = State0) ->
    {Seen, Partition} = demo_partition:acknowledge(Offset, map_get(Number, Partitions)),
    State = State0#state{partitions = Partitions#{Number := Partition}},
    case Seen of
        first -> {noreply, tell(add(acknowledged, 1, State))};
        again -> {noreply, State}
    end;
handle_cast({notify, Pid, Lines}, #state{watchers = Watchers} = State) ->
    {noreply, tell(State#state{watchers = [{Pid, Lines} | Watchers]})}.

count_line(Number, Offset, Line, #state{partitions = Partitions, lead_bytes = Lead} = State0) ->
    Before = maps:get(Number, Partitions, demo_partition:new()),
    {Seen, Partition} = demo_partition:count(Offset, Line, Before),
    State = State0#state{partitions = Partitions#{Number => Partition}},
    case Seen of
        first -> grant(add(handled, 1, State#state{lead_bytes = Lead - map_get(bytes, Line)}));
        again -> add(redelivered, 1, State)
    end.

add(What, Count, #state{totals = Totals} = State) ->
    State#state{totals = Totals#{What := map_get(What, Totals) + Count}}.

%% Lets the source go on if its lines fit. With nothing ahead it always may: else a line longer than
%% all the room would wait for ever.
grant(#state{source = none} = State) ->
    State;
grant(#state{source = {From, Lines, Bytes}, totals = Totals, lead_bytes = LeadBytes} = State) ->
    #{produced := Produced, handled := Handled} = Totals,
    Lead = Produced - Handled,
    case Lead =:= 0 orelse (Lead + Lines =< ?LEAD_LINES andalso LeadBytes + Bytes =< ?LEAD_BYTES) of
        true ->
            gen_server:reply(From, ok),
            add(produced, Lines, State#state{source = none, lead_bytes = LeadBytes + Bytes});
        false ->
            State
    end.

tell(#state{watchers = []} = State) ->
    State;
tell(#state{watchers = Watchers, totals = #{acknowledged := Acknowledged}} = State) ->
    {Due, Waiting} = lists:partition(fun({_, Lines}) -> Lines =< Acknowledged end, Watchers),
    lists:foreach(fun({Pid, Lines}) -> Pid ! {acknowledged, Lines} end, Due),
    State#state{watchers = Waiting}.
