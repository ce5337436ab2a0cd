%% Kafka's own protocol, as much as a test needs to ask a broker without crema
%% and librdkafka: the judge of what a consumer commits is not the consumer.
-module(crema_ct_wire).

-export([connect/1, close/1, create_topic/3, create_topic/4, evict/2, committed/3, ends/2]).
-export([hold_group/4, grow_topic/3, controller/1]).

-define(LIST_OFFSETS, 2).
-define(OFFSET_FETCH, 9).
-define(JOIN_GROUP, 11).
-define(LEAVE_GROUP, 13).
-define(DESCRIBE_GROUPS, 15).
-define(CREATE_TOPICS, 19).
-define(CREATE_PARTITIONS, 37).
-define(DESCRIBE_QUORUM, 55).
-define(TIMEOUT, 10000).

%% @doc Connects to the first of the addresses: with one broker it is the
%% coordinator of every group.
connect(Bootstrap) ->
    [First | _] = binary:split(iolist_to_binary(Bootstrap), <<",">>),
    [Host, Port] = binary:split(First, <<":">>),
    {ok, Socket} = gen_tcp:connect(
        binary_to_list(Host), binary_to_integer(Port), [binary, {packet, 4}, {active, false}],
        ?TIMEOUT
    ),
    Socket.

close(Socket) ->
    gen_tcp:close(Socket).

%% @doc Creates a topic with so many partitions, each on one broker.
create_topic(Socket, Topic, Partitions) ->
    create_topic(Socket, Topic, Partitions, 1).

create_topic(Socket, Topic, Partitions, Replicas) ->
    New = [string(Topic), <<Partitions:32, Replicas:16>>, array([]), array([])],
    Answer = ask(Socket, ?CREATE_TOPICS, 2, [array([New]), <<?TIMEOUT:32, 0>>]),
    Size = byte_size(Topic),
    <<_Throttled:32, 1:32, Size:16, Topic:Size/binary, 0:16, _/binary>> = Answer,
    ok.

%% @doc From now on the topic has so many partitions.
grow_topic(Socket, Topic, Partitions) ->
    New = [string(Topic), <<Partitions:32, -1:32>>],
    Answer = ask(Socket, ?CREATE_PARTITIONS, 0, [array([New]), <<?TIMEOUT:32, 0>>]),
    Size = byte_size(Topic),
    <<_Throttled:32, 1:32, Size:16, Topic:Size/binary, 0:16, _/binary>> = Answer,
    ok.

%% @doc The number of the node that leads the quorum of controllers, or none.
controller(Socket) ->
    %% A newer form than the others: lengths are one more than they are, and there are
    %% tags, none here, in the header of the request as well.
    Name = <<"__cluster_metadata">>,
    Topic = [byte_size(Name) + 1, Name, 2, <<0:32>>, 0, 0],
    Size = byte_size(Name),
    case ask(Socket, ?DESCRIBE_QUORUM, 0, [0, 2, Topic, 0]) of
        <<0, 0:16, 2, _, Name:Size/binary, 2, 0:32, 0:16, Leader:32/signed, _/binary>> when Leader >= 0 ->
            Leader;
        _ ->
            none
    end.

%% @doc Puts all members out of a group of real brokers: to them they have left.
evict(Socket, Group) ->
    Leave = fun(Member) -> ask(Socket, ?LEAVE_GROUP, 0, [string(Group), string(Member)]) end,
    [<<0:16>> = Leave(Member) || Member <- members(Socket, Group)],
    ok.

members(Socket, Group) ->
    <<1:32, 0:16, Described/binary>> = ask(Socket, ?DESCRIBE_GROUPS, 0, array([string(Group)])),
    {_, Members} = texts([16, 16, 16, 16], Described),
    {Ids, <<>>} = many(fun member/1, Members),
    Ids.

member(Text) ->
    {[Id | _], After} = texts([16, 16, 16, 32, 32], Text),
    {Id, After}.

%% Strings and bytes one after another, by the bits of their sizes.
texts([], Rest) ->
    {[], Rest};
texts([Bits | Others], Text) ->
    <<Size:Bits, First:Size/binary, Rest/binary>> = Text,
    {Found, After} = texts(Others, Rest),
    {[First | Found], After}.

%% @doc The committed offset of each of the partitions; -1 where there is none.
committed(Socket, Group, Partitions) ->
    Topics = topics(Partitions, fun(Partition) -> <<Partition:32>> end),
    Answer = ask(Socket, ?OFFSET_FETCH, 1, [string(Group), Topics]),
    by_partition(Answer, fun committed/1).

%% @doc The offset behind the last message of each.
ends(Socket, Partitions) ->
    Topics = topics(Partitions, fun(Partition) -> <<Partition:32, -1:64>> end),
    by_partition(ask(Socket, ?LIST_OFFSETS, 1, [<<-1:32>>, Topics]), fun listed/1).

topics(Partitions, Pack) ->
    ByTopic = maps:groups_from_list(
        fun({Topic, _}) -> Topic end, fun({_, Partition}) -> Pack(Partition) end, Partitions
    ),
    array([[string(Topic), array(Packed)] || {Topic, Packed} <- maps:to_list(ByTopic)]).

by_partition(Answer, Take) ->
    {Found, <<>>} = many(fun(Topic) -> topic(Topic, Take) end, Answer),
    maps:from_list(lists:append(Found)).

%% @doc Joins a group of the embedded cluster as a member that takes part in
%% nothing: a function that waits for the answer, and leaves.
hold_group(Socket, Group, Strategy, Session) ->
    Protocol = [string(Strategy), <<0:32>>],
    Wait = send(Socket, ?JOIN_GROUP, 0, [
        string(Group), <<Session:32>>, string(<<"holder">>), string(<<"consumer">>), array([Protocol])
    ]),
    fun() ->
        <<0:16, _/binary>> = Wait(),
        <<0:16>> = (send(Socket, ?LEAVE_GROUP, 0, [string(Group), string(<<"holder">>)]))(),
        ok
    end.

ask(Socket, Api, Version, Body) ->
    (send(Socket, Api, Version, Body))().

%% A function that waits for the answer.
send(Socket, Api, Version, Body) ->
    Number = erlang:unique_integer([positive]) band 16#7fffffff,
    ok = gen_tcp:send(Socket, [<<Api:16, Version:16, Number:32>>, string(<<"test">>), Body]),
    fun() ->
        {ok, <<Number:32, Answer/binary>>} = gen_tcp:recv(Socket, 0, ?TIMEOUT),
        Answer
    end.

string(Text) -> [<<(iolist_size(Text)):16>>, Text].

array(Elements) -> [<<(length(Elements)):32>> | Elements].

topic(<<Size:16, Topic:Size/binary, Rest/binary>>, Take) ->
    {Partitions, After} = many(Take, Rest),
    {[{{Topic, Number}, Offset} || {Number, Offset} <- Partitions], After}.

committed(<<Number:32, Offset:64/signed, Size:16/signed, Rest/binary>>) ->
    Metadata = max(0, Size),
    %% Where the broker answers with an error, the offset is -1.
    <<_:Metadata/binary, _Error:16, After/binary>> = Rest,
    {{Number, Offset}, After}.

listed(<<Number:32, 0:16, _Timestamp:64, Offset:64, Rest/binary>>) ->
    {{Number, Offset}, Rest}.

many(Take, <<Count:32, Rest/binary>>) ->
    many(Take, Count, Rest, []).

many(_Take, 0, Rest, Taken) ->
    {lists:reverse(Taken), Rest};
many(Take, Count, Rest, Taken) ->
    {One, After} = Take(Rest),
    many(Take, Count - 1, After, [One | Taken]).
