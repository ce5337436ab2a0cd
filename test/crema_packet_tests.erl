%% The packed formats, and the properties of what crosses a port.
-module(crema_packet_tests).

-include_lib("eunit/include/eunit.hrl").

%% PropEr's cases take longer than EUnit allows by itself.
-define(SECONDS, 600).

properties_test_() ->
    %% The properties of prop_crema_packet hold, with so many cases as
    %% CREMA_PROPER_CASES says.
    [
        {timeout, ?SECONDS, {atom_to_list(Name), fun() -> ?assert(holds(Name)) end}}
     || Name <- [prop_round_trip, prop_bytes_to_a_port]
    ].

holds(Name) ->
    proper:quickcheck(prop_crema_packet:Name(), [quiet, {to_file, user}, long_result]) =:= true.

reports_are_unpacked_test() ->
    %% A report has its numbers with their signs.
    One = <<-185:16, 1, -1:32, -1001:64, -1:64>>,
    Two = <<0:16, 2, 7:32, 123456789012:64, 1700000000000:64>>,
    ?assertEqual(
        [{-185, 1, -1, -1001, -1}, {0, 2, 7, 123456789012, 1700000000000}],
        crema_packet:reports(<<One/binary, Two/binary>>)
    ),
    ?assertEqual(
        [{5, {-185, 1, -1, -1001, -1}}, {6, {0, 2, 7, 123456789012, 1700000000000}}],
        crema_packet:tagged_reports(<<5:64, One/binary, 6:64, Two/binary>>)
    ).

topic_is_packed_once_test() ->
    %% A topic is named where it changes; its forms are one.
    Messages = [#{topic => T} || T <- [<<"topic">>, "topic", topic, <<"other">>]],
    {ok, Packed, []} = crema_packet:produce(none, refuse, <<>>, 0, <<>>, 1000000, Messages),
    Names = binary:matches(iolist_to_binary(Packed), [<<"topic">>, <<"other">>]),
    ?assertMatch([_, _], Names).

any_atom_names_a_topic_test() ->
    %% The first message names its topic, whatever it is; what is none is told.
    [
        ?assertEqual(
            packed([#{topic => atom_to_binary(Topic), value => <<"v">>} || _ <- Calls]),
            packed([#{topic => Topic, value => <<"v">>} || _ <- Calls])
        )
     || Topic <- [none, topic, skipped], Calls <- [[1], [1, 2]]
    ],
    [
        ?assertMatch(
            {error, {0, topic, _}},
            crema_packet:produce(none, refuse, <<>>, 0, <<>>, 1000000, [#{topic => No, value => <<"v">>}])
        )
     || No <- [undefined, nil, <<>>, "", '', 1, []]
    ].

topics_take_turns_test() ->
    %% Each change of the topic names it, whatever else a message has.
    Messages = [
        maps:put(topic, Topic, Message)
     || Message <- [#{value => <<"v">>}, #{value => <<"v">>, key => <<"k">>}, #{}],
        Topic <- [<<"first">>, <<"first">>, <<"other">>]
    ],
    Names = binary:matches(packed(Messages), [<<"first">>, <<"other">>]),
    ?assertEqual(6, length(Names)).

packed(Messages) ->
    {ok, Packed, []} = crema_packet:produce(none, refuse, <<>>, 0, <<>>, 1000000, Messages),
    iolist_to_binary(Packed).

values_behind_test() ->
    %% Large values are not in the packed bytes but behind them, in order.
    Large = [binary:copy(<<N>>, 16384) || N <- [1, 2]],
    Values = [hd(Large), <<"small">>, lists:last(Large), binary:copy(<<3>>, 16383)],
    Messages = [#{topic => t, value => V} || V <- Values],
    {ok, Command, Behind} = crema_packet:produce(none, refuse, <<>>, 0, <<>>, 1000000, Messages),
    Packed = iolist_to_binary(Command),
    ?assert(Large =:= Behind),
    ?assertEqual(nomatch, binary:match(Packed, <<1, 1, 1, 1, 1, 1>>)),
    ?assertMatch({_, 16383}, binary:match(Packed, binary:copy(<<3>>, 16383))),
    %% one message alone is packed by another clause
    [
        begin
            Alone = [#{topic => <<"t">>, value => V}],
            {ok, One, Apart} = crema_packet:produce(none, refuse, <<>>, 0, <<>>, 1000000, Alone),
            ?assertEqual([V || byte_size(V) >= 16384], Apart),
            ?assertEqual(Apart =:= [], binary:match(iolist_to_binary(One), V) =/= nomatch)
        end
     || V <- Values
    ].

plain_test() ->
    %% What is packed without the layers between is what they would have packed; it is
    %% only what needs none of them.
    Messages = [
        #{topic => <<"t">>, value => <<"v">>},
        #{topic => <<"t">>, value => <<>>, key => <<"k">>},
        #{topic => binary:copy(<<"t">>, 249), value => binary:copy(<<"v">>, 1000), key => <<>>}
    ],
    [
        begin
            {ok, Packed, []} = crema_packet:produce(none, refuse, <<>>, 0, <<>>, 1000, [Message]),
            Plain = crema_packet:unheard(crema_packet:plain(Message, 1000)),
            ?assertEqual(iolist_to_binary(Packed), iolist_to_binary(Plain))
        end
     || Message <- Messages
    ],
    [First | _] = Messages,
    Others = [
        First#{partition => 1},
        First#{partition_key => <<"k">>},
        First#{headers => []},
        First#{topic => t},
        First#{topic => <<>>},
        First#{topic => binary:copy(<<"t">>, 250)},
        First#{key => undefined},
        First#{value => undefined},
        First#{value => ["v"]},
        First#{value => binary:copy(<<"v">>, 1001)},
        maps:remove(value, First),
        no_message
    ],
    [?assertEqual(none, crema_packet:plain(Message, 1000)) || Message <- Others],
    Large = binary:copy(<<"v">>, 16384),
    ?assertEqual(none, crema_packet:plain(First#{value => Large}, 1000000)).

values_are_bounded_test() ->
    %% No value is larger than it may be, whatever form it and its message have.
    Pack = fun(Value, More) ->
        Message = More#{topic => <<"t">>, value => Value},
        [
            case crema_packet:produce(none, refuse, <<>>, 0, <<>>, Max, Messages) of
                {ok, _, _} -> fits;
                {error, Fault} -> {Max, Fault}
            end
         || Max <- [100, 20000], Messages <- [[Message], [#{topic => <<"t">>}, Message]]
        ]
    end,
    Small = binary:copy(<<"v">>, 100),
    Large = binary:copy(<<"v">>, 20000),
    [
        begin
            ?assertEqual([fits, fits, fits, fits], Pack(Small, More)),
            ?assertMatch(
                [{100, {0, value, _}}, {100, {1, value, _}}, fits, fits], Pack([Small, $v], More)
            ),
            ?assertMatch(
                [{100, {0, value, _}}, {100, {1, value, _}}, fits, fits], Pack(Large, More)
            ),
            ?assertMatch(
                [_, _, {20000, {0, value, _}}, {20000, {1, value, _}}],
                Pack(<<Large/binary, $v>>, More)
            )
        end
     || More <- [#{}, #{key => <<"k">>}, #{headers => #{h => "x"}}]
    ].

headers_of_several_values_test() ->
    %% A header in a map may have several values, and comes once for each, in
    %% order; in a list the order is the list's, and a list is text.
    Pack = fun(Headers) ->
        {ok, Packed, []} = crema_packet:produce(
            none, refuse, <<>>, 0, <<>>, 100, [#{topic => t, headers => Headers}]
        ),
        iolist_to_binary(Packed)
    end,
    Pairs = [{<<"a">>, <<"1">>}, {<<"a">>, <<"22">>}, {<<"a">>, nil}, {<<"a">>, <<>>}],
    ?assertEqual(Pack(Pairs), Pack(#{a => [<<"1">>, "22", nil, <<>>]})),
    ?assertNotEqual(Pack(Pairs), Pack(lists:reverse(Pairs))),
    Text = Pack([{<<"a">>, <<"text">>}]),
    [?assertEqual(Text, Pack(#{a => Value})) || Value <- ["text", <<"text">>, [$t, <<"ext">>]]],
    [?assertEqual(Text, Pack([{a, Value}])) || Value <- ["text", [<<"te">>, "xt"], [<<"te">> | <<"xt">>]]],
    ?assertEqual(Pack([{a, <<>>}]), Pack(#{a => []})),
    Bad = [#{topic => t, headers => #{a => [<<"1">>, 2]}}],
    ?assertMatch(
        {error, {0, headers, _}}, crema_packet:produce(none, refuse, <<>>, 0, <<>>, 100, Bad)
    ).

unprepared_messages_are_told_test() ->
    %% A partition key is not packed: who has one must choose first.
    Messages = [#{topic => t}, #{topic => t, partition_key => <<"k">>}],
    ?assertEqual(
        {error, unprepared}, crema_packet:produce(none, refuse, <<>>, 0, <<>>, 100, Messages)
    ).

batches_are_counted_test() ->
    %% A batch tells the number of its messages, with headers or not.
    Plain = <<3, 7:64, 0:64, 1:32, 2:32, "kvv">>,
    Headers = <<(7 bor 16), 8:64, 0:64, 0:32, 1:32, "v", 2:16, 1:16, "h", -1:32, 0:16, 1:32, "x">>,
    Batch = <<3:32, Plain/binary, Headers/binary, Plain/binary>>,
    ?assertEqual(3, crema_record_batch:count(Batch)),
    Messages = crema_record_batch:messages(Batch, <<>>, {self(), 5}, {<<"t">>, 3, nil}),
    ?assertMatch(
        [
            #{offset := 7, key := <<"k">>, value := <<"vv">>, headers := []},
            #{
                offset := 8, key := <<>>, value := <<"v">>, timestamp_type := create,
                headers := [{<<"h">>, nil}, {<<>>, <<"x">>}], topic := <<"t">>, partition := 3
            },
            #{offset := 7}
        ],
        Messages
    ).

numbers_and_nulls_are_read_test() ->
    %% A timestamp may be negative, offsets and timestamps have 63 bits, and what is null is
    %% told from what is empty, with a key or without.
    Most = (1 bsl 63) - 1,
    Numbers = [{0, -1}, {1 bsl 32, -Most}, {1 bsl 59, 1 bsl 59}, {Most, Most}, {7, (1 bsl 59) - 1}],
    Parts = [
        {Flags, <<Key/binary, Value/binary>>, byte_size(Key), byte_size(Value), headers(Flags)}
     || Flags <- lists:seq(0, 7), Key <- [<<>>, <<"k">>], Value <- [<<>>, <<"vv">>],
        Flags band 1 =/= 0 orelse Key =:= <<>>, Flags band 2 =/= 0 orelse Value =:= <<>>
    ],
    Cases = [{Part, Number, Type} || Part <- Parts, Number <- Numbers, Type <- [0, 1, 2]],
    Batch = [
        <<(Flags bor (Type bsl 4)), Offset:64, Time:64, Key:32, Value:32, Bytes/binary, Headers/binary>>
     || {{Flags, Bytes, Key, Value, Headers}, {Offset, Time}, Type} <- Cases
    ],
    Packed = iolist_to_binary([<<(length(Batch)):32>> | Batch]),
    Messages = crema_record_batch:messages(Packed, <<>>, none, {<<"t">>, 3, nil}),
    ?assertEqual([expected(Case) || Case <- Cases], Messages).

headers(Flags) when Flags band 4 =/= 0 -> <<1:16, 1:16, "h", 2:32, "xy">>;
headers(_) -> <<>>.

expected({{Flags, Bytes, KeySize, _, Headers}, {Offset, Time}, Type}) ->
    <<Key:KeySize/binary, Value/binary>> = Bytes,
    #{
        topic => <<"t">>, partition => 3, offset => Offset, timestamp => Time,
        timestamp_type => element(Type + 1, {undefined, create, append}),
        key => case Flags band 1 of 0 -> nil; 1 -> Key end,
        value => case Flags band 2 of 0 -> nil; 2 -> Value end,
        headers => [{<<"h">>, <<"xy">>} || Headers =/= <<>>]
    }.

acknowledged_messages_are_left_out_test() ->
    %% A batch that comes again has a bit for each message that was acknowledged.
    Message = fun(Offset) -> <<0, Offset:64, 0:64, 0:32, 0:32>> end,
    Messages = <<<<(Message(N))/binary>> || N <- lists:seq(0, 19)>>,
    Batch = <<20:32, Messages/binary>>,
    Acked = [0, 1, 7, 8, 19],
    Byte = fun(At) -> lists:sum([1 bsl (N - At) || N <- Acked, N >= At, N < At + 8]) end,
    Mask = <<<<(Byte(At))>> || At <- [0, 8, 16]>>,
    Left = crema_record_batch:messages(Batch, Mask, {self(), 1}, {<<"t">>, 0, undefined}),
    ?assertEqual(lists:seq(0, 19) -- Acked, [Offset || #{offset := Offset} <- Left]).

messages_may_be_structs_of_elixir_test() ->
    %% The same fields, and a struct's key; what is read has the field of the token too.
    Batch = <<1:32, (7 bor 16), 8:64, 0:64, 0:32, 1:32, "v", 1:16, 1:16, "h", -1:32>>,
    [{struct, nil}, nil] = [
        crema_record_batch:form(#{message => Form, null => nil}) || Form <- [struct, map]
    ],
    [
        begin
            [Map] = crema_record_batch:messages(Batch, <<>>, Source, {<<"t">>, 3, Null}),
            [Struct] = crema_record_batch:messages(Batch, <<>>, Source, {<<"t">>, 3, {struct, Null}}),
            Keys = #{'__struct__' => 'Elixir.Crema.Message', token => nil},
            ?assertEqual(maps:merge(Keys, Map), Struct)
        end
     || Source <- [{self(), 5}, none], Null <- [nil, undefined]
    ].
