%% @private Stands in for the port of a producer that was started with `record': takes
%% the same commands, gives the messages to crema_recordings instead of sending them,
%% and reports as the driver does.
%%
%% It has a client of librdkafka's, without brokers, which judges properties, topics'
%% configurations and credentials, so that what is wrong in production is wrong in
%% tests.
-module(crema_recorder).
-behaviour(gen_server).

-include("../port/crema_commands.hrl").

%% Of librdkafka.
-define(INCONSISTENT, -149).

-export([option/0, defaults/1, start/3]).
-export([init/1, handle_call/3, handle_cast/2, handle_info/2, terminate/2, format_status/1]).

%% A call whose reports are not sent yet.
-record(call, {
    mode :: byte(),
    number :: non_neg_integer(),
    caller :: pid(),
    reporter :: boolean(),
    %% who awaits it: of a waiting call its own tag, of a kept one who has come
    tag = none :: none | binary(),
    %% of which it is part, or 0
    epoch :: non_neg_integer(),
    ids :: [crema_recordings:id()],
    topics :: [binary()],
    entries :: [crema_recorded_call:entry()],
    bytes :: non_neg_integer()
}).

-record(state, {
    producer :: pid(),
    name :: term(),
    %% librdkafka's, without brokers
    inner :: port(),
    rules :: crema_recorder_rules:rules(),
    %% of reports that an event lists; none: there are no such events
    tally :: none | non_neg_integer(),
    reporter = none :: none | pid(),
    %% reports that it was sent and is not done with
    uncalled = 0 :: non_neg_integer(),
    late = #{} :: #{reference() => #call{}},
    kept :: crema_left:left(),
    flushes = [] :: [{pid(), binary()}],
    %% who waits for the first report of the transaction
    first = none :: none | {pid(), binary()},
    epoch = 0 :: non_neg_integer(),
    %% of the open transaction, and the error of a message of it that has failed
    transaction = [] :: [crema_recordings:id()],
    broken = none :: none | integer(),
    takes = true :: boolean(),
    accepted = 0 :: non_neg_integer(),
    reported = 0 :: non_neg_integer(),
    delivered = 0 :: non_neg_integer()
}).

%% @doc The row of the table of options.
-spec option() -> crema_options:row().
option() ->
    #{
        name => record,
        scope => [producer],
        type => record,
        default => false,
        unit => none,
        doc =>
            <<"for tests: messages are recorded (see crema_test) and not sent, and there need be no "
                "broker; a map has the topics' numbers of partitions, which are 4 else">>
    }.

%% @doc What need not be given to such a producer.
-spec defaults(map()) -> map().
defaults(#{record := Record} = Values) when Record =/= false ->
    maps:merge(#{bootstrap_servers => <<"recorded">>}, Values);
defaults(Values) ->
    Values.

%% @doc In place of a port, for a producer with these options.
-spec start(map(), [{binary(), crema_properties:value()}], [{binary(), integer()}]) ->
    {ok, pid(), binary()} | crema_error:error().
start(Options, Properties, Limits) ->
    Alone = [Property || {Key, _} = Property <- Properties, Key =/= <<"bootstrap.servers">>],
    case gen_server:start(?MODULE, {self(), Options, Alone, Limits}, []) of
        {ok, Pid} -> {ok, Pid, <<>>};
        {error, _} = Error -> Error
    end.

-spec init({pid(), map(), list(), list()}) -> {ok, #state{}} | {stop, term()}.
init({Producer, #{name := Name} = Options, Properties, Limits}) ->
    process_flag(trap_exit, true),
    case {crema_recordings:ensure_started(), crema_client:open(producer, quiet(Properties), Limits)} of
        {ok, {ok, Inner, _}} ->
            true = link(Producer),
            {ok, #state{
                producer = Producer,
                name =
                    case Name of
                        undefined -> Producer;
                        _ -> crema_child:shown_name(Name)
                    end,
                inner = Inner,
                rules = crema_recorder_rules:new(Options),
                tally = tally(Limits),
                kept = crema_left:new(maps:get(max_unclaimed, Options))
            }};
        {ok, {error, Reason}} ->
            {stop, Reason};
        {{error, Reason}, _} ->
            {stop, Reason}
    end.

%% It has no brokers, which is no news.
-spec quiet([{binary(), crema_properties:value()}]) -> [{binary(), crema_properties:value()}].
quiet(Properties) ->
    lists:keystore(<<"log_level">>, 1, Properties, {<<"log_level">>, <<"0">>}).

-spec tally([{binary(), integer()}]) -> none | non_neg_integer().
tally(Limits) ->
    case lists:keymember(<<"tally">>, 1, Limits) of
        true -> proplists:get_value(<<"tally_listed">>, Limits, 0);
        false -> none
    end.

-spec handle_call(term(), gen_server:from(), #state{}) ->
    {reply, term(), #state{}} | {stop, normal, ok, #state{}}.
handle_call(owner, _From, #state{producer = Producer} = State) ->
    {reply, Producer, State};
handle_call({command, ?CMD_PRODUCE, Data, Family}, {Caller, _}, State) ->
    {Answer, New} = produce(crema_recorded_call:decode(Data), Caller, Family, State),
    {reply, Answer, New};
handle_call({send, Data, Family}, {Caller, _}, State) ->
    #{tag := Tag, mode := Mode} = Call = crema_recorded_call:behind(Data),
    %% Answered by its reports, or else by a packet.
    case produce(Call, Caller, Family, State) of
        {ok, New} when Mode =/= ?MODE_WAIT -> {reply, ok, answer({Caller, Tag}, ok, New)};
        {ok, New} -> {reply, ok, New};
        {Error, New} -> {reply, Error, New}
    end;
handle_call({command, ?CMD_CLOSE, Tag, _}, {Caller, _}, State) ->
    Closed = close(State),
    {stop, normal, ok, answer({Caller, Tag}, ok, Closed)};
handle_call({command, Command, Data, _}, {Caller, _}, State) ->
    {Answer, New} = command(Command, Data, Caller, State),
    {reply, Answer, New};
handle_call(_, _From, State) ->
    {reply, {error, unknown_call}, State}.

-spec handle_cast(term(), #state{}) -> {noreply, #state{}}.
handle_cast(_, State) ->
    {noreply, State}.

-spec handle_info(term(), #state{}) -> {noreply, #state{}} | {stop, term(), #state{}}.
handle_info({timeout, Timer, late}, #state{late = Late} = State) when is_map_key(Timer, Late) ->
    {Call, Rest} = maps:take(Timer, Late),
    {noreply, served(report(Call, State#state{late = Rest}))};
handle_info({'EXIT', Producer, _}, #state{producer = Producer} = State) ->
    {stop, normal, close(State)};
handle_info({'EXIT', Inner, Reason}, #state{inner = Inner} = State) ->
    {stop, {port_closed, Reason}, State};
handle_info({'DOWN', _, process, Caller, _}, #state{kept = Kept} = State) ->
    {noreply, State#state{kept = crema_left:gone(Caller, Kept)}};
%% What the inner client says of itself.
handle_info(_, State) ->
    {noreply, State}.

-spec terminate(term(), #state{}) -> ok.
terminate(_Reason, #state{inner = Inner}) ->
    _ = crema_client:close_async(Inner),
    ok.

-spec format_status(gen_server:format_status()) -> gen_server:format_status().
format_status(Status) ->
    crema_secret:status(Status, fun(#state{producer = Producer}) -> Producer end).

%% ---- commands -----------------------------------------------------------------------

-spec command(crema_port:command(), binary(), pid(), #state{}) -> {term(), #state{}}.
command(?CMD_INFO, _, _Caller, State) ->
    {{ok, counts(State)}, State};
command(?CMD_METADATA, Data, Caller, #state{rules = Rules} = State) ->
    {Tag, Topic, _, _} = binary_to_term(Data),
    Topics = [{Topic, crema_recorder_rules:count(Topic, Rules)} || Topic =/= <<>>],
    {ok, answer({Caller, Tag}, {ok, {[], Topics}}, State)};
command(?CMD_AWAIT, <<Number:64, Tag/binary>>, Caller, State) ->
    await(Number, Caller, Tag, State);
command(?CMD_LOOK, <<Number:64>>, Caller, #state{kept = Kept} = State) ->
    case {find_late(Number, Caller, State), crema_left:has(Caller, Number, Kept)} of
        {{ok, _, _}, _} -> {wait, State};
        {none, true} -> {ok, State};
        {none, false} -> {unknown(), State}
    end;
command(?CMD_CANCEL, <<?CANCEL_REPORTS, Number:64>>, Caller, #state{late = Late} = State) ->
    case find_late(Number, Caller, State) of
        {ok, Timer, Call} ->
            Keeps = Call#call{mode = ?MODE_KEEP, tag = none},
            {ok, State#state{late = Late#{Timer := Keeps}}};
        none ->
            {not_waiting(), State}
    end;
command(?CMD_CANCEL, <<?CANCEL_FLUSH, Tag/binary>>, Caller, #state{flushes = Flushes} = State) ->
    case lists:member({Caller, Tag}, Flushes) of
        true -> {ok, State#state{flushes = lists:delete({Caller, Tag}, Flushes)}};
        false -> {not_waiting(), State}
    end;
command(?CMD_CANCEL, _, _Caller, State) ->
    {not_waiting(), State};
command(?CMD_FLUSH, Tag, Caller, #state{flushes = Flushes} = State) ->
    {ok, served(State#state{flushes = [{Caller, Tag} | Flushes]})};
command(?CMD_PURGE, _, _Caller, State) ->
    {ok, purge(State)};
command(?CMD_TALLIED, _, _Caller, State) ->
    {ok, State};
command(?CMD_REPORTER, _, Caller, State) ->
    {ok, State#state{reporter = Caller}};
command(?CMD_REPORTED, <<Count:32>>, _Caller, #state{uncalled = Uncalled, late = Late} = State) ->
    Left = max(0, Uncalled - Count),
    case Left =:= 0 andalso not lists:any(fun(#call{reporter = R}) -> R end, maps:values(Late)) of
        true -> {{ok, idle}, State#state{uncalled = Left}};
        false -> {ok, State#state{uncalled = Left}}
    end;
command(Command, _, _Caller, #state{late = Late, epoch = Epoch} = State) when
    Command =:= ?CMD_RETIRE orelse Command =:= ?CMD_DRAIN,
    map_size(Late) > 0 andalso Command =:= ?CMD_RETIRE orelse Epoch =/= 0
->
    {crema_error:make(busy, "messages are outstanding, or a transaction is open", #{}), State};
command(Command, _, _Caller, State) when Command =:= ?CMD_RETIRE; Command =:= ?CMD_DRAIN ->
    {ok, State#state{takes = false}};
command(?CMD_TRANSACT, <<What, Epoch:32, Tag/binary>>, Caller, State) ->
    {ok, transact(What, Epoch, {Caller, Tag}, State)};
command(?CMD_SEND_OFFSETS, Data, Caller, State) ->
    {ok, answer({Caller, element(1, binary_to_term(Data))}, ok, State)};
command(?CMD_TOPIC_CONFIG, Data, _Caller, #state{inner = Inner, rules = Rules} = State) ->
    case crema_port:command(Inner, ?CMD_TOPIC_CONFIG, Data) of
        {ok, Variant} = Known ->
            New = crema_recorder_rules:variant(Variant, binary_to_term(Data), Rules),
            {Known, State#state{rules = New}};
        Error ->
            {Error, State}
    end;
command(Command, Data, _Caller, #state{inner = Inner} = State) ->
    {crema_port:command(Inner, Command, Data), State}.

-spec counts(#state{}) -> [{atom(), non_neg_integer()}].
counts(#state{late = Late, kept = Kept} = State) ->
    Calls = maps:values(Late),
    [
        {queue_messages, lists:sum([length(Ids) || #call{ids = Ids} <- Calls])},
        {queue_bytes, lists:sum([Bytes || #call{bytes = Bytes} <- Calls])},
        {accepted, State#state.accepted},
        {reported, State#state.reported},
        {delivered, State#state.delivered},
        {waiting_callers, 0},
        {unclaimed_reports, length(crema_left:all(Kept))},
        {uncalled_reports, State#state.uncalled}
    ].

-spec await(pos_integer(), pid(), binary(), #state{}) -> {term(), #state{}}.
await(Number, Caller, Tag, #state{kept = Kept, late = Late} = State) ->
    case {crema_left:take(Caller, Number, Kept), find_late(Number, Caller, State)} of
        {{Packed, Rest}, _} ->
            {{packed, Packed}, State#state{kept = Rest}};
        {error, {ok, Timer, Call}} ->
            {ok, State#state{late = Late#{Timer := Call#call{mode = ?MODE_WAIT, tag = Tag}}}};
        {error, none} ->
            {unknown(), State}
    end.

-spec find_late(pos_integer(), pid(), #state{}) -> {ok, reference(), #call{}} | none.
find_late(Number, Caller, #state{late = Late}) ->
    Found = [
        {ok, Timer, Call}
     || {Timer, #call{number = N, caller = Pid, mode = Mode} = Call} <- maps:to_list(Late),
        N =:= Number andalso Pid =:= Caller,
        Mode =:= ?MODE_KEEP orelse Mode =:= ?MODE_WAIT
    ],
    hd(Found ++ [none]).

-spec unknown() -> crema_error:error().
unknown() ->
    Text = "it was awaited already, is another process's, or was forgotten",
    crema_error:make(unknown_reference, Text, #{}).

-spec not_waiting() -> crema_error:error().
not_waiting() ->
    crema_error:make(not_waiting, "it was answered already", #{}).

-spec answer({pid(), binary()}, term(), #state{}) -> #state{}.
answer({_, <<>>}, _, State) ->
    State;
answer({Pid, Tag}, Answer, State) ->
    Pid ! {binary_to_term(Tag), term_to_binary(Answer)},
    State.

%% ---- produce ------------------------------------------------------------------------

-spec produce(crema_recorded_call:call(), pid(), crema_family:family(), #state{}) ->
    {ok | crema_error:error(), #state{}}.
produce(_Call, _Caller, _Family, #state{takes = false} = State) ->
    {crema_error:make(closed, "the client is closed", #{}), State};
produce(#{epoch := Epoch}, _Caller, _Family, #state{epoch = Open} = State) when Epoch =/= Open ->
    {crema_transaction_error:stale(), State};
produce(#{messages := Messages} = Call, Caller, Family, #state{rules = Rules} = State) ->
    case crema_recorder_rules:refusal(Messages, Rules) of
        none -> admitted(Call, Caller, Family, State);
        Refused -> {Refused, State}
    end.

-spec admitted(crema_recorded_call:call(), pid(), crema_family:family(), #state{}) ->
    {ok | crema_error:error(), #state{}}.
admitted(#{epoch := Epoch, messages := Given, variant := Variant} = Call, Caller, Family, State) ->
    #state{name = Name, rules = Rules, accepted = Accepted} = State,
    Messages = [crema_recorder_rules:place(Message, Variant, Rules) || Message <- Given],
    Sendable = [M || M <- Messages, crema_recorder_rules:fault(M, Rules) =:= none],
    As =
        case Epoch of
            0 -> produced;
            _ -> open
        end,
    case crema_recordings:add(Family, Name, As, Sendable) of
        {refuse, Code} ->
            {crema_error:make(Code, "crema_test was told so", #{}), State};
        {ok, Verdicts, Late} ->
            Taken = taken(Call, Caller, Verdicts, Messages, State),
            New = State#state{accepted = Accepted + length(Messages)},
            {ok, later(Late, Taken, in_transaction(Taken, New))}
    end.

-spec taken(
    crema_recorded_call:call(), pid(), [crema_recordings:verdict()],
    [crema_recorded_call:message() | skipped], #state{}
) -> #call{}.
taken(#{mode := Mode, number := Number, to := To} = Call, Caller, Verdicts, Messages, State) ->
    #{tag := Tag, epoch := Epoch} = Call,
    #call{
        mode = Mode,
        number = Number,
        caller = Caller,
        reporter = To =:= ?TO_REPORTER,
        tag =
            case Mode of
                ?MODE_WAIT -> Tag;
                _ -> none
            end,
        epoch = Epoch,
        ids = [Id || {Id, _, _} <- Verdicts],
        topics = [maps:get(topic, Message) || Message <- Messages, Message =/= skipped],
        entries = crema_recorder_rules:entries(Messages, Verdicts, State#state.rules),
        bytes = lists:sum([crema_recorder_rules:payload(Message) || Message <- Messages])
    }.

-spec in_transaction(#call{}, #state{}) -> #state{}.
in_transaction(#call{epoch = 0}, State) ->
    State;
in_transaction(#call{ids = Ids, entries = Entries}, #state{transaction = Open} = State) ->
    Failed = [
        fault_of(Code, Status)
     || {Code, Status, _, _, _} <- Entries, Code =/= 0, Code =/= ?REPORT_SKIPPED
    ],
    Faults = [Before || Before <- [State#state.broken], Before =/= none] ++ Failed,
    %% What was refused goes before what brokers say.
    Broken =
        case lists:member(?INCONSISTENT, Faults) of
            true -> ?INCONSISTENT;
            false -> hd(Faults ++ [none])
        end,
    State#state{transaction = Ids ++ Open, broken = Broken}.

%% librdkafka tells a broker's error of a message again, and no others.
-spec fault_of(integer(), byte()) -> integer().
fault_of(Code, Status) when Code > 0, Status =/= ?STATUS_NOT_SENT -> Code;
fault_of(_, _) -> ?INCONSISTENT.

-spec later(non_neg_integer(), #call{}, #state{}) -> #state{}.
later(0, Call, State) ->
    served(report(Call, State));
later(Millis, Call, #state{late = Late} = State) ->
    Timer = erlang:start_timer(Millis, self(), late),
    State#state{late = Late#{Timer => Call}}.

%% ---- reports ------------------------------------------------------------------------

%% To whom it may concern. The recording is settled before anybody hears of it.
-spec report(#call{}, #state{}) -> #state{}.
report(#call{entries = Entries, ids = Ids, epoch = Epoch} = Call, State) ->
    Good = length([good || {0, _, _, _, _} <- Entries]),
    _ = Epoch =:= 0 andalso crema_recordings:settle(Ids, produced),
    Told = tell(Call, State),
    ok = tally(Call, Good, Told),
    Told#state{
        reported = Told#state.reported + length(Entries), delivered = Told#state.delivered + Good
    }.

-spec tell(#call{}, #state{}) -> #state{}.
tell(#call{mode = ?MODE_NONE}, State) ->
    State;
tell(#call{mode = ?MODE_KEEP, caller = Caller, number = Number, entries = Entries}, State) ->
    Packed = crema_recorded_call:pack(Entries),
    State#state{kept = crema_left:put(Caller, Number, Packed, State#state.kept)};
tell(#call{mode = ?MODE_WAIT, caller = Caller, tag = Tag, entries = Entries}, State) ->
    Caller ! {binary_to_term(Tag), crema_recorded_call:pack(Entries)},
    State;
tell(#call{mode = ?MODE_SEND, reporter = true, number = First, entries = Entries}, State) ->
    #state{reporter = Reporter, uncalled = Uncalled} = State,
    _ = is_pid(Reporter) andalso send(Reporter, First, Entries),
    State#state{uncalled = Uncalled + length(Entries)};
tell(#call{mode = ?MODE_SEND, caller = Caller, number = First, entries = Entries}, State) ->
    ok = send(Caller, First, Entries),
    State.

-spec send(pid(), non_neg_integer(), [crema_recorded_call:entry()]) -> ok.
send(Pid, First, Entries) ->
    Pid ! {crema_reports, self(), crema_recorded_call:tagged(First, Entries)},
    ok.

-spec tally(#call{}, non_neg_integer(), #state{}) -> ok.
tally(_Call, _Good, #state{tally = none}) ->
    ok;
tally(#call{entries = Entries, topics = Topics}, Good, #state{tally = Most, producer = Producer}) ->
    Sent = [Entry || {Code, _, _, _, _} = Entry <- Entries, Code =/= ?REPORT_SKIPPED],
    Codes = [Code || {Code, _, _, _, _} <- Sent, Code =/= 0],
    Failures = [{Code, length([C || C <- Codes, C =:= Code])} || Code <- lists:usort(Codes)],
    Listed = lists:sublist(lists:zip(Topics, Sent), Most),
    Unlisted = length(Sent) - length(Listed),
    Event = {reports, Good, Failures, Unlisted, crema_recorded_call:listed(Listed)},
    Producer ! {crema_event, self(), term_to_binary(Event)},
    ok.

%% Who has waited for this.
-spec served(#state{}) -> #state{}.
served(#state{late = Late, flushes = Flushes, first = First} = State) when map_size(Late) =:= 0 ->
    Waiting = Flushes ++ [First || First =/= none],
    lists:foldl(
        fun(To, Acc) -> answer(To, ok, Acc) end, State#state{flushes = [], first = none}, Waiting
    );
served(State) ->
    State.

%% Nothing of it is sent, and all of it is reported.
-spec purge(#state{}) -> #state{}.
purge(#state{late = Late} = State) ->
    lists:foreach(fun(Timer) -> erlang:cancel_timer(Timer) end, maps:keys(Late)),
    lists:foldl(fun purge/2, State#state{late = #{}}, in_order(Late)).

-spec in_order(#{reference() => #call{}}) -> [#call{}].
in_order(Late) ->
    lists:keysort(#call.ids, maps:values(Late)).

-spec purge(#call{}, #state{}) -> #state{}.
purge(#call{entries = Entries, ids = Ids} = Call, State) ->
    ok = crema_recordings:settle(Ids, {failed, purge_queue}),
    Purged = [crema_recorder_rules:purged(Entry) || Entry <- Entries],
    served(report(Call#call{entries = Purged}, State)).

%% ---- transactions -------------------------------------------------------------------

-spec transact(byte(), non_neg_integer(), {pid(), binary()}, #state{}) -> #state{}.
transact(?TRANSACT_INIT, _Epoch, To, State) ->
    answer(To, ok, State#state{epoch = 0, transaction = [], broken = none});
transact(?TRANSACT_BEGIN, Epoch, To, State) ->
    answer(To, ok, State#state{epoch = Epoch, transaction = [], broken = none});
transact(?TRANSACT_FIRST_REPORT, _Epoch, To, State) ->
    served(State#state{first = To});
transact(?TRANSACT_COMMIT, _Epoch, To, #state{broken = Number} = State) when Number =/= none ->
    {error, {Code, _}} = crema_anchor:error_of(Number, #{}),
    Name = string:uppercase(atom_to_binary(Code)),
    Text = <<"a message of it failed: the result of its call says why">>,
    answer(To, {error, {Name, Text, false, false, true}}, State#state{epoch = 0});
%% What is late is reported first, as a commit flushes.
transact(?TRANSACT_COMMIT, _Epoch, To, #state{late = Late} = State) ->
    lists:foreach(fun(Timer) -> erlang:cancel_timer(Timer) end, maps:keys(Late)),
    Flushed = lists:foldl(fun report/2, State#state{late = #{}}, in_order(Late)),
    ended(produced, To, served(Flushed));
transact(?TRANSACT_ABORT, _Epoch, To, State) ->
    ended(aborted, To, purge(State)).

-spec ended(crema_recordings:state(), {pid(), binary()}, #state{}) -> #state{}.
ended(As, To, #state{transaction = Ids} = State) ->
    ok = crema_recordings:settle(Ids, As),
    answer(To, ok, State#state{epoch = 0, transaction = [], broken = none}).

%% ---- the end ------------------------------------------------------------------------

%% What nobody has awaited yet is left with the anchor, as the reaper leaves it.
-spec close(#state{}) -> #state{}.
close(State) ->
    #state{kept = Kept, reporter = Reporter, transaction = Open} = Purged = purge(State),
    ok = crema_recordings:settle(Open, aborted),
    lists:foreach(
        fun({{Caller, Number}, Packed}) -> crema_anchor:leave(Caller, Number, Packed) end,
        crema_left:all(Kept)
    ),
    _ = is_pid(Reporter) andalso (Reporter ! {crema_reports, self(), <<>>}),
    Purged#state{kept = crema_left:new(), takes = false}.
