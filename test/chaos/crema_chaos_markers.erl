%% Judges a transaction that readers see in part by what brokers wrote at its end
%% (crema_chaos_segments): behind its messages in each partition a marker of its producer,
%% which commits or aborts them.
%%
%% A producer asks, and the coordinator decides once. When there are two decisions about one
%% transaction, one coordinator has acted on what the one after it did not know, and no client
%% can bring that about. What one could is not taken for it:
%%  - A request that comes late ends a later transaction of the same epoch, which has not got
%%    all its partitions yet. Hence each marker must be younger than the wish to commit, and
%%    all messages must have been reported before that.
%%  - A partition that the coordinator was not told of is ended with a later transaction.
%%    Hence the producer must have written nothing between, and the coordinator another one.
-module(crema_chaos_markers).

-export([decisions/2, contradict/2]).
-export_type([decision/0]).

%% Batches of a producer, where it is not clear which end is whose.
-define(SHOWN, 10).

-type seen() :: {crema_chaos_history:message(), IsVisible :: boolean(), Reports :: list()}.
%% Of one partition of it: what its messages are, and what each broker has behind them.
-type decision() :: #{
    place := crema_chaos_story:place(),
    offsets := [integer()],
    visible := [boolean()],
    brokers := #{Broker :: integer() => ended() | Unclear :: [crema_chaos_segments:batch()]}
}.
-type ended() :: #{
    producer := integer(), epoch := integer(), marker := commit | abort, offset := integer(),
    marker_epoch := integer(), millis := integer(), coordinator := integer(),
    %% Markers that follow at once, of the same producer.
    later := [commit | abort]
}.

%% @doc How a transaction ended in each of its partitions, by the place of its messages.
-spec decisions([seen()], crema_chaos_story:story()) -> [decision()].
decisions(Seen, #{batches := Batches} = Story) ->
    Visible = maps:from_list([{Message, IsVisible} || {Message, IsVisible, _} <- Seen]),
    [
        #{
            place => Place,
            offsets => [Offset || {Offset, _} <- Entries],
            visible => lists:usort([maps:get(M, Visible) || {_, M} <- Entries]),
            brokers => maps:map(
                fun(_, Of) -> ended([Offset || {Offset, _} <- Entries], Of) end,
                maps:get(Place, Batches, #{})
            )
        }
     || Place <- crema_chaos_story:places(Story),
        [_ | _] = Entries <- [
            [E || {_, M} = E <- crema_chaos_story:log(Place, uncommitted, Story), is_map_key(M, Visible)]
        ]
    ].

%% Between its first message and its end there must be nothing of the producer's but it.
ended([First | _] = Offsets, Batches) ->
    Producers = lists:usort([P || {F, L, P, _, data} <- Batches, F =< First, First =< L]),
    Own = [B || {_, L, P, _, _} = B <- Batches, L >= First, [P] =:= Producers],
    {Data, Behind} = lists:splitwith(fun is_data/1, Own),
    {Markers, _} = lists:splitwith(fun(B) -> not is_data(B) end, Behind),
    Covered = lists:append([lists:seq(F, L) || {F, L, _, _, _} <- Data]),
    case {lists:usort([{P, E} || {_, _, P, E, _} <- Data]), Markers} of
        {[{Producer, Epoch}], [{Offset, _, _, Of, {Marker, Millis, Coordinator}} | Later]} when
            Covered =:= Offsets, Of >= Epoch
        ->
            #{
                producer => Producer, epoch => Epoch, marker => Marker, offset => Offset,
                marker_epoch => Of, millis => Millis, coordinator => Coordinator,
                later => [M || {_, _, _, _, {M, _, _}} <- Later]
            };
        _ ->
            lists:sublist(Own, ?SHOWN)
    end.

is_data({_, _, _, _, What}) -> What =:= data.

%% @doc Whether brokers have both committed and aborted one transaction, all of whose messages
%% were reported before its commit was asked for.
-spec contradict([decision()], AskedAt :: integer()) -> boolean().
contradict(Decisions, AskedAt) ->
    Ends = [agreed(Decision) || Decision <- Decisions],
    not lists:member(unclear, Ends) andalso
        length(lists:usort([{P, E} || #{producer := P, epoch := E} <- Ends])) =:= 1 andalso
        %% Milliseconds are cut off.
        lists:all(fun(#{millis := Millis}) -> Millis * 1000 + 999 >= AskedAt end, Ends) andalso
        by_two([C || #{marker := commit, coordinator := C} <- Ends], [
            C || #{marker := abort, coordinator := C} <- Ends
        ]).

%% What all brokers have, if readers see the same.
agreed(#{brokers := Brokers, visible := Visible}) ->
    case lists:usort([without_later(Of) || Of <- maps:values(Brokers)]) of
        [#{marker := Marker} = Ended] when Visible =:= [Marker =:= commit] -> Ended;
        _ -> unclear
    end.

without_later(#{} = Ended) -> maps:remove(later, Ended);
without_later(Unclear) -> Unclear.

%% Coordinators, each of which has decided one way.
by_two([_ | _] = Commits, [_ | _] = Aborts) ->
    [] =:= [C || C <- Commits, lists:member(C, Aborts)];
by_two(_, _) ->
    false.
