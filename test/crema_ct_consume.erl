%% What the suites of consumers share.
-module(crema_ct_consume).

-include_lib("stdlib/include/assert.hrl").
-include("../src/port/crema_commands.hrl").

-export([filled/2, quick/0, values/1, number/1, telling/2]).
-export([step_by_step/1, once/1]).
-export([slots/1, partitions/1, partition/2, all_acknowledged/1, batches/1, handled_so_far/0]).
-export([listen/2, heard/1, event_is_as_told/3]).

%% @doc A topic of one partition that holds the numbers from 1 on.
filled(Config, Count) ->
    Topic = crema_ct:topic(Config, 1),
    ok = crema_ct:fill(Config, Topic, 0, lists:seq(1, Count)),
    Topic.

%% @doc Options with short waits before another attempt.
quick() ->
    #{backoff => {1, 20}}.

%% @doc The numbers that crema_ct:fill/4 has sent.
values(Handled) ->
    [number(Message) || {_, Message} <- Handled].

number(#{value := Value}) ->
    binary_to_integer(Value).

%% @doc A function for `handle' that tells a process of each message and
%% answers always the same.
telling(To, Answer) ->
    fun(Message, State) ->
        To ! {handled, self(), Message},
        {Answer, State}
    end.

%% @doc A function for `handle' that tells a process of each message and waits
%% to be told to go on with it.
step_by_step(To) ->
    fun(Message, State) ->
        To ! {handled, self(), Message},
        receive
            continue -> {ack, State}
        end
    end.

%% @doc A function that is true once for each of the given terms, whichever
%% process calls it.
once(Terms) ->
    Used = atomics:new(length(Terms), []),
    Places = maps:from_list(lists:zip(Terms, lists:seq(1, length(Terms)))),
    fun(Term) ->
        case Places of
            #{Term := Place} -> atomics:compare_exchange(Used, Place, 0, 1) =:= ok;
            #{} -> false
        end
    end.

partitions(Consumer) ->
    maps:get(partitions, crema:info(Consumer)).

%% @doc What the core says of each slot: {Slot, Topic, Partition, Delivered, Stored, ...}.
slots(Consumer) ->
    {ok, consumer, Port, _, _} = crema_registry:lookup(Consumer),
    {ok, Slots} = crema_port:command(Port, ?CMD_SLOTS, <<>>),
    Slots.

partition(Consumer, Number) ->
    [Partition] = [P || #{partition := N} = P <- partitions(Consumer), N =:= Number],
    Partition.

%% @doc Waits until a consumer has acknowledged all that it was given. What is stored
%% may lie behind it: at the end of a partition, past what is no message.
all_acknowledged(Consumer) ->
    crema_ct:await(fun() ->
        Partitions = partitions(Consumer),
        Done = [
            N =:= 0 andalso Stored >= Delivered
         || #{unacknowledged := N, stored := Stored, delivered := Delivered} <- Partitions
        ],
        Partitions =/= [] andalso lists:all(fun(D) -> D end, Done) orelse {left, Partitions}
    end).

%% @doc Batches with so many messages in all, from crema_ct_batch_handler.
batches(Left) when Left =< 0 ->
    ?assertEqual(0, Left),
    [];
batches(Left) ->
    receive
        {batch, _, Messages} -> [Messages | batches(Left - length(Messages))]
    after 30000 -> error({missing_messages, Left, crema_ct:state_of_clients()})
    end.

handled_so_far() ->
    receive
        {handled, Worker, Message} -> [{Worker, Message} | handled_so_far()]
    after 0 -> []
    end.

%% @doc Listens to an event, where it concerns that topic. The handler runs in
%% crema's process, so that it only sends.
listen(Topic, Event) ->
    Self = self(),
    Ref = make_ref(),
    ok = crema_events:attach(
        {?MODULE, Ref},
        Event,
        fun(_, Measured, Metadata, _) ->
            concerns(Topic, Metadata) andalso (Self ! {Ref, Measured, Metadata})
        end,
        none
    ),
    Ref.

concerns(any, _) -> true;
concerns(Topic, #{topic := Topic}) -> true;
concerns(Topic, #{partitions := Partitions}) -> lists:keymember(Topic, 1, Partitions);
concerns(_, _) -> false.

heard(Ref) ->
    receive
        {Ref, Measured, Metadata} -> {Measured, Metadata}
    after 20000 -> error(no_event)
    end.

%% @doc The event has the fields that the table of events names, and no others.
event_is_as_told(Event, Measured, Metadata) ->
    ?assertEqual(ok, crema_event_table:check(Event, Measured, Metadata)).
