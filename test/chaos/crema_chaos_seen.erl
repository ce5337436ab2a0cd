%% What brokers hold, as kcat reads it: nothing of crema's stands between.
-module(crema_chaos_seen).

-export([log/3, commits/1]).

%% @doc All of a topic, for readers of that isolation: of each partition offsets and the names
%% in the values, in order.
log(Folder, Topic, Isolation) ->
    Bytes = read(Folder, Topic, Isolation, "%p %o %S %s"),
    lists:sort(maps:to_list(entries(Bytes, #{}))).

entries(<<>>, Found) ->
    maps:map(fun(_, Entries) -> lists:sort(Entries) end, Found);
entries(Bytes0, Found) ->
    {Partition, Bytes1} = number(Bytes0),
    {Offset, Bytes2} = number(Bytes1),
    {Value, Rest} = sized(Bytes2),
    Entry = {Offset, crema_chaos_handler:message(Value)},
    entries(Rest, maps:update_with(Partition, fun(Of) -> [Entry | Of] end, [Entry], Found)).

%% @doc Each commit of each group, in the order of its partition of the topic in which
%% brokers keep them: when, of which group, topic and partition, and the offset.
commits(Folder) ->
    Bytes = read(Folder, <<"__consumer_offsets">>, committed, "%T %K %k%S %s"),
    commit(Bytes).

commit(<<>>) ->
    [];
commit(Bytes0) ->
    {Time, Bytes1} = number(Bytes0),
    {Key, Bytes2} = sized(Bytes1),
    {Value, Rest} = sized(Bytes2),
    case {Key, Value} of
        {<<Version:16, G:16, Group:G/binary, T:16, Topic:T/binary, Partition:32>>,
            <<_:16, Offset:64, _/binary>>} when Version =< 1 ->
            [{Time, Group, {Topic, Partition}, Offset} | commit(Rest)];
        _ ->
            %% Of a group itself, or one that is forgotten.
            commit(Rest)
    end.

number(Bytes) ->
    [Number, Rest] = binary:split(Bytes, <<" ">>),
    {binary_to_integer(Number), Rest}.

%% Null is of the size -1.
sized(Bytes) ->
    {Size, Rest} = number(Bytes),
    Length = max(0, Size),
    <<Of:Length/binary, After/binary>> = Rest,
    {Of, After}.

read(Folder, Topic, Isolation, Format) ->
    File = filename:join(Folder, Topic),
    Command = [
        "kcat -C -q -e -b ", os:getenv("KAFKA_BOOTSTRAP"), " -X isolation.level=read_",
        atom_to_list(Isolation), " -o beginning -f '", Format, "' -t ", Topic
    ],
    "" = os:cmd(binary_to_list(iolist_to_binary([Command, " 2>&1 >", File]))),
    {ok, Bytes} = file:read_file(File),
    ok = file:delete(File),
    Bytes.
