%% Topic handles: what they do to messages on their way.
-module(crema_topic_SUITE).

-include_lib("stdlib/include/assert.hrl").

-behaviour(crema_validator).
-behaviour(crema_selector).
-behaviour(crema_serializer).
-behaviour(crema_middleware).

-export([all/0, suite/0, init_per_suite/1, end_per_suite/1, end_per_testcase/2]).
-export([
    is_a_producer/1, serializers/1, metadata_and_data/1, validators/1, selectors/1,
    middleware/1, wrong_options/1, wrong_messages/1, pushed_plainly/1,
    in_a_transaction/1, pushed_and_committed/1, of_a_pool/1
]).
-export([validate/3, select/4, serialize/2, deserialize/2, handle_message/2]).

suite() -> [{timetrap, {seconds, 60}}].

all() ->
    [
        is_a_producer, serializers, metadata_and_data, validators, selectors,
        middleware, wrong_options, wrong_messages, pushed_plainly,
        in_a_transaction, pushed_and_committed, of_a_pool
    ].

init_per_suite(Config) -> crema_ct:start(Config).

end_per_suite(Config) -> crema_ct:stop(Config).

end_per_testcase(_, _Config) -> crema_ct_pool:cleanup().

%% ---- the behaviours, in their module form --------------------------------------

validate(Metadata, Data, Args) ->
    case Metadata of
        {bad, Reason} -> {error, {Reason, Data, Args}};
        nonsense -> nonsense;
        _ -> ok
    end.

select(Metadata, Requested, Count, Args) ->
    case Metadata of
        {to, Partition} -> Partition;
        _ -> Args ! {selecting, Metadata, Requested, Count}, 0
    end.

serialize(Term, Args) ->
    case Term of
        bad -> {error, is_bad};
        _ -> {ok, [Args, atom_to_binary(Term)]}
    end.

deserialize(Bytes, Args) ->
    Size = length(Args),
    <<_:Size/binary, Name/binary>> = Bytes,
    {ok, binary_to_existing_atom(Name)}.

handle_message(Message, Args) ->
    case Message of
        #{label := skip} -> skip;
        #{label := {no, Reason}} -> {error, Reason};
        #{key := Key} -> {ok, Message#{key := [Key, Args]}};
        #{} -> {ok, Message#{key => Args}}
    end.

%% ---- messages ------------------------------------------------------------------

is_a_producer(Config) ->
    %% A handle is used like a producer, without naming the topic in messages; it
    %% may be named.
    {P, Topic} = start(Config, 1),
    {ok, Handle} = crema:topic(P, binary_to_list(Topic)),
    Message = #{value => <<"v">>, partition => 0, label => l},
    {ok, #{topic := Topic, offset := 0, label := l}} = crema:produce(Handle, Message),
    {ok, #{offset := 1}} = crema:produce(Handle, Message#{topic => Topic}, #{timeout => 10000}),
    {ok, Ref} = crema:produce_async(Handle, Message),
    {ok, #{offset := 2}} = crema:await(Ref),
    {ok, [{ok, #{offset := 3}}, {ok, _}]} = crema:produce_many(Handle, [Message, Message]),
    {ok, Many} = crema:produce_many_async(Handle, [Message]),
    ok = crema:flush(Handle, 10000),
    {ok, [{ok, #{offset := 5, topic := Topic}}]} = crema:await(Many, 0),
    ok = crema:produce_async(Handle, Message, #{report => none}),
    ok = crema:purge(Handle),
    ok = crema:flush(Handle, 10000),
    ?assertMatch({error, {not_found, _}}, produce_to(nobody)),
    crema_ct:quiet().

produce_to(Producer) ->
    {ok, Handle} = crema:topic(Producer, <<"t">>),
    crema:produce(Handle, #{value => <<>>}).

serializers(Config) ->
    %% What each serializer writes it reads back, and what it cannot write is a
    %% fault of the message.
    {P, Topic} = start(Config, 1),
    Own = {?MODULE, "own:"},
    Cases = [
        {raw, ["a", <<"b">>], <<"ab">>},
        {term, {tuple, #{a => [1]}, self()}, {tuple, #{a => [1]}, self()}},
        {json, #{<<"a">> => [1, null]}, #{<<"a">> => [1, null]}},
        {Own, espresso, espresso}
    ],
    _ = crema_ct:consumer(Config, Topic, #{to => self()}, #{}),
    [
        begin
            {ok, Handle} = crema:topic(P, Topic, #{serializer => Serializer}),
            {ok, _} = crema:produce(Handle, #{value => Term}),
            [{_, Message}] = crema_ct:handled(1),
            ?assertEqual({ok, Read, undefined}, crema_serializer:read(Serializer, Message)),
            {ok, _} = crema:produce(Handle, #{value => undefined, key => <<"k">>}),
            [{_, #{value := undefined} = Tombstone}] = crema_ct:handled(1),
            ?assertEqual({ok, undefined, undefined}, crema_serializer:read(Serializer, Tombstone))
        end
     || {Serializer, Term, Read} <- Cases
    ],
    [
        begin
            {ok, Handle} = crema:topic(P, Topic, #{serializer => Serializer}),
            ?assertMatch(
                {error, {bad_message, #{field := value, index := 0, reason := Reason}}},
                crema:produce(Handle, #{value => Bad})
            )
        end
     || {Serializer, Bad, Reason} <- [{raw, bad, not_iodata}, {Own, bad, is_bad}]
    ],
    Foreign = <<131, 119, 12, "never_made_x">>,
    ?assertEqual({error, not_a_term}, crema_serializer:deserialize(term, Foreign)),
    ?assertMatch({error, _}, crema_serializer:deserialize(json, <<"{">>)).

metadata_and_data(Config) ->
    %% Metadata is serialized into a header, data of several segments becomes the
    %% value as it is, whatever its size; either may be missing.
    {P, Topic} = start(Config, 1),
    {ok, Handle} = crema:topic(P, Topic, #{serializer => json}),
    Large = binary:copy(<<"L">>, 40000),
    Given = [
        {#{<<"energy">> => 1}, [<<"seg">>, "ment", [Large]]},
        {[1], undefined},
        {undefined, <<"data">>},
        {undefined, nil}
    ],
    Refs = [crema:push(Handle, Metadata, Data) || {Metadata, Data} <- Given],
    [?assertMatch({ok, _}, crema:await(Ref)) || {ok, Ref} <- Refs],
    {ok, _} = crema:produce(Handle, #{data => <<"d">>, headers => #{h => <<"1">>}}),
    {ok, _} = crema:produce(Handle, #{metadata => 7, headers => [{<<"metadata">>, <<"own">>}]}),
    _ = crema_ct:consumer(Config, Topic, #{to => self()}, #{}),
    Handled = [Message || {_, Message} <- crema_ct:handled(6)],
    ?assertEqual(
        [
            {ok, #{<<"energy">> => 1}, <<"segment", Large/binary>>},
            {ok, [1], undefined},
            {ok, undefined, <<"data">>},
            {ok, undefined, undefined},
            {ok, undefined, <<"d">>},
            {ok, 7, undefined}
        ],
        [crema_serializer:read(json, Message) || Message <- Handled]
    ),
    ?assertEqual(
        [{<<"metadata">>, undefined}, {<<"h">>, <<"1">>}], maps:get(headers, lists:nth(5, Handled))
    ).

validators(Config) ->
    %% A validator sees metadata (or the value) and data before they are bytes;
    %% what it refuses is not sent, nor anything else of the call. Tombstones
    %% pass.
    {P, Topic} = start(Config, 1),
    Fun = fun(Metadata, Data) -> validate(Metadata, Data, args) end,
    [
        begin
            {ok, Handle} = crema:topic(P, Topic, #{validator => Validator, serializer => term}),
            Good = #{metadata => good, data => <<"d">>},
            Bad = Good#{metadata := {bad, taste}},
            {error, {bad_message, Details}} = crema:produce_many(Handle, [Good, Bad]),
            ?assertMatch(#{index := 1, field := metadata, reason := {taste, <<"d">>, Args}}, Details),
            ?assertMatch(
                {error, {bad_message, #{field := value, reason := {taste, undefined, Args}}}},
                crema:push(Handle, #{value => {bad, taste}})
            ),
            ?assertMatch(
                {error, {bad_message, #{reason := nonsense}}},
                crema:produce(Handle, #{value => nonsense})
            ),
            {ok, _} = crema:produce(Handle, #{key => <<"k">>})
        end
     || {Validator, Args} <- [{?MODULE, []}, {{?MODULE, args}, args}, {Fun, args}]
    ],
    ?assertMatch(#{accepted := 3}, crema:info(P)).

selectors(Config) ->
    %% A selector chooses the partition, within the topic's; without one a
    %% requested partition is taken modulo their number.
    {P, Topic} = start(Config, 3),
    {ok, Plain} = crema:topic(P, Topic, #{serializer => term}),
    ?assertMatch({ok, #{partition := 2}}, crema:produce(Plain, #{value => 1, partition => 5})),
    {ok, Handle} = crema:topic(P, Topic, #{serializer => term, selector => {?MODULE, self()}}),
    {ok, #{partition := 0}} = crema:produce(Handle, #{metadata => here, partition => 7}),
    ?assertEqual({selecting, here, 7, 3}, received()),
    {ok, #{partition := 0}} = crema:produce(Handle, #{value => there}),
    ?assertEqual({selecting, there, undefined, 3}, received()),
    [
        ?assertMatch({ok, #{partition := N}}, crema:produce(Handle, #{metadata => {to, N}}))
     || N <- [0, 1, 2]
    ],
    ?assertMatch({ok, _}, crema:produce(Handle, #{metadata => {to, -1}, key => <<"k">>})),
    [
        ?assertMatch(
            {error, {bad_message, #{field := partition}}},
            crema:produce(Handle, #{metadata => {to, Wrong}})
        )
     || Wrong <- [3, -2, one]
    ],
    {ok, Fun} = crema:topic(P, Topic, #{selector => fun(_, _, Count) -> Count - 1 end}),
    ?assertMatch({ok, #{partition := 2}}, crema:produce(Fun, #{value => <<>>})),
    ?assertMatch({error, {bad_message, _}}, crema:produce(Plain, #{value => 1, partition => one})).

middleware(Config) ->
    %% Middleware before the validator gets the message as given, that behind the
    %% serializer gets bytes; either may change, skip or refuse it.
    {P, Topic} = start(Config, 1),
    Test = self(),
    Look = fun(Name) ->
        fun(#{value := Value} = Message) ->
            Test ! {Name, Value},
            {ok, Message}
        end
    end,
    {ok, Handle} = crema:topic(P, Topic, #{
        serializer => term,
        prepend => [{?MODULE, "a"}, Look(given)],
        append => [Look(sent), {?MODULE, "b"}]
    }),
    {ok, _} = crema:produce(Handle, #{value => {term}, label => none}),
    ?assertEqual({given, {term}}, received()),
    ?assertEqual({sent, term_to_binary({term})}, received()),
    {ok, skipped} = crema:produce(Handle, #{value => 1, label => skip}),
    ?assertMatch(
        {ok, [{ok, skipped}, {ok, #{offset := 1}}, {ok, skipped}]},
        crema:produce_many(Handle, [
            #{value => 1, label => skip}, #{value => 2}, #{value => 3, label => skip}
        ])
    ),
    ?assertMatch(
        {error, {middleware, #{index := 1, reason := taste}}},
        crema:produce_many(Handle, [#{value => 1}, #{value => 2, label => {no, taste}}])
    ),
    {ok, Ref} = crema:push(Handle, #{value => 1, label => skip}),
    ?assertEqual({ok, skipped}, crema:await(Ref)),
    _ = crema_ct:consumer(Config, Topic, #{to => self()}, #{}),
    ?assertMatch([#{key := <<"ab">>}, _], [M || {_, M} <- crema_ct:handled(2)]).

wrong_options(_Config) ->
    %% Every wrong option of a handle is named.
    Wrong = #{
        validator => fun() -> ok end,
        selector => no_such_module,
        serializer => xml,
        prepend => [not_there],
        append => fun(M) -> {ok, M} end,
        pipeline => -1,
        ordering => none,
        batch => {fixed, 0},
        max_batches => 0,
        linger => 5
    },
    {error, {bad_options, #{faults := Faults}}} = crema:topic(p, t, Wrong),
    ?assertEqual(lists:sort(maps:keys(Wrong)), lists:sort([O || #{option := O} <- Faults])),
    ?assertMatch({error, {bad_message, #{field := topic}}}, crema:topic(p, <<>>)),
    ?assertMatch({ok, _}, crema:topic(p, t, [{serializer, json}, {batch, adaptive}])).

wrong_messages(Config) ->
    %% What is no message of this handle is refused, and its field named.
    {P, Topic} = start(Config, 1),
    {ok, Handle} = crema:topic(P, Topic),
    [
        ?assertMatch(
            {error, {bad_message, #{field := Field, index := 0}}}, crema:produce(Handle, Message)
        )
     || {Message, Field} <- [
            {#{topic => other, value => <<>>}, topic},
            {#{value => <<>>, metadata => <<>>}, value},
            {#{value => <<>>, data => <<>>}, value},
            {#{value => atom}, value},
            {text, message}
        ]
    ],
    ?assertMatch({error, {bad_message, _}}, crema:produce(Handle, #{data => atom})),
    ?assertMatch({error, {bad_message, _}}, crema:produce(Handle, #{value => <<>>, colour => red})),
    ?assertMatch({error, {bad_message, _}}, crema:produce_many(Handle, [])),
    ?assertMatch(#{accepted := 0}, crema:info(P)).

pushed_plainly(Config) ->
    %% Without pipeline and batches a push is a produce call; no process is made.
    {P, Topic} = start(Config, 1),
    {ok, Handle} = crema:topic(P, Topic, #{serializer => term}),
    {ok, Ref} = crema:push(Handle, {meta}, <<"data">>),
    ?assertMatch({ok, #{offset := 0, topic := Topic}}, crema:await(Ref)),
    {crema_topic, P, #{id := Id}} = Handle,
    ?assertEqual(undefined, crema_helper:find(P, Id)),
    ok = crema:flush(Handle, 1000),
    ok = crema:close_topic(Handle, 1000).

in_a_transaction(Config) ->
    %% A handle of a transaction has batches as well, and a transaction a buffer:
    %% what is sent while it is open belongs to it, what comes later is refused.
    Id = crema_ct:unique(<<"id">>),
    P = crema_ct:producer(Config, #{kafka => #{'transactional.id' => Id}}),
    Topic = crema_ct:topic(Config, 1),
    Run = fun(Transaction) ->
        {ok, Handle} = crema:topic(Transaction, Topic, #{batch => {fixed, 2}}),
        Refs = [pushed(Handle) || _ <- [0, 1, 2]],
        [0, 1, 2] = offsets(Refs),
        Message = #{topic => Topic, partition => 0, value => <<>>},
        ok = crema:buffer(Transaction, Message),
        {ok, [{ok, #{offset := 3}}]} = crema:flush_buffer(Transaction),
        ok = crema:buffer(Transaction, Message),
        Handle
    end,
    {ok, Handle} = crema:transaction(P, Run),
    ?assertMatch({error, {stale_transaction, _}}, crema:await(pushed(Handle))),
    %% What it has left in the buffer keeps nobody's message back.
    ok = crema:buffer(P, #{topic => Topic, value => <<>>}),
    ?assertMatch(
        {ok, [
            {error, {stale_transaction, #{topic := Topic, status := not_persisted}}},
            {ok, #{topic := Topic}}
        ]},
        crema:flush_buffer(P)
    ),
    ?assertEqual(0, crema:buffer_size(P)).

pushed_and_committed(Config) ->
    %% What the function of a transaction has pushed is committed with the rest,
    %% also what still lies in a batch or with an encoder when it returns.
    Id = crema_ct:unique(<<"id">>),
    P = crema_ct:producer(Config, #{kafka => #{'transactional.id' => Id}}),
    Topic = crema_ct:topic(Config, 1),
    Run = fun(Of, Options) ->
        crema:transaction(P, fun(Transaction) ->
            {ok, Handle} = crema:topic(Of(Transaction), Topic, Options),
            [pushed(Handle) || _ <- [0, 1, 2]]
        end)
    end,
    Variant = fun(Transaction) ->
        {ok, Variant} = crema:variant(Transaction, #{timeout => 5000}),
        Variant
    end,
    [
        begin
            {ok, Refs} = Run(Of, Options),
            ?assertMatch([{ok, _}, {ok, _}, {ok, _}], [crema:await(Ref, 0) || Ref <- Refs])
        end
     || Of <- [fun(T) -> T end, Variant],
        Options <- [#{batch => {fixed, 10}}, #{batch => adaptive}, #{pipeline => 2}]
    ].

of_a_pool(Config) ->
    %% A handle of a pool has one of its producers for its batches, and so has the
    %% pool's buffer: order is kept, and a flush waits for them.
    Topic = crema_ct:topic(Config, 1),
    Pool = crema_ct_pool:pool(Config, #{size => 3}),
    {ok, Handle} = crema:topic(Pool, Topic, #{batch => {fixed, 7}}),
    Refs = [pushed(Handle) || _ <- lists:seq(0, 99)],
    ?assertEqual(lists:seq(0, 99), offsets(Refs)),
    Last = pushed(Handle),
    ok = crema:flush(Handle, 10000),
    ?assertMatch({ok, #{offset := 100}}, crema:await(Last, 0)),
    Message = #{topic => Topic, partition => 0, value => <<>>},
    Callers = [fun() -> ok = crema:buffer(Pool, Message) end || _ <- lists:seq(1, 8)],
    _ = crema_ct:spawned(Callers),
    ok = crema:buffer(Handle, #{value => <<>>, partition => 0}),
    ?assertEqual(9, crema:buffer_size(Pool)),
    {ok, Results} = crema:flush_buffer(Pool),
    ?assertEqual(lists:seq(101, 109), [Offset || {ok, #{offset := Offset}} <- Results]),
    ok = crema:close_topic(Handle, 10000).

%% ---- helpers -------------------------------------------------------------------

start(Config, Partitions) ->
    {crema_ct:producer(Config), crema_ct:topic(Config, Partitions)}.

received() ->
    receive
        Message -> Message
    after 10000 -> error(nothing_received)
    end.

pushed(Handle) ->
    {ok, Ref} = crema:push(Handle, #{value => <<>>, partition => 0}),
    Ref.

offsets(Refs) ->
    [
        begin
            {ok, #{offset := Offset}} = crema:await(Ref, 20000),
            Offset
        end
     || Ref <- Refs
    ].
