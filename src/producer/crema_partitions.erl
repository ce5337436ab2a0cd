%% @private How many partitions a topic has: a table that callers read, by topic
%% and port, and the process that asks brokers for what is not in it.
%%
%% Whoever finds a number older than `?FRESH_MS' uses it and has it asked for
%% again. Topics do not shrink: a smaller number is a broker's that lags behind,
%% and is not believed, unless librdkafka said that a partition is not there; then
%% the topic was made anew. A topic that brokers do not know is forgotten.
-module(crema_partitions).
-behaviour(gen_server).

-include("../port/crema_commands.hrl").

-export([new_table/0, start_link/0, of_topic/2, count/3, next/2, doubt/1]).
-export([init/1, handle_call/3, handle_cast/2, handle_info/2]).

-define(TABLE, ?MODULE).
-define(FRESH_MS, 30000).
%% One question; it is asked again while somebody waits.
-define(ASK_MS, 5000).
%% So long may a topic be unknown that a broker is creating: nothing tells the end.
-define(CREATION_MS, 5000).
-define(AGAIN_MS, 100).

-type key() :: {Topic :: binary(), crema_port:client()}.
%% In the table: {key(), Count, Checked :: milliseconds | doubted, Next :: integer()},
%% Next being the number that next/2 gave last.
-type waiter() :: {gen_server:from(), crema_deadline:deadline()}.

-record(state, {
    asked = #{} :: #{crema_port:tag() => {key(), InDoubt :: boolean()}},
    %% Who waits for a number that is not in the table, and since when.
    waiters = #{} :: #{key() => {Since :: integer(), [waiter()]}},
    ports = #{} :: #{crema_port:client() => reference()}
}).

%% @doc Called by the application's supervisor, whose table it is.
-spec new_table() -> ok.
new_table() ->
    ?TABLE = ets:new(?TABLE, [named_table, public, ordered_set, {read_concurrency, true}]),
    ok.

-spec start_link() -> gen_server:start_ret().
start_link() ->
    gen_server:start_link({local, ?MODULE}, ?MODULE, [], []).

%% @doc The number of a topic's partitions, waited for up to `full_timeout'.
-spec of_topic(crema_target:target(), iodata() | atom()) ->
    {ok, pos_integer()} | crema_error:error().
of_topic(Producer, Given) ->
    case crema_packet:topic(Given) of
        error ->
            erlang:error(badarg);
        Topic ->
            {_, _, #{full_timeout := Timeout}} = Client = crema_target:client(Producer),
            of_topic(Client, Producer, Topic, crema_deadline:in(Timeout))
    end.

-spec of_topic(
    crema_target:client(), crema_target:target(), Topic :: binary(), crema_deadline:deadline()
) -> {ok, pos_integer()} | crema_error:error().
of_topic(Client, Producer, Topic, Deadline) ->
    {_, _, #{prefix := Prefix}} = Client,
    case count(Client, crema_prefix:add(Prefix, Topic), Deadline) of
        {error, {closed, _}} ->
            case crema_target:again(Producer, Client, produce, crema_deadline:left(Deadline)) of
                {ok, Next} -> of_topic(Next, Producer, Topic, Deadline);
                {error, _} = Error -> Error
            end;
        Answer ->
            Answer
    end.

%% @doc For a client. `closed': it has to be asked, and there is none.
-spec count(crema_target:client(), Topic :: binary(), crema_deadline:deadline()) ->
    {ok, pos_integer()} | crema_error:error().
count({none, _, _}, _Topic, _Deadline) ->
    closed();
count({Port, Via, _}, Topic, Deadline) ->
    Key = {Topic, Port},
    try ets:lookup(?TABLE, Key) of
        [{_, Count, Checked, _}] ->
            is_fresh(Checked) orelse gen_server:cast(?MODULE, {refresh, Key}),
            {ok, Count};
        [] ->
            ask(Key, crema_packet:variant(Via), Deadline)
    catch
        error:badarg -> closed()
    end.

-spec is_fresh(integer() | doubted) -> boolean().
is_fresh(doubted) -> false;
is_fresh(Checked) -> crema_deadline:now() - Checked < ?FRESH_MS.

%% To ask for a topic is to use it, and its first use tells how it is configured.
-spec ask(key(), Variant :: non_neg_integer(), crema_deadline:deadline()) ->
    {ok, pos_integer()} | crema_error:error().
ask({Topic, _} = Key, Variant, Deadline) ->
    Request = {count, Key, Variant, Deadline},
    try
        gen_server:call(?MODULE, Request, crema_deadline:left(Deadline))
    catch
        %% Not in time, or who would have told has crashed.
        exit:_ -> unanswered(Topic)
    end.

%% @doc 0, 1, 2 and so on for those who ask for a topic's, whoever they are.
-spec next(crema_port:client() | none, Topic :: binary()) -> non_neg_integer().
next(Port, Topic) ->
    try
        ets:update_counter(?TABLE, {Topic, Port}, {4, 1})
    catch
        %% The topic has just been forgotten.
        error:badarg -> 0
    end.

%% @doc librdkafka does not have a partition of that topic, or of any.
-spec doubt(Topic :: binary() | any) -> ok.
doubt(Topic) ->
    Of =
        case Topic of
            any -> '_';
            _ -> Topic
        end,
    try
        Keys = ets:select(?TABLE, [{{{Of, '_'}, '_', '_', '_'}, [], [{element, 1, '$_'}]}]),
        _ = [ets:update_element(?TABLE, Key, {3, doubted}) || Key <- Keys],
        ok
    catch
        %% The application is stopping under its users.
        error:badarg -> ok
    end.

-spec init([]) -> {ok, #state{}}.
init([]) ->
    Ports = lists:usort([Port || {{_, Port}, _, _, _} <- ets:tab2list(?TABLE)]),
    {ok, lists:foldl(fun watch/2, #state{}, Ports)}.

%% A client's numbers go with its port.
-spec watch(crema_port:client(), #state{}) -> #state{}.
watch(Port, #state{ports = Ports} = State) when is_map_key(Port, Ports) ->
    State;
watch(Port, #state{ports = Ports} = State) ->
    State#state{ports = Ports#{Port => crema_port:monitor(Port)}}.

-spec handle_call(term(), gen_server:from(), #state{}) ->
    {noreply, #state{}} | {reply, term(), #state{}}.
handle_call({count, Key, Variant, Deadline}, From, #state{waiters = Waiters} = State) ->
    {Since, Others} = maps:get(Key, Waiters, {crema_deadline:now(), []}),
    New = State#state{waiters = Waiters#{Key => {Since, [{From, Deadline} | Others]}}},
    case Others of
        [] -> {noreply, question(Key, Variant, New)};
        _ -> {noreply, New}
    end;
handle_call(_, _From, State) ->
    {reply, {error, unknown_call}, State}.

-spec handle_cast(term(), #state{}) -> {noreply, #state{}}.
%% The first of those who found it too old.
handle_cast({refresh, Key}, State) ->
    case ets:lookup(?TABLE, Key) of
        [{_, _, Checked, _}] ->
            case is_fresh(Checked) of
                true -> {noreply, State};
                false -> {noreply, question(Key, 0, State)}
            end;
        [] ->
            {noreply, State}
    end;
handle_cast(_, State) ->
    {noreply, State}.

-spec handle_info(term(), #state{}) -> {noreply, #state{}}.
handle_info({Ref, Bytes}, #state{asked = Asked} = State) when is_map_key(Ref, Asked) ->
    {{Key, InDoubt}, Rest} = maps:take(Ref, Asked),
    {noreply, answered(Key, InDoubt, told(crema_port:answer(Bytes)), State#state{asked = Rest})};
handle_info({again, Key}, #state{waiters = Waiters} = State) when is_map_key(Key, Waiters) ->
    {noreply, question(Key, 0, State)};
handle_info({'DOWN', _, _, Port, _}, #state{ports = Ports, asked = Asked} = State) ->
    true = ets:match_delete(?TABLE, {{'_', Port}, '_', '_', '_'}),
    Left = State#state{
        ports = maps:remove(Port, Ports),
        asked = maps:filter(fun(_, {{_, At}, _}) -> At =/= Port end, Asked)
    },
    Keys = [Key || {_, At} = Key <- maps:keys(State#state.waiters), At =:= Port],
    {noreply, lists:foldl(fun(Key, S) -> reply(Key, closed(), S) end, Left, Keys)};
handle_info(_, State) ->
    {noreply, State}.

%% Until the answer the number counts as checked: nobody else asks.
-spec question(key(), Variant :: non_neg_integer(), #state{}) -> #state{}.
question({Topic, Port} = Key, Variant, #state{asked = Asked} = State) ->
    InDoubt = ets:match(?TABLE, {Key, '_', doubted, '_'}) =/= [],
    _ = ets:update_element(?TABLE, Key, {3, crema_deadline:now()}),
    Data = fun(Tag) -> term_to_binary({Tag, Topic, Variant, ?ASK_MS}) end,
    case crema_port:ask_async(Port, ?CMD_METADATA, Data) of
        {ok, Ref} -> watch(Port, State#state{asked = Asked#{Ref => {Key, InDoubt}}});
        {error, _} = Error -> reply(Key, Error, State)
    end.

%% What brokers say: for a topic that is not there, or not yet, `unknown'.
-spec told(term()) -> {ok, pos_integer()} | {unknown | refused | failed, crema_error:error()}.
told({ok, {_, [{_, Count}]}}) when Count > 0 ->
    {ok, Count};
told({ok, {_, [{Topic, Code}]}}) ->
    case crema_anchor:error_of(-Code, #{topic => Topic}) of
        {error, {no_error, _}} ->
            {unknown, crema_error:make(unknown_topic, "it has no partitions", #{topic => Topic})};
        {error, {Known, _}} = Error when
            Known =:= unknown_topic_or_part; Known =:= leader_not_available
        ->
            {unknown, Error};
        Error ->
            {refused, Error}
    end;
told({error, {closed, _}} = Error) ->
    {refused, Error};
told({error, _} = Error) ->
    {failed, Error}.

-spec answered(key(), boolean(), Told, #state{}) -> #state{} when
    Told :: {ok, pos_integer()} | {unknown | refused | failed, crema_error:error()}.
answered(Key, InDoubt, {ok, Count}, State) ->
    case ets:lookup(?TABLE, Key) of
        [{_, Known, _, _}] when Count > Known; InDoubt ->
            true = ets:update_element(?TABLE, Key, {2, Count});
        [_] ->
            true;
        [] ->
            true = ets:insert(?TABLE, {Key, Count, crema_deadline:now(), -1})
    end,
    reply(Key, {ok, Count}, State);
answered(Key, _InDoubt, {refused, Error}, State) ->
    true = ets:delete(?TABLE, Key),
    reply(Key, Error, State);
answered(Key, _InDoubt, {unknown, Error}, #state{waiters = Waiters} = State) ->
    true = ets:delete(?TABLE, Key),
    case Waiters of
        #{Key := {Since, _}} ->
            case crema_deadline:now() - Since < ?CREATION_MS of
                true -> again(Key, Error, State);
                false -> reply(Key, Error, State)
            end;
        #{} ->
            State
    end;
answered(Key, InDoubt, {failed, Error}, State) ->
    _ = InDoubt andalso ets:update_element(?TABLE, Key, {3, doubted}),
    again(Key, Error, State).

%% Waits a little and asks once more, for those who have the time.
-spec again(key(), crema_error:error(), #state{}) -> #state{}.
again(Key, Error, #state{waiters = Waiters} = State) ->
    {Since, Waiting} = maps:get(Key, Waiters, {0, []}),
    {Left, Due} = lists:partition(
        fun({{Pid, _}, Deadline}) ->
            crema_deadline:left(Deadline) > ?AGAIN_MS andalso is_process_alive(Pid)
        end,
        Waiting
    ),
    Told = reply(Key, Error, State#state{waiters = Waiters#{Key => {Since, Due}}}),
    case Left of
        [] ->
            Told;
        _ ->
            _ = erlang:send_after(?AGAIN_MS, self(), {again, Key}),
            Told#state{waiters = Waiters#{Key => {Since, Left}}}
    end.

%% Who has given up meanwhile does not get it: gen_server sees to that.
-spec reply(key(), {ok, pos_integer()} | crema_error:error(), #state{}) -> #state{}.
reply(Key, Answer, #state{waiters = Waiters} = State) ->
    {_, Waiting} = maps:get(Key, Waiters, {0, []}),
    lists:foreach(fun({From, _}) -> gen_server:reply(From, Answer) end, Waiting),
    State#state{waiters = maps:remove(Key, Waiters)}.

-spec unanswered(Topic :: binary()) -> crema_error:error().
unanswered(Topic) ->
    Text = "no broker has told in time how many partitions the topic has, and nothing was sent",
    crema_error:make(timed_out, Text, #{topic => Topic, retriable => true}).

-spec closed() -> crema_error:error().
closed() ->
    crema_error:make(closed, "the client is closed", #{}).
