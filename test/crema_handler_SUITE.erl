%% Handlers: what they may return, and which batches they get.
-module(crema_handler_SUITE).

-include_lib("stdlib/include/assert.hrl").

-export([all/0, groups/0, suite/0, init_per_suite/1, end_per_suite/1, end_per_testcase/2]).
-export([
    functions/1, up_to/1, up_to_the_last/1, retry/1, skip/1, skip_of_a_batch/1, pause/1, stop/1,
    gathered_by_count/1, gathered_by_age/1, gathered_by_bytes/1
]).
-export([plain/1]).

-import(crema_ct_consume, [
    filled/2, quick/0, values/1, number/1, once/1, all_acknowledged/1, listen/2, heard/1,
    event_is_as_told/3
]).

suite() -> [{timetrap, {seconds, 90}}].

all() -> [{group, side_by_side}].

groups() ->
    [
        {side_by_side, [parallel], [
            functions, up_to, up_to_the_last, retry, skip, skip_of_a_batch, pause, stop,
            gathered_by_count, gathered_by_age, gathered_by_bytes
        ]}
    ].

init_per_suite(Config) -> crema_ct:start(Config).

end_per_suite(Config) -> crema_ct:stop(Config).

end_per_testcase(_, _Config) -> crema_ct:cleanup().

%% ---- returns -----------------------------------------------------------------------

functions(Config) ->
    %% A function of one argument is a handler, by itself or by its name: ok
    %% acknowledges, and an error brings the message again.
    Topic = filled(Config, 3),
    Self = self(),
    Once = once([2]),
    Fun = fun(Message) ->
        Self ! {handled, self(), Message},
        case Once(number(Message)) of
            true -> {error, not_yet};
            false -> ok
        end
    end,
    One = crema_ct:consumer(Config, Topic, none, (quick())#{handler => Fun}),
    ?assertEqual([1, 2, 2, 3], values(crema_ct:handled(4))),
    true = all_acknowledged(One),
    true = register(?MODULE, self()),
    Two = crema_ct:consumer(Config, Topic, none, #{handler => {?MODULE, plain}}),
    ?assertEqual([1, 2, 3], values(crema_ct:handled(3))),
    true = all_acknowledged(Two).

plain(Message) ->
    ?MODULE ! {handled, self(), Message},
    ok.

up_to(Config) ->
    %% A batch may be acknowledged up to an offset: what is behind it comes again
    %% at once, and nothing else; an offset before the batch acknowledges nothing.
    Topic = filled(Config, 40),
    Self = self(),
    Handle = fun([#{offset := First} | _] = Messages, State) ->
        Self ! {batch, self(), Messages},
        case length(Messages) of
            1 when First < 39 -> {ack, State};
            1 -> {ack, First, State};
            _ when is_map_key(First, State) -> {ack, First, State};
            _ -> {ack, First - 1, State#{First => seen}}
        end
    end,
    C = crema_ct:consumer(Config, Topic, none, #{
        handler => {crema_ct_batch_handler, #{handle => Handle}}
    }),
    Firsts = up_to_seen(39),
    %% In order; each twice but those that came alone.
    ?assertEqual(Firsts, lists:sort(Firsts)),
    ?assertEqual(lists:seq(0, 39), lists:usort(Firsts)),
    ?assert(length(Firsts) > 41),
    true = all_acknowledged(C).

up_to_seen(Last) ->
    receive
        {batch, _, [#{offset := Last}]} -> [Last];
        {batch, _, [#{offset := First} | _]} -> [First | up_to_seen(Last)]
    after 30000 -> error({missing, crema_ct:state_of_clients()})
    end.

up_to_the_last(Config) ->
    %% An offset behind the batch acknowledges the batch, and nothing that the
    %% handler has not seen; for a single message its own is enough.
    Topic = filled(Config, 30),
    Handle = fun(Messages, #{to := To} = State) ->
        To ! {batch, self(), Messages},
        {ack, 1000000, State}
    end,
    Batch = {crema_ct_batch_handler, #{to => self(), handle => Handle}},
    C = crema_ct:consumer(Config, Topic, none, #{handler => Batch, batch_messages => 7}),
    Batches = crema_ct_consume:batches(30),
    ?assertEqual(lists:seq(1, 30), [number(M) || Messages <- Batches, M <- Messages]),
    true = all_acknowledged(C),
    One = fun(#{offset := Offset} = Message, #{to := To} = State) ->
        To ! {handled, self(), Message},
        {ack, Offset, State}
    end,
    D = crema_ct:consumer(Config, Topic, #{to => self(), handle => One}, #{}),
    ?assertEqual(lists:seq(1, 30), values(crema_ct:handled(30))),
    true = all_acknowledged(D).

retry(Config) ->
    %% A message may be asked for again after a time: it comes before any other,
    %% and is no failure.
    Topic = filled(Config, 3),
    Failed = listen(Topic, [crema, consumer, handler_error]),
    Handle = fun(Message, #{to := To} = State) ->
        To ! {handled, self(), Message},
        To ! {at, crema_ct:now_ms()},
        case {number(Message), State} of
            {2, #{again := 0}} -> {ack, State};
            {2, #{again := N}} -> {retry, 60, State#{again := N - 1}};
            _ -> {ack, State}
        end
    end,
    Init = fun(_, Args) -> {ok, Args} end,
    Args = #{to => self(), handle => Handle, init => Init, again => 2},
    C = crema_ct:consumer(Config, Topic, Args, #{}),
    ?assertEqual([1, 2, 2, 2, 3], values(crema_ct:handled(5))),
    [_, At, Then, Later, _] = [receive {at, Time} -> Time end || _ <- lists:seq(1, 5)],
    ?assert(Then - At >= 60 andalso Later - Then >= 60, {At, Then, Later}),
    true = all_acknowledged(C),
    receive {Failed, _, _} = Event -> error(Event) after 0 -> ok end.

skip(Config) ->
    %% A skipped message is acknowledged; an event tells of it and why.
    Topic = filled(Config, 3),
    Skipped = listen(Topic, [crema, consumer, skipped]),
    Handle = fun(Message, #{to := To} = State) ->
        To ! {handled, self(), Message},
        case number(Message) of
            1 -> {skip, State};
            2 -> {skip, {not_ours, 2}, State};
            3 -> {ack, State}
        end
    end,
    C = crema_ct:consumer(Config, Topic, #{to => self(), handle => Handle}, #{}),
    ?assertEqual([1, 2, 3], values(crema_ct:handled(3))),
    true = all_acknowledged(C),
    ?assertMatch({#{count := 1}, #{offset := 0, reason := undefined}}, heard(Skipped)),
    {Measured, Metadata} = heard(Skipped),
    ?assertMatch(#{client := C, partition := 0, offset := 1, reason := {not_ours, 2}}, Metadata),
    event_is_as_told([crema, consumer, skipped], Measured, Metadata).

skip_of_a_batch(Config) ->
    %% So is a batch, all of which is counted.
    Topic = filled(Config, 20),
    Skipped = listen(Topic, [crema, consumer, skipped]),
    Handle = fun(_, State) -> {skip, State} end,
    C = crema_ct:consumer(Config, Topic, none, #{
        handler => {crema_ct_batch_handler, #{handle => Handle}}
    }),
    skipped(0, 20, Skipped),
    true = all_acknowledged(C).

skipped(From, Below, Ref) when From < Below ->
    {#{count := Count}, #{offset := Offset}} = heard(Ref),
    ?assertEqual(From, Offset),
    skipped(From + Count, Below, Ref);
skipped(From, Below, _) ->
    ?assertEqual(Below, From).

pause(Config) ->
    %% After a pause nothing of the partition comes for so long; what was handled is
    %% acknowledged before, other partitions go on, and a stop does not wait.
    Topic = crema_ct:topic(Config, 2),
    [crema_ct:fill(Config, Topic, P, [1, 2, 3]) || P <- [0, 1]],
    Paused = listen(Topic, [crema, consumer, handler_paused]),
    Handle = fun
        (#{partition := 0} = Message, #{to := To} = State) ->
            To ! {zero, number(Message), crema_ct:now_ms()},
            {pause, case number(Message) of 3 -> 3600000; _ -> 80 end, State};
        (Message, #{to := To} = State) ->
            To ! {handled, self(), Message},
            {ack, State}
    end,
    C = crema_ct:consumer(Config, Topic, #{to => self(), handle => Handle}, #{}),
    ?assertEqual([1, 2, 3], values(crema_ct:handled(3))),
    [One, Two, Three] = [receive {zero, N, At} -> At end || N <- [1, 2, 3]],
    ?assert(Two - One >= 80 andalso Three - Two >= 80, {One, Two, Three}),
    {Measured, Metadata} = heard(Paused),
    ?assertMatch({#{delay := 80}, #{partition := 0}}, {Measured, Metadata}),
    event_is_as_told([crema, consumer, handler_paused], Measured, Metadata),
    true = all_acknowledged(C),
    {Time, ok} = crema_ct:timed(fun() -> crema_consumer:stop(C) end),
    ?assert(Time < 5000, Time).

stop(Config) ->
    %% A handler may stop its consumer: what it did before is committed, the message
    %% is not, and the consumer ends as after a stop that was asked for, so that a
    %% supervisor does not start it again.
    Topic = filled(Config, 3),
    Group = crema_ct:unique(<<"group">>),
    Stopped = listen(Topic, [crema, consumer, handler_stopped]),
    Handle = fun(Message, #{to := To} = State) ->
        To ! {handled, self(), Message},
        case number(Message) of
            2 -> {stop, {enough, of_it}, State};
            _ -> {ack, State}
        end
    end,
    Args = #{to => self(), handle => Handle},
    C = crema_ct:consumer(Config, Topic, Args, #{group => Group}),
    Monitor = erlang:monitor(process, C),
    ?assertEqual([1, 2], values(crema_ct:handled(2))),
    receive
        {'DOWN', Monitor, _, _, Reason} -> ?assertEqual(shutdown, Reason)
    after 15000 -> error(not_stopped)
    end,
    {Measured, Metadata} = heard(Stopped),
    ?assertMatch(#{client := C, reason := {enough, of_it}}, Metadata),
    event_is_as_told([crema, consumer, handler_stopped], Measured, Metadata),
    _ = crema_ct:consumer(Config, Topic, #{to => self()}, #{group => Group}),
    ?assertEqual([2, 3], values(crema_ct:handled(2))).

%% ---- batches ---------------------------------------------------------------------------

batch_handler() ->
    {crema_ct_batch_handler, #{to => self()}}.

gathered_by_count(Config) ->
    %% With an age a batch waits until it is full: few messages do not come, more
    %% make full ones.
    Topic = filled(Config, 3),
    Options = #{handler => batch_handler(), batch_messages => 10, batch_age => 3600000},
    C = crema_ct:consumer(Config, Topic, none, Options),
    crema_ct:await(fun() ->
        case crema_ct_consume:partitions(C) of
            [#{delivered := 3}] -> true;
            Other -> Other
        end
    end),
    receive {batch, _, Early} -> error(Early) after 100 -> ok end,
    [crema_ct:fill(Config, Topic, 0, [N]) || N <- lists:seq(4, 10)],
    [Batch] = crema_ct_consume:batches(10),
    ?assertEqual(lists:seq(1, 10), [number(M) || M <- Batch]),
    crema_ct:fill(Config, Topic, 0, lists:seq(11, 60)),
    Batches = few_batches(41, []),
    ?assertEqual([], [B || B <- Batches, length(B) > 10]),
    Numbers = [number(M) || B <- Batches, M <- B],
    ?assertEqual(lists:seq(11, 10 + length(Numbers)), Numbers).

few_batches(Left, Seen) when Left =< 0 -> lists:reverse(Seen);
few_batches(Left, Seen) ->
    receive
        {batch, _, Batch} -> few_batches(Left - length(Batch), [Batch | Seen])
    after 20000 -> error({missing, Left, crema_ct:state_of_clients()})
    end.

gathered_by_age(Config) ->
    %% What has not filled a batch comes when its first message is so old; and again
    %% so for those that come later.
    Topic = filled(Config, 3),
    Options = #{handler => batch_handler(), batch_messages => 10, batch_age => 150},
    C = crema_ct:consumer(Config, Topic, none, Options),
    [One | _] = crema_ct_consume:batches(3),
    ?assertMatch([#{offset := 0} | _], One),
    true = all_acknowledged(C),
    Before = crema_ct:now_ms(),
    crema_ct:fill(Config, Topic, 0, [4]),
    ?assertMatch([[#{offset := 3}]], crema_ct_consume:batches(1)),
    ?assert(crema_ct:now_ms() - Before >= 150),
    true = all_acknowledged(C).

gathered_by_bytes(Config) ->
    %% Bytes fill a batch as messages do.
    Topic = crema_ct:topic(Config, 1),
    P = crema_ct:producer(Config),
    Value = binary:copy(<<"x">>, 1000),
    Options = #{
        handler => batch_handler(), batch_messages => 1000, batch_bytes => 5500,
        batch_age => 3600000
    },
    _ = crema_ct:consumer(Config, Topic, none, Options),
    [{ok, _} = crema:produce(P, #{topic => Topic, value => Value}) || _ <- lists:seq(1, 20)],
    Batches = few_batches(15, []),
    ?assertEqual([], [length(B) || B <- Batches, length(B) > 5]).
