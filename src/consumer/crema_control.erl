%% @doc What is done with a running consumer: pause and resume partitions, seek,
%% commit, ask for positions and lag, change the subscription.
%%
%% All of it may be called by any process on any node, by the consumer's pid or
%% name (`{Name, Node}' for a name of another node). Calls wait for up to 30
%% seconds, unless told how long (in milliseconds); `timeout' then says that
%% nothing is known: what was asked for may still happen.
%%
%% Partitions are `{Topic, Partition}', a list of them, or `all', which are those
%% that are assigned to this consumer at the moment. One that is named and is not
%% assigned to it is `{error, {not_assigned, #{topic := _, partition := _}}}', and
%% nothing is done then.
-module(crema_control).

-include("../port/crema_commands.hrl").

-export([pause/2, resume/2]).
-export([seek/3, seek/4]).
-export([commit/1, commit/2, commit/3, commit_async/1, commit_async/2]).
-export([position/1, position/2, committed/1, committed/2, committed/3]).
-export([watermarks/1, watermarks/2, watermarks/3, lag/1, lag/2]).
-export([subscribe/2, subscribe/3, add_topics/2, remove_topics/2, subscription/1]).
-export([is_where/1, packed_where/1, carry_out/3]).

-export_type([consumer/0, partitions/0, where/0, offset/0, position/0, lag/0]).

-type consumer() :: crema_types:client() | {Name :: atom(), node()}.
-type partition() :: {Topic :: iodata() | atom(), Partition :: non_neg_integer()}.
-type partitions() :: all | partition() | [partition()].
-type where() ::
    non_neg_integer() | earliest | beginning | latest | 'end'
    | {timestamp, non_neg_integer() | DateTime :: map()}.
%% An offset; `earliest' or `beginning'; `latest' or `end'; the first message that
%% is not older than that (milliseconds since 1970, or Elixir's DateTime), or the end without one.

-type offset() :: #{
    topic := binary(), partition := non_neg_integer(), offset := non_neg_integer()
}.
-type position() :: #{
    topic := binary(),
    partition := non_neg_integer(),
    delivered := non_neg_integer(),
    acknowledged := non_neg_integer(),
    stored := non_neg_integer()
}.
%% `delivered': behind the last message that was given to the partition's process.
%% `acknowledged': the first message that is not acknowledged, or the next one.
%% `stored': what is committed next.

-type lag() :: #{
    topic := binary(),
    partition := non_neg_integer(),
    stored := non_neg_integer(),
    high := non_neg_integer(),
    lag := non_neg_integer()
}.
%% `lag': messages, and gaps in the log, from `stored' to `high', behind the last
%% message of the partition. 0 when all is acknowledged.

-define(TIMEOUT, 30000).
%% The driver's own deadline comes first, with a better answer.
-define(MARGIN, 1000).
-define(MAX_OFFSET, 16#7FFFFFFFFFFFFFFF).
-define(MAX_MILLIS, 16#7FFFFFFF).

%% ---- pause -----------------------------------------------------------------------

%% @doc Handles no more messages of these partitions: once the call under way is
%% over, if there is one, no other begins. The partition is kept, and so is what
%% its process has got already. `all' pauses partitions to come as well.
%%
%% A pause lasts until {@link resume/2}: across rebalances, also of a partition
%% that goes and comes back, and across restarts of its handler. It ends with the
%% consumer, or when its supervisor starts the member again.
-spec pause(consumer(), partitions()) -> ok | crema_error:error().
pause(Consumer, Partitions) ->
    call(Consumer, {pause, places(Partitions), true}, ?TIMEOUT).

%% @doc Goes on where it was paused. `all' ends every pause.
-spec resume(consumer(), partitions()) -> ok | crema_error:error().
resume(Consumer, Partitions) ->
    call(Consumer, {pause, places(Partitions), false}, ?TIMEOUT).

%% ---- seek ------------------------------------------------------------------------

%% @doc Goes on elsewhere in the log, backward or forward. A handler finishes the
%% call it is at; what it acknowledges of before is refused as `stale_assignment',
%% and then a new process of the partition begins with `init/2' at that position,
%% which is committed (not with `commit => external'). What it returns says where
%% that is. During a rebalance it waits for the end of it.
%%
%% An offset that the log does not have leads to what the option `out_of_range'
%% says.
-spec seek(consumer(), partitions(), where()) -> {ok, [offset()]} | crema_error:error().
seek(Consumer, Partitions, Where) ->
    seek(Consumer, Partitions, Where, ?TIMEOUT).

%% @doc The same for at most so many milliseconds.
-spec seek(consumer(), partitions(), where(), timeout()) ->
    {ok, [offset()]} | crema_error:error().
seek(Consumer, Partitions, Where, Timeout) ->
    is_where(Where) orelse
        erlang:error(
            badarg,
            [Consumer, Partitions, Where, Timeout],
            crema_error:badarg(#{3 => <<"neither an offset, earliest, latest nor {timestamp, Ms}">>})
        ),
    call(Consumer, {seek, places(Partitions), packed_where(Where)}, Timeout).

%% @private Whether it says where to begin.
-spec is_where(term()) -> boolean().
is_where({timestamp, #{'__struct__' := 'Elixir.DateTime'} = Time}) ->
    is_where({timestamp, milliseconds(Time)});
is_where({timestamp, Ms}) -> is_integer(Ms) andalso Ms >= 0 andalso Ms =< ?MAX_OFFSET;
is_where(Offset) when is_integer(Offset) -> Offset >= 0 andalso Offset < ?MAX_OFFSET;
is_where(Name) -> lists:member(Name, [earliest, beginning, latest, 'end']).

%% @private As the driver reads it.
-spec packed_where(where()) -> {atom(), non_neg_integer()}.
packed_where({timestamp, Time}) when is_map(Time) -> {timestamp, milliseconds(Time)};
packed_where({timestamp, Ms}) -> {timestamp, Ms};
packed_where(Offset) when is_integer(Offset) -> {offset, Offset};
packed_where(Name) when Name =:= earliest; Name =:= beginning -> {beginning, 0};
packed_where(_) -> {'end', 0}.

%% Elixir's module is there when its structs are.
-spec milliseconds(map()) -> integer().
milliseconds(#{'__struct__' := Module} = Time) ->
    Module:to_unix(Time, millisecond).

%% ---- commit ------------------------------------------------------------------------

%% @doc Commits what is acknowledged now, without waiting for the next interval
%% (`auto.commit.interval.ms'), and returns what was committed: of each partition
%% the position before which all is acknowledged, if there is one yet.
%%
%% An error has `results' in its details: for each partition `{ok, Offset}' or its
%% error. With another `commit' than `auto' it is `commits_nothing'.
-spec commit(consumer()) -> {ok, [offset()]} | crema_error:error().
commit(Consumer) ->
    commit(Consumer, all).

%% @doc The same of some partitions.
-spec commit(consumer(), partitions()) -> {ok, [offset()]} | crema_error:error().
commit(Consumer, Partitions) ->
    commit(Consumer, Partitions, ?TIMEOUT).

%% @doc The same for at most so many milliseconds.
-spec commit(consumer(), partitions(), timeout()) -> {ok, [offset()]} | crema_error:error().
commit(Consumer, Partitions, Timeout) ->
    call(Consumer, {commit, places(Partitions)}, Timeout).

%% @doc Has it committed, and does not wait for that. A failure is the event
%% `[crema, consumer, commit_failed]'.
-spec commit_async(consumer()) -> ok | crema_error:error().
commit_async(Consumer) ->
    commit_async(Consumer, all).

%% @doc The same of some partitions.
-spec commit_async(consumer(), partitions()) -> ok | crema_error:error().
commit_async(Consumer, Partitions) ->
    call(Consumer, {commit_async, places(Partitions)}, ?TIMEOUT).

%% ---- questions -----------------------------------------------------------------------

%% @doc Where the assigned partitions are; asks no broker.
-spec position(consumer()) -> {ok, [position()]} | crema_error:error().
position(Consumer) ->
    position(Consumer, all).

%% @doc The same of some partitions.
-spec position(consumer(), partitions()) -> {ok, [position()]} | crema_error:error().
position(Consumer, Partitions) ->
    call(Consumer, {position, places(Partitions)}, ?TIMEOUT).

%% @doc Asks the brokers what the group has committed: an offset, or `none'. The
%% partitions need not be assigned to this consumer.
-spec committed(consumer()) ->
    {ok, [#{topic := binary(), partition := non_neg_integer(), offset := non_neg_integer() | none}]}
    | crema_error:error().
committed(Consumer) ->
    committed(Consumer, all).

%% @doc The same of some partitions.
-spec committed(consumer(), partitions()) ->
    {ok, [#{topic := binary(), partition := non_neg_integer(), offset := non_neg_integer() | none}]}
    | crema_error:error().
committed(Consumer, Partitions) ->
    committed(Consumer, Partitions, ?TIMEOUT).

%% @doc The same for at most so many milliseconds.
-spec committed(consumer(), partitions(), timeout()) ->
    {ok, [#{topic := binary(), partition := non_neg_integer(), offset := non_neg_integer() | none}]}
    | crema_error:error().
committed(Consumer, Partitions, Timeout) ->
    call(Consumer, {committed, places(Partitions)}, Timeout).

%% @doc Asks the brokers where partitions begin (`low') and end (`high', behind the
%% last message). They need not be assigned to this consumer.
-spec watermarks(consumer()) -> {ok, [map()]} | crema_error:error().
watermarks(Consumer) ->
    watermarks(Consumer, all).

%% @doc The same of some partitions.
-spec watermarks(consumer(), partitions()) -> {ok, [map()]} | crema_error:error().
watermarks(Consumer, Partitions) ->
    watermarks(Consumer, Partitions, ?TIMEOUT).

%% @doc The same for at most so many milliseconds.
-spec watermarks(consumer(), partitions(), timeout()) -> {ok, [map()]} | crema_error:error().
watermarks(Consumer, Partitions, Timeout) ->
    call(Consumer, {watermarks, places(Partitions)}, Timeout).

%% @doc How far the assigned partitions are behind; asks the brokers for their
%% ends. What the last fetches told of it is in `crema:info/1' and, summed up, in
%% `crema:status/1', without asking.
-spec lag(consumer()) -> {ok, [lag()]} | crema_error:error().
lag(Consumer) ->
    lag(Consumer, ?TIMEOUT).

%% @doc The same for at most so many milliseconds.
-spec lag(consumer(), timeout()) -> {ok, [lag()]} | crema_error:error().
lag(Consumer, Timeout) ->
    call(Consumer, lag, Timeout).

%% ---- subscription ----------------------------------------------------------------------

%% @doc Subscribes to these topics, and to no others: as the option `topics' has
%% them. `ok' says that it is asked for; what comes of it are rebalances. A topic
%% that is not there is the event `[crema, client, error]', code
%% `unknown_topic_or_part', and is taken up when it is made. Without topics the
%% consumer leaves its group, unless it has retry topics. Where the consumer sends
%% what failed cannot be subscribed to as well: `bad_call'.
-spec subscribe(consumer(), Topics :: term()) -> ok | crema_error:error().
subscribe(Consumer, Topics) ->
    subscribe(Consumer, Topics, ?TIMEOUT).

%% @doc The same for at most so many milliseconds.
-spec subscribe(consumer(), Topics :: term(), timeout()) -> ok | crema_error:error().
subscribe(Consumer, Topics, Timeout) ->
    call(Consumer, {subscribe, {replace, topics(Topics)}}, Timeout).

%% @doc Subscribes to these topics as well.
-spec add_topics(consumer(), Topics :: term()) -> ok | crema_error:error().
add_topics(Consumer, Topics) ->
    call(Consumer, {subscribe, {add, topics(Topics)}}, ?TIMEOUT).

%% @doc No longer subscribes to these topics, named as they were subscribed to.
-spec remove_topics(consumer(), Topics :: term()) -> ok | crema_error:error().
remove_topics(Consumer, Topics) ->
    call(Consumer, {subscribe, {remove, topics(Topics)}}, ?TIMEOUT).

%% @doc The topics and patterns that the consumer is subscribed to.
-spec subscription(consumer()) -> {ok, [binary()]} | crema_error:error().
subscription(Consumer) ->
    call(Consumer, subscription, ?TIMEOUT).

%% ---- arguments ---------------------------------------------------------------------------

-spec places(term()) -> all | [crema_group_events:place()].
places(all) ->
    all;
places({_, _} = Place) ->
    places([Place]);
places(Places) ->
    try
        lists:usort([place(Place) || Place <- Places])
    catch
        error:_ ->
            Text = <<"neither all, {Topic, Partition} nor a list of those">>,
            erlang:error(badarg, [consumer, Places], crema_error:badarg(#{2 => Text}))
    end.

-spec place(partition()) -> crema_group_events:place().
place({Topic, Partition}) when is_integer(Partition), Partition >= 0, Partition =< ?MAX_MILLIS ->
    {ok, <<_, _/binary>> = Name} = crema_input:text(Topic),
    {Name, Partition}.

-spec topics(term()) -> [binary()].
topics([]) ->
    [];
topics(Topics) ->
    case crema_option_type:check(topics, Topics) of
        {ok, Names} ->
            Names;
        {error, Text} ->
            erlang:error(badarg, [consumer, Topics], crema_error:badarg(#{2 => Text}))
    end.

%% ---- where the consumer is ---------------------------------------------------------------

%% A process of its own there waits for the driver: what comes too late ends with it.
-spec call(consumer(), term(), timeout()) -> term().
call(Consumer, Request, Timeout) ->
    crema_call:is_timeout(Timeout) orelse
        erlang:error(badarg, [Consumer, Timeout], crema_error:badarg(#{2 => <<"no timeout">>})),
    case node_of(Consumer) of
        none ->
            crema_registry:missing(consumer, Consumer);
        {Node, Ref} ->
            try
                Margin = crema_call:more(Timeout, ?MARGIN),
                erpc:call(Node, ?MODULE, carry_out, [Ref, Request, Timeout], Margin)
            catch
                error:{erpc, timeout} ->
                    crema_error:make(timeout, "the consumer did not answer in time", #{});
                error:{erpc, noconnection} ->
                    crema_error:make(closed, ["no connection to ", atom_to_list(Node)], #{});
                error:{exception, undef, _} ->
                    crema_error:make(not_found, ["crema does not run on ", atom_to_list(Node)], #{})
            end
    end.

-spec node_of(consumer()) -> {node(), crema_types:client()} | none.
node_of({Name, Node}) when is_atom(Name), is_atom(Node), Name =/= global, Name =/= local ->
    {Node, Name};
node_of(Ref) ->
    case crema_registry:whereis_name(Ref) of
        Pid when is_pid(Pid) -> {node(Pid), Pid};
        undefined -> none
    end.

%% @private Called on the consumer's node.
-spec carry_out(crema_types:client(), term(), timeout()) -> term().
carry_out(Ref, Request, Timeout) ->
    case crema_registry:lookup(Ref) of
        {ok, consumer, Port, #{prefix := Prefix}, Group} ->
            request(crema_prefix:request(Prefix, Request), {Port, Group}, Timeout);
        _ -> crema_registry:missing(consumer, Ref)
    end.

-type target() :: {port(), Group :: pid()}.

-spec request(term(), target(), timeout()) -> term().
request({seek, [], _}, _, _) ->
    {ok, []};
request({seek, Places, {Kind, Number}}, Target, Timeout) ->
    Millis = millis(Timeout),
    Command = fun(Tag) -> {?CMD_SEEK, {Tag, listed(Places), Kind, Number, Millis}} end,
    offsets(ask(Target, Command));
request({commit, []}, _, _) ->
    {ok, []};
request({commit, Places}, Target, _) ->
    committed_now(ask(Target, fun(Tag) -> {?CMD_COMMIT, {Tag, listed(Places)}} end));
request({commit_async, []}, _, _) ->
    ok;
request({commit_async, Places}, {Port, _}, _) ->
    Command = term_to_binary({<<>>, listed(Places)}),
    assigned(crema_port:command(Port, ?CMD_COMMIT, Command));
request({committed, []}, _, _) ->
    {ok, []};
request({committed, Places}, Target, Timeout) ->
    Millis = millis(Timeout),
    Answer = ask(Target, fun(Tag) -> {?CMD_COMMITTED, {Tag, listed(Places), Millis}} end),
    offsets(Answer);
request({watermarks, Places}, Target, Timeout) ->
    case ends(Places, beginning, Target, Timeout) of
        {ok, Lows} ->
            %% Of the same partitions.
            Same = [{Topic, Partition} || {Topic, Partition, _} <- Lows],
            watermarks_of(Lows, ends(Same, 'end', Target, Timeout));
        {error, _} = Error ->
            Error
    end;
request(lag, Target, Timeout) ->
    case request({position, all}, Target, Timeout) of
        {ok, Positions} ->
            Places = [{T, P} || #{topic := T, partition := P} <- Positions],
            lags(Positions, ends(Places, 'end', Target, Timeout));
        {error, _} = Error ->
            Error
    end;
request({position, Places}, {Port, _}, _) ->
    case crema_port:command(Port, ?CMD_SLOTS, <<>>) of
        {ok, Slots} -> positions(Places, Slots);
        {error, _} = Error -> Error
    end;
request(Request, {_, Group}, Timeout) ->
    try gen_server:call(Group, Request, Timeout) of
        {not_assigned, _} = Refusal -> assigned({ok, Refusal});
        Answer -> Answer
    catch
        exit:{timeout, _} -> crema_error:make(timeout, "the consumer did not answer in time", #{});
        exit:_ -> crema_registry:missing(consumer, Group)
    end.

-spec ask(target(), fun((binary()) -> {pos_integer(), term()})) -> term().
ask({Port, _}, Command) ->
    Packed = fun(Tag) ->
        {Number, Term} = Command(Tag),
        {Number, term_to_binary(Term)}
    end,
    assigned(crema_port:ask(Port, Packed, infinity, none)).

-spec millis(timeout()) -> non_neg_integer().
millis(infinity) -> ?MAX_MILLIS;
millis(Timeout) -> min(Timeout, ?MAX_MILLIS).

%% The driver takes none for all that are assigned.
-spec listed(all | [crema_group_events:place()]) -> [crema_group_events:place()].
listed(all) -> [];
listed(Places) -> Places.

-spec ends(all | [crema_group_events:place()], atom(), target(), timeout()) -> term().
ends([], _, _, _) ->
    {ok, []};
ends(Places, Where, Target, Timeout) ->
    Millis = millis(Timeout),
    ask(Target, fun(Tag) -> {?CMD_LIST_OFFSETS, {Tag, listed(Places), Where, 0, Millis}} end).

%% ---- answers -----------------------------------------------------------------------------

-spec assigned(term()) -> term().
assigned({ok, {not_assigned, {Topic, Partition}}}) ->
    assigned({ok, {not_assigned, Topic, Partition}});
assigned({ok, {not_assigned, Topic, Partition}}) ->
    crema_error:make(not_assigned, "the partition is not assigned to this consumer", #{
        topic => Topic, partition => Partition
    });
assigned(Answer) ->
    Answer.

-spec offsets(term()) -> {ok, [map()]} | crema_error:error().
offsets({ok, Offsets}) -> {ok, [offset(Entry) || Entry <- lists:sort(Offsets)]};
offsets({error, _} = Error) -> Error.

%% Kafka's -1001: nothing is committed.
-spec offset({binary(), non_neg_integer(), integer()}) -> map().
offset({Topic, Partition, Offset}) when Offset < 0 ->
    #{topic => Topic, partition => Partition, offset => none};
offset({Topic, Partition, Offset}) ->
    #{topic => Topic, partition => Partition, offset => Offset}.

-spec committed_now(term()) -> {ok, [offset()]} | crema_error:error().
committed_now({ok, Results}) ->
    Told = [result(Result) || Result <- lists:sort(Results)],
    case [Reason || {error, Reason} <- Told] of
        [] -> {ok, [Offset || {ok, Offset} <- Told]};
        [{Code, Details} | _] -> {error, {Code, Details#{results => Told}}}
    end;
committed_now({error, _} = Error) ->
    Error.

-spec result({binary(), non_neg_integer(), integer(), ok | {error, tuple()}}) ->
    {ok, offset()} | crema_error:error().
result({Topic, Partition, Offset, ok}) ->
    {ok, offset({Topic, Partition, Offset})};
result({Topic, Partition, _, Failed}) ->
    {error, {Code, Details}} = crema_port:error_or(Failed),
    {error, {Code, Details#{topic => Topic, partition => Partition}}}.

-spec positions(all | [crema_group_events:place()], [tuple()]) ->
    {ok, [position()]} | crema_error:error().
positions(all, Slots) ->
    {ok, [position_of(Slot) || Slot <- lists:keysort(2, lists:keysort(3, Slots))]};
positions(Places, Slots) ->
    By = maps:from_list([{{element(2, Slot), element(3, Slot)}, Slot} || Slot <- Slots]),
    case [Place || Place <- Places, not is_map_key(Place, By)] of
        [] -> {ok, [position_of(maps:get(Place, By)) || Place <- Places]};
        [Missing | _] -> assigned({ok, {not_assigned, Missing}})
    end.

-spec position_of(tuple()) -> position().
position_of(
    {_, Topic, Partition, Delivered, Stored, _, _, Acknowledged, _, _, _, _, _, _}
) ->
    #{
        topic => Topic,
        partition => Partition,
        delivered => Delivered,
        acknowledged => Acknowledged,
        stored => Stored
    }.

-spec watermarks_of([tuple()], term()) -> {ok, [map()]} | crema_error:error().
watermarks_of(Lows, {ok, Highs}) ->
    {ok, [
        #{topic => Topic, partition => Partition, low => Low, high => High}
     || {{Topic, Partition, Low}, {Topic, Partition, High}} <-
            lists:zip(lists:sort(Lows), lists:sort(Highs))
    ]};
watermarks_of(_, {error, _} = Error) ->
    Error.

-spec lags([position()], term()) -> {ok, [lag()]} | crema_error:error().
lags(Positions, {ok, Ends}) ->
    Highs = maps:from_list([{{Topic, Partition}, End} || {Topic, Partition, End} <- Ends]),
    {ok, [
        begin
            High = maps:get({Topic, Partition}, Highs),
            Place = maps:with([topic, partition, stored], Position),
            Place#{high => High, lag => max(0, High - Stored)}
        end
     || #{topic := Topic, partition := Partition, stored := Stored} = Position <- Positions
    ]};
lags(_, {error, _} = Error) ->
    Error.
