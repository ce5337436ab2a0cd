%% @private Tokens: acknowledged, declared failed, or handed to a process, from
%% anywhere. All of a slot's go in one command.
%%
%% On the consumer's node the driver is told at once. From another node it is a
%% call to the member of the group, never to a worker, which may be busy.
-module(crema_ack).

-include("../port/crema_commands.hrl").

-export([ack/2, nack/3, delegate/2, tell/3, token/3]).

-export_type([tokens/0]).

-type one() :: crema_consumer:message() | crema_consumer:token().
-type tokens() :: crema_types:tokens().
-type what() :: ack | {nack, Reason :: term()}.
%% A slot and some of its messages.
-type some() :: {Slot :: pos_integer(), crema_runs:runs()}.

-spec ack(tokens(), timeout()) -> ok | crema_error:error().
ack(Tokens, Timeout) ->
    each(ack, Tokens, Timeout).

-spec nack(tokens(), Reason :: term(), timeout()) -> ok | crema_error:error().
nack(Tokens, Reason, Timeout) ->
    each({nack, Reason}, Tokens, Timeout).

%% @doc Never waits: a token that is of no use any more is not looked after.
-spec delegate(tokens(), pid()) -> ok.
delegate(Tokens, Pid) when is_pid(Pid), is_list(Tokens) ->
    maps:foreach(
        fun(Consumer, Slots) ->
            Some = [{Slot, crema_runs:of_offsets(Offsets)} || {Slot, Offsets} <- maps:to_list(Slots)],
            is_member(Consumer) andalso gen_server:cast(Consumer, {delegate, Some, Pid})
        end,
        grouped([token(Token) || Token <- Tokens])
    );
delegate(Token, Pid) when is_pid(Pid) ->
    delegate([Token], Pid);
delegate(Tokens, Pid) ->
    erlang:error(badarg, [Tokens, Pid], crema_error:badarg(#{2 => <<"no pid">>})).

%% On another node it is believed.
-spec is_member(pid()) -> boolean().
is_member(Consumer) when node(Consumer) =/= node() ->
    true;
is_member(Consumer) ->
    case crema_registry:lookup(Consumer) of
        {ok, consumer, _, _, _} -> true;
        _ -> false
    end.

-spec each(what(), tokens(), timeout()) -> ok | crema_error:error().
each(What, Tokens, Timeout) when is_list(Tokens) ->
    Failed = maps:fold(
        fun(Consumer, Slots, Acc) -> failed(What, Consumer, Slots, Timeout) ++ Acc end,
        [],
        grouped([token(Token) || Token <- Tokens])
    ),
    not_all(Failed, length(Tokens));
each(What, Token, Timeout) ->
    {crema_token, Consumer, Slot, Offset} = token(Token),
    [Answer] = told(What, Consumer, [{Slot, crema_runs:of_offsets([Offset])}], Timeout),
    Answer.

-spec token(one()) -> crema_consumer:token().
token(#{token := Token}) ->
    token(Token);
token({crema_token, Consumer, Slot, Offset} = Token) when
    is_pid(Consumer), is_integer(Slot), is_integer(Offset)
->
    Token;
token(Other) ->
    Text = <<"neither a message of a consumer nor its token">>,
    erlang:error(badarg, [Other], crema_error:badarg(#{1 => Text})).

%% @doc The token of a message of which no more is known than where it is; of a consumer
%% on this node. It is that of now, also when the message came before a rebalance.
-spec token(crema_registry:ref(), crema_group_events:place(), Offset :: integer()) ->
    {ok, crema_consumer:token()} | crema_error:error().
token(Consumer, {Topic, Partition}, Offset) ->
    case crema_registry:lookup(Consumer) of
        {ok, consumer, Port, _, Group} -> token(Group, slots(Port), {Topic, Partition}, Offset);
        _ -> consumer_stopped()
    end.

-spec slots(port()) -> [tuple()].
slots(Port) ->
    case crema_port:command(Port, ?CMD_SLOTS, <<>>) of
        {ok, Slots} -> Slots;
        {error, _} -> []
    end.

-spec token(pid(), [tuple()], crema_group_events:place(), integer()) ->
    {ok, crema_consumer:token()} | crema_error:error().
token(Group, Slots, {Topic, Partition}, Offset) ->
    Ids = [element(1, S) || S <- Slots, element(2, S) =:= Topic, element(3, S) =:= Partition],
    case Ids of
        [Id | _] -> {ok, {crema_token, Group, Id, Offset}};
        [] -> crema_error:make(stale_assignment, "its partition is not assigned any more", #{})
    end.

-spec grouped([crema_consumer:token()]) -> #{pid() => #{pos_integer() => [integer()]}}.
grouped(Tokens) ->
    lists:foldl(
        fun({crema_token, Consumer, Slot, Offset}, Acc) ->
            Slots = maps:get(Consumer, Acc, #{}),
            Acc#{Consumer => Slots#{Slot => [Offset | maps:get(Slot, Slots, [])]}}
        end,
        #{},
        Tokens
    ).

%% The tokens of the slots that refused theirs, and why.
-spec failed(what(), pid(), #{pos_integer() => [integer()]}, timeout()) ->
    [{crema_consumer:token(), crema_error:reason()}].
failed(What, Consumer, Slots, Timeout) ->
    Listed = maps:to_list(Slots),
    Some = [{Slot, crema_runs:of_offsets(Offsets)} || {Slot, Offsets} <- Listed],
    Answers = told(What, Consumer, Some, Timeout),
    [
        {{crema_token, Consumer, Slot, Offset}, Reason}
     || {{Slot, Offsets}, {error, Reason}} <- lists:zip(Listed, Answers),
        Offset <- lists:sort(Offsets)
    ].

-spec not_all([{crema_consumer:token(), crema_error:reason()}], non_neg_integer()) ->
    ok | crema_error:error().
not_all([], _Count) ->
    ok;
not_all([{_, {_, #{message := First}}} | _] = Failed, Count) ->
    Text = io_lib:format("~b of ~b tokens: ~ts", [length(Failed), Count, First]),
    crema_error:make(not_acknowledged, Text, #{failed => Failed}).

-spec told(what(), pid(), [some()], timeout()) -> [ok | crema_error:error()].
told(What, Consumer, Slots, _Timeout) when node(Consumer) =:= node() ->
    case crema_registry:lookup(Consumer) of
        {ok, consumer, _, #{commit := exactly_once}, _} ->
            [crema_exactly_once:no_ack() || _ <- Slots];
        {ok, consumer, Port, _, _} ->
            tell(What, {Consumer, Port}, Slots);
        %% Or another client has its pid by now.
        _ ->
            [consumer_stopped() || _ <- Slots]
    end;
told(What, Consumer, Slots, Timeout) ->
    try
        gen_server:call(Consumer, {tokens, What, Slots}, Timeout)
    catch
        exit:{timeout, _} -> [unanswered() || _ <- Slots];
        exit:{{nodedown, _}, _} -> [unanswered() || _ <- Slots];
        exit:_ -> [consumer_stopped() || _ <- Slots]
    end.

%% @doc The same on the consumer's node, for slots of one consumer.
-spec tell(what(), {Group :: pid(), crema_port:client()}, [some()]) -> [ok | crema_error:error()].
tell(What, {Group, Port}, Slots) ->
    [tell_slot(What, Group, Port, Slot, Runs) || {Slot, Runs} <- Slots].

-spec tell_slot(what(), pid(), crema_port:client(), pos_integer(), crema_runs:runs()) ->
    ok | crema_error:error().
tell_slot(ack, _Group, Port, Slot, Runs) ->
    stopped(crema_port:command(Port, ?CMD_ACK, <<Slot:64, (crema_runs:pack(Runs))/binary>>));
tell_slot({nack, Reason}, Group, Port, Slot, Runs) ->
    case crema_port:command(Port, ?CMD_WAITING, <<Slot:64, 0:64, 0:64>>) of
        {ok, _} -> gen_server:cast(Group, {nacked, Slot, Runs, Reason});
        Error -> stopped(Error)
    end.

-spec stopped(ok | crema_error:error()) -> ok | crema_error:error().
stopped({error, {closed, _}}) -> consumer_stopped();
stopped(Answer) -> Answer.

-spec consumer_stopped() -> crema_error:error().
consumer_stopped() ->
    crema_error:make(stale_assignment, "its consumer has stopped", #{}).

%% Whether it was done is not known; to ask again does no harm.
-spec unanswered() -> crema_error:error().
unanswered() ->
    crema_error:make(timeout, "the consumer's node has not answered in time", #{retriable => true}).
