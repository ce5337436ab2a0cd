%% @doc Kafka for Erlang and Elixir, on librdkafka.
%%
%% This is the facade: everything that is done with a running producer or
%% consumer. They are started in the user's own supervision tree by
%% {@link crema_producer} and {@link crema_consumer}.
-module(crema).

-export([produce/2, produce/3, produce_async/2, produce_async/3]).
-export([produce_many/2, produce_many/3, produce_many_async/2, produce_many_async/3]).
-export([tombstone/3, tombstone/4, tombstone_async/3, tombstone_async/4]).
-export([tombstone_many/2, tombstone_many/3, tombstone_many_async/2, tombstone_many_async/3]).
-export([await/1, await/2, await_many/2, completed/1, reports/1]).
-export([flush/2, purge/1, queue_size/1, disconnect/1, partition_count/2, variant/2]).
-export([transaction/2, transaction/3, abort/2, send_offsets/3, group_metadata/1]).
-export([buffer/2, buffer_many/2, flush_buffer/1, flush_buffer/2, flush_buffer_async/1]).
-export([buffer_size/1, purge_buffer/1, ack/1, ack/2, nack/1, nack/2, delegate/2]).
-export([topic/2, topic/3, push/2, push/3, close_topic/2]).
-export([pause/2, resume/2, seek/3, commit/1, commit/2, fold/3]).
-export([check/1, info/0, info/1, status/1, statistics/1, await_ready/2, explain_config/1]).

-export_type([message/0, tombstone/0, report/0, result/0, ref/0, callback/0]).
-export_type([produce_options/0, tombstone_options/0, producer/0, variant/0, topic/0]).
-export_type([transaction/0, transaction_options/0, offset/0, group_metadata/0]).

-type message() :: crema_types:message() | crema_types:topic_message().
%% Those of a topic handle have no topic, and other fields.

-type report() :: crema_types:report().
-type result() :: {ok, report()} | crema_error:error().
-type tombstone() :: crema_types:message().
%% A message with a key, and without a value.

-type produce_options() :: crema_types:produce_options().
-type tombstone_options() :: map().
%% Those, and of the message: `partition' or `partition_key', `headers',
%% `timestamp', `label'.

-type callback() :: crema_types:callback().
-opaque variant() :: crema_variant:variant().
-opaque topic() :: crema_topic:handle().
-opaque ref() :: crema_await:ref().
-type producer() :: crema_types:client() | variant() | topic() | transaction().
%% What can be produced to: a producer, a variant, a topic handle or an open
%% transaction of one.

-opaque transaction() :: crema_transaction:handle().
-type transaction_options() :: crema_types:transaction_options().
-type offset() :: crema_types:offset().
-opaque group_metadata() :: crema_transaction:metadata().

%% How long a consumer on another node may take to answer.
-define(REMOTE_MS, 5000).

%% @doc Produces a message and waits for its delivery report, for at most the
%% producer's `request_timeout' (180000 ms); before that, when the queue is full, for a place,
%% at most `full_timeout' (10000 ms). `bad_message', `queue_full', `timeout'; or what became
%% of the message, with its `status': see the page on errors.
-spec produce(producer(), message()) -> result().
produce(Producer, Message) ->
    crema_produce:sync(Producer, {one, [Message]}, #{}).

%% @doc The same with options. `{error, {timeout, #{ref := Ref}}}' is not final:
%% the message may still be delivered, and `await(Ref)' tells.
-spec produce(producer(), message(), produce_options()) -> result().
produce(Producer, Message, Options) ->
    crema_produce:sync(Producer, {one, [Message]}, Options).

%% @doc Produces a message; its report is kept until {@link await/2} fetches it.
-spec produce_async(producer(), message()) -> {ok, ref()} | crema_error:error().
produce_async(Producer, Message) ->
    crema_produce:async(Producer, {one, [Message]}, #{}).

%% @doc The same with options. `report => none': nobody wants to know, returns
%% `ok'. `report => message': the caller gets messages that {@link reports/1}
%% reads, in which the message has the number given as `tag'; returns `ok'.
%% `report => Fun' or `{M, F, A}': called with the result of each message, in the
%% producer's reporter process, one after another; returns `ok'. Until it has
%% returned the message keeps its place in the queue. One that raises is logged.
-spec produce_async(producer(), message(), produce_options()) ->
    ok | {ok, ref()} | crema_error:error().
produce_async(Producer, Message, Options) ->
    crema_produce:async(Producer, {one, [Message]}, Options).

%% @doc Produces messages, of any topics, and waits for all reports. They are
%% checked and accepted all or none; an outer error means that nothing was sent
%% (but for `timeout', which is not final).
-spec produce_many(producer(), [message(), ...]) ->
    {ok, [result()]} | crema_error:error().
produce_many(Producer, Messages) ->
    crema_produce:sync(Producer, {many, Messages}, #{}).

%% @doc The same with options: see {@link produce/3}.
-spec produce_many(producer(), [message(), ...], produce_options()) ->
    {ok, [result()]} | crema_error:error().
produce_many(Producer, Messages, Options) ->
    crema_produce:sync(Producer, {many, Messages}, Options).

%% @doc Produces messages; the reports are kept until {@link await/2} fetches them,
%% together.
-spec produce_many_async(producer(), [message(), ...]) ->
    {ok, ref()} | crema_error:error().
produce_many_async(Producer, Messages) ->
    crema_produce:async(Producer, {many, Messages}, #{}).

%% @doc The same with options, as {@link produce_async/3}. With `report =>
%% message' the messages have the numbers `tag', `tag' + 1, and so on.
-spec produce_many_async(producer(), [message(), ...], produce_options()) ->
    ok | {ok, ref()} | crema_error:error().
produce_many_async(Producer, Messages, Options) ->
    crema_produce:async(Producer, {many, Messages}, Options).

%% @doc Tells that a key is gone: produces a message without a value, and waits
%% for its report. The key must not be null or empty.
-spec tombstone(producer(), iodata() | atom(), Key :: iodata()) -> result().
tombstone(Producer, Topic, Key) ->
    tombstone(Producer, Topic, Key, #{}).

%% @doc The same with options, of the message (`partition', `headers', ...) and of the call.
-spec tombstone(producer(), iodata() | atom(), Key :: iodata(), tombstone_options()) ->
    result().
tombstone(Producer, Topic, Key, Options) ->
    case crema_tombstone:one(Topic, Key, Options) of
        {ok, Call, CallOptions} -> crema_produce:sync(Producer, Call, CallOptions);
        {error, _} = Error -> Error
    end.

%% @doc A tombstone as {@link produce_async/2} sends a message.
-spec tombstone_async(producer(), iodata() | atom(), Key :: iodata()) ->
    {ok, ref()} | crema_error:error().
tombstone_async(Producer, Topic, Key) ->
    tombstone_async(Producer, Topic, Key, #{}).

%% @doc The same with options, of the message as well: see {@link produce_async/3}.
-spec tombstone_async(
    producer(), iodata() | atom(), Key :: iodata(), tombstone_options()
) -> ok | {ok, ref()} | crema_error:error().
tombstone_async(Producer, Topic, Key, Options) ->
    case crema_tombstone:one(Topic, Key, Options) of
        {ok, Call, CallOptions} -> crema_produce:async(Producer, Call, CallOptions);
        {error, _} = Error -> Error
    end.

%% @doc Tombstones, of any topics, as {@link produce_many/2} sends messages: maps
%% with a topic and a key, and no value.
-spec tombstone_many(producer(), [tombstone(), ...]) ->
    {ok, [result()]} | crema_error:error().
tombstone_many(Producer, Tombstones) ->
    tombstone_many(Producer, Tombstones, #{}).

%% @doc The same with options: see {@link produce/3}.
-spec tombstone_many(producer(), [tombstone(), ...], produce_options()) ->
    {ok, [result()]} | crema_error:error().
tombstone_many(Producer, Tombstones, Options) ->
    case crema_tombstone:many(Tombstones) of
        {ok, Call} -> crema_produce:sync(Producer, Call, Options);
        {error, _} = Error -> Error
    end.

%% @doc Tombstones as {@link produce_many_async/2} sends messages.
-spec tombstone_many_async(producer(), [tombstone(), ...]) ->
    {ok, ref()} | crema_error:error().
tombstone_many_async(Producer, Tombstones) ->
    tombstone_many_async(Producer, Tombstones, #{}).

%% @doc The same with options, as {@link produce_many_async/3}.
-spec tombstone_many_async(producer(), [tombstone(), ...], produce_options()) ->
    ok | {ok, ref()} | crema_error:error().
tombstone_many_async(Producer, Tombstones, Options) ->
    case crema_tombstone:many(Tombstones) of
        {ok, Call} -> crema_produce:async(Producer, Call, Options);
        {error, _} = Error -> Error
    end.

%% @doc Waits for the reports of an asynchronous call, as long as it takes.
-spec await(ref()) -> result() | {ok, [result()]} | crema_error:error().
await(Ref) ->
    crema_await:await(Ref, infinity).

%% @doc Waits for at most so many milliseconds. After a time-out the reference
%% is as good as before. Only the process that produced may await.
-spec await(ref(), timeout()) -> result() | {ok, [result()]} | crema_error:error().
await(Ref, Timeout) ->
    crema_await:await(Ref, Timeout).

%% @doc Waits for the reports of several asynchronous calls, of any producers, for
%% at most so many milliseconds for all: for each, in their order, what {@link
%% await/2} returns. What has not come in time says `{error, {timeout, _}}' in its
%% place, and its reference stays good.
-spec await_many([ref()], timeout()) -> [result() | {ok, [result()]} | crema_error:error()].
await_many(Refs, Timeout) ->
    crema_await:await_many(Refs, Timeout).

%% @doc Whether {@link await/1} would answer at once; takes nothing and never
%% waits. A reference that is no longer good is completed too.
-spec completed(ref()) -> boolean().
completed(Ref) ->
    crema_await:completed(Ref).

%% @doc Reads a message that was sent by reason of `report => message': the
%% results, each with its tag. Any other message is `ignored'.
-spec reports(term()) -> [{Tag :: non_neg_integer(), result()}] | ignored.
reports(Message) ->
    crema_report:tagged(Message).

%% @doc Waits until every message that was accepted before is reported. They
%% are sent without lingering meanwhile.
-spec flush(producer(), timeout()) -> ok | crema_error:error().
flush(Producer, Timeout) ->
    crema_call:is_timeout(Timeout) orelse erlang:error(badarg),
    Deadline = crema_deadline:in(Timeout),
    crema_target:each(Producer, fun(Each) ->
        crema_produce:flush(Each, crema_deadline:left(Deadline))
    end).

%% @doc Gives up what is not delivered yet; each message is reported, with the
%% status that tells whether it may be in the log. While a transaction is open
%% it is `in_transaction': abort that instead.
-spec purge(producer()) -> ok | crema_error:error().
purge(Producer) ->
    crema_target:each(Producer, fun crema_produce:purge/1).

%% @doc The messages of a producer that are accepted and not reported yet. 0 when
%% it has no client at present.
-spec queue_size(crema_types:client()) -> non_neg_integer() | crema_error:error().
queue_size(Producer) ->
    case crema_registry:lookup(Producer) of
        {ok, producer, Port, _, Pid} ->
            %% The row of one that has just ended may still be there.
            case is_process_alive(Pid) of
                true -> maps:get(queue_messages, crema_client:counts(Port), 0);
                false -> crema_registry:missing(producer, Producer)
            end;
        _ ->
            case crema_pool:info(Producer) of
                #{queue_messages := Messages} -> Messages;
                _ -> crema_registry:missing(producer, Producer)
            end
    end.

%% @doc Closes the connections of a producer until its next use, which opens them
%% again. `busy', and nothing is done, while messages are outstanding, callers
%% wait or a transaction is open: flush first. `ok' when there are none. Reports
%% that nobody has awaited yet can be awaited afterwards.
-spec disconnect(crema_types:client()) -> ok | crema_error:error().
disconnect(Producer) ->
    crema_target:each(Producer, fun crema_producer:disconnect/1).

%% @doc A variant of a producer: the same client, but with settings of its own for
%% calls (`timeout', `on_full', `full_timeout') and for the topics that are
%% produced to by it (`topic_config': `acks', `compression.type' and others). It is
%% a term to be used wherever a producer is, also to make another variant, and it
%% is as good as before when the producer has been started again.
%%
%% A client keeps the configuration that a topic is first used with: a call with
%% another one is refused with `topic_config_conflict'. A variant with `client =>
%% own' has a second client instead.
%%
%% `bad_options' when an option is wrong, also when librdkafka says so.
-spec variant(producer(), Options :: map() | list()) ->
    {ok, variant()} | crema_error:error().
variant(Producer, Options) ->
    crema_variant:new(Producer, Options).

%% @doc How many partitions a topic has. What is not known yet is asked for, up to
%% the producer's `full_timeout'; a topic that brokers do not know is an error.
%% What is older than 30 seconds is asked for anew in the background. The number
%% of a topic never falls, unless librdkafka finds a partition missing.
-spec partition_count(producer(), iodata() | atom()) ->
    {ok, pos_integer()} | crema_error:error().
partition_count(Producer, Topic) ->
    crema_partitions:of_topic(Producer, Topic).

%% @doc Runs a function in a transaction of a producer that has a
%% `transactional.id', and commits it. The function gets a handle, and what is
%% produced with that, by whatever process, becomes visible to readers with
%% `isolation.level' `read_committed' together, or never.
%%
%% `{aborted, Reason}' after {@link abort/2}. An exception aborts and is raised
%% again; so does the death of the calling process, until the commit has begun.
%% A commit that has begun is carried on until its outcome is known: `{error,
%% {commit_unknown, _}}' says that it was lost with the client. After any other
%% error nothing is committed. See the page on transactions.
-spec transaction(producer(), fun((transaction()) -> Result)) ->
    {ok, Result} | {aborted, Reason :: term()} | crema_error:error().
transaction(Producer, Fun) ->
    transaction(Producer, Fun, #{}).

%% @doc The same with options. One transaction of a producer runs at a time;
%% the others wait for their turn, or get `transaction_busy'. Within a
%% transaction this runs the function as part of it. One of a pool has a member to
%% itself ({@link crema_pool:with/3}).
-spec transaction(producer(), fun((transaction()) -> Result), transaction_options()) ->
    {ok, Result} | {aborted, Reason :: term()} | crema_error:error().
transaction(Producer, Fun, Options) ->
    crema_pool:on_member(Producer, Options, fun(Member, Left) ->
        crema_transaction:run(Member, Fun, Left)
    end).

%% @doc Aborts a transaction, which then returns `{aborted, Reason}'. In the
%% process that runs it, this call leaves the function by a throw; in another it
%% returns `ok', and the function goes on to its end without effect.
-spec abort(transaction(), Reason :: term()) -> ok | crema_error:error().
abort(Transaction, Reason) -> crema_transaction:abort(Transaction, Reason).

%% @doc Makes the offsets of a consumer part of a transaction: they are
%% committed when it is. `Consumer' is a member of the group, or what {@link
%% group_metadata/1} told of it when the messages were delivered, which is
%% safer. An offset is that of the next message to consume, or the message
%% consumed last. The consumer must not commit by itself: its option `commit'
%% is `transaction'.
-spec send_offsets(transaction(), crema_types:client() | group_metadata(), [offset()]) ->
    ok | crema_error:error().
send_offsets(Transaction, Consumer, Offsets) ->
    crema_transaction:send_offsets(Transaction, Consumer, Offsets).

%% @doc A consumer's part in its group, for {@link send_offsets/3}. A member that
%% has lost its partitions since is refused.
-spec group_metadata(crema_types:client()) -> {ok, group_metadata()} | crema_error:error().
group_metadata(Consumer) -> crema_transaction:group_metadata(Consumer).

%% @doc Puts a message into the producer's buffer, where it is neither checked nor
%% sent until the buffer is flushed: by a call, or by itself at a limit (options
%% `buffer_messages', `buffer_bytes', `buffer_age'). Waits, up to `full_timeout',
%% while a full buffer is being flushed; `buffer_full' when that fails.
-spec buffer(producer(), message()) -> ok | crema_error:error().
buffer(Producer, Message) -> crema_buffer:add(Producer, [Message]).

%% @doc Puts messages into the buffer, all or none.
-spec buffer_many(producer(), [message()]) -> ok | crema_error:error().
buffer_many(Producer, Messages) -> crema_buffer:add(Producer, Messages).

%% @doc Produces what is in the buffer and waits for all reports, up to the
%% producer's `request_timeout'. An error means that what could not be sent is in
%% the buffer again, in front and in order; `dispatched' in its details has the
%% results of the others, if any. Not so for `timeout', as of {@link produce/3}.
-spec flush_buffer(producer()) -> {ok, [result()]} | crema_error:error().
flush_buffer(Producer) -> crema_buffer:flush(Producer).

%% @doc The same, for at most so many milliseconds (`timeout' then).
-spec flush_buffer(producer(), timeout()) -> {ok, [result()]} | crema_error:error().
flush_buffer(Producer, Timeout) -> crema_buffer:flush(Producer, Timeout).

%% @doc Produces what is in the buffer; `await/2' gives what {@link
%% flush_buffer/2} would.
-spec flush_buffer_async(producer()) -> {ok, ref()} | crema_error:error().
flush_buffer_async(Producer) -> crema_buffer:flush_async(Producer).

%% @doc How many messages are in the buffer; those of a flush are not.
-spec buffer_size(producer()) -> non_neg_integer().
buffer_size(Producer) -> crema_buffer:size(Producer).

%% @doc Drops what is in the buffer; returns how many messages that were. Those
%% of a flush are not concerned: see {@link purge/1}.
-spec purge_buffer(producer()) -> {ok, non_neg_integer()} | crema_error:error().
purge_buffer(Producer) -> crema_buffer:purge(Producer).

%% @doc A topic handle without options.
-spec topic(producer(), iodata() | atom()) -> {ok, topic()} | crema_error:error().
topic(Producer, Name) -> crema_topic:new(Producer, Name, #{}).

%% @doc A topic handle: a producer and a topic, with a validator, a selector of
%% partitions, a serializer, middleware, a pipeline and batches (the options of
%% {@link crema_options}, scope `topic'). It is data: keep it where you like.
-spec topic(producer(), iodata() | atom(), map() | list()) ->
    {ok, topic()} | crema_error:error().
topic(Producer, Name, Options) ->
    crema_topic:new(Producer, Name, Options).

%% @doc Produces a message through a handle, by its pipeline and its batches;
%% `await/2' gives its result. Waits, up to `full_timeout', for a place in them.
-spec push(topic(), crema_types:topic_message()) -> {ok, ref()} | crema_error:error().
push(Topic, Message) -> crema_topic:push(Topic, Message).

%% @doc The same of a message that has metadata, which the handle's serializer
%% takes, and data, which is sent as it is.
-spec push(topic(), Metadata :: term(), Data :: iodata() | undefined | nil) ->
    {ok, ref()} | crema_error:error().
push(Topic, Metadata, Data) ->
    crema_topic:push(Topic, crema_topic:message(Metadata, Data)).

%% @doc Ends the process of a handle that has a pipeline or batches, when all
%% that was pushed is reported; for handles that are made for a time. It ends
%% with its producer in any case. Pushing again starts it again.
-spec close_topic(topic(), timeout()) -> ok | crema_error:error().
close_topic(Topic, Timeout) -> crema_topic:close(Topic, Timeout).

%% @doc Acknowledges messages, by themselves or by their tokens, from any process and
%% any node. A second time is `ok'; `stale_assignment' after a rebalance: the next
%% owner gets the message again. Of a list all are told, grouped by partition;
%% those that were refused are `failed' in the details of `not_acknowledged', each
%% with its reason.
-spec ack(crema_types:tokens()) -> ok | crema_error:error().
ack(Tokens) ->
    ack(Tokens, ?REMOTE_MS).

%% @doc The same; a consumer on another node has so long (ms) to answer, else it is
%% `timeout', and to ask again does no harm.
-spec ack(crema_types:tokens(), timeout()) -> ok | crema_error:error().
ack(Tokens, Timeout) ->
    crema_call:is_timeout(Timeout) orelse erlang:error(badarg),
    crema_ack:ack(Tokens, Timeout).

%% @doc Declares messages failed that were to be acknowledged later: they come again
%% as after `{error, nack, State}'. No harm is done to those that are acknowledged.
-spec nack(crema_types:tokens()) -> ok | crema_error:error().
nack(Tokens) ->
    nack(Tokens, nack).

%% @doc The same for a reason, which policies match and events tell.
-spec nack(crema_types:tokens(), Reason :: term()) -> ok | crema_error:error().
nack(Tokens, Reason) ->
    crema_ack:nack(Tokens, Reason, ?REMOTE_MS).

%% @doc Leaves the acknowledgement of messages to a process: if it dies before, they
%% have failed and come again. A process of another node has also the option
%% `remote_ack_timeout'. Who is told of a message last has it.
-spec delegate(crema_types:tokens(), pid()) -> ok.
delegate(Tokens, Pid) -> crema_ack:delegate(Tokens, Pid).

%% @doc See {@link crema_control:pause/2}.
-spec pause(crema_control:consumer(), crema_control:partitions()) -> ok | crema_error:error().
pause(Consumer, Partitions) -> crema_control:pause(Consumer, Partitions).

%% @doc See {@link crema_control:resume/2}.
-spec resume(crema_control:consumer(), crema_control:partitions()) -> ok | crema_error:error().
resume(Consumer, Partitions) -> crema_control:resume(Consumer, Partitions).

%% @doc See {@link crema_control:seek/3}.
-spec seek(crema_control:consumer(), crema_control:partitions(), crema_control:where()) ->
    {ok, [crema_control:offset()]} | crema_error:error().
seek(Consumer, Partitions, Where) -> crema_control:seek(Consumer, Partitions, Where).

%% @doc See {@link crema_control:commit/1}.
-spec commit(crema_control:consumer()) -> {ok, [crema_control:offset()]} | crema_error:error().
commit(Consumer) -> crema_control:commit(Consumer).

%% @doc See {@link crema_control:commit/2}.
-spec commit(crema_control:consumer(), crema_control:partitions()) ->
    {ok, [crema_control:offset()]} | crema_error:error().
commit(Consumer, Partitions) -> crema_control:commit(Consumer, Partitions).

%% @doc See {@link crema_reader:fold/3}.
-spec fold(Options :: map() | list(), crema_reader:folder(Acc), Acc) -> crema_reader:folded(Acc).
fold(Options, Fun, Acc) -> crema_reader:fold(Options, Fun, Acc).

%% @doc Where each value comes from that a client would start with: an option, which
%% variable, the application environment or a default; without secrets. It takes
%% `{producer | consumer | reader, Options}' or what their child_spec/1 returns; `text' in
%% the result is for people. Errors are those of the start: `bad_options'.
-spec explain_config(crema_types:client_options()) ->
    {ok, crema_types:explanation()} | crema_error:error().
explain_config(Config) -> crema_explain:explain(Config).

%% @doc See {@link crema_check:check/1}.
-spec check(Options :: map() | list()) -> crema_check:result().
check(Options) -> crema_check:check(Options).

%% @doc About the driver: `librdkafka' and `openssl' (versions), `bundled', `features'
%% of this build, its known `limits', `reapers' (clients being wound up), and those of them
%% that may have something to report yet (`telling').
-spec info() -> map().
info() -> crema_info:driver().

%% @doc About a producer (queue, callers that wait, reports nobody fetched,
%% callbacks to be run) or a consumer (its partitions, what is delivered, stored,
%% unacknowledged, and the memory of what was fetched).
-spec info(crema_types:client()) -> map().
info(Client) -> crema_info:client(Client).

%% @doc Whether a client is well, without asking anybody: for health probes.
%% `connected', `fatal', `state'; for consumers `joined', `assigned', `paused' and
%% `lag' (undefined until the first fetches told of it). A member without partitions
%% is healthy. `state' is `connecting' or `connected', for
%% producers also `idle' (not used yet), `disconnected', `reloading' (after a
%% fatal error) and `stopping'.
-spec status(crema_types:client()) -> map().
status(Client) -> crema_info:status(Client).

%% @doc librdkafka's statistics of a producer or consumer, the last that came,
%% as maps; beside `tx' stand `tx_d', its change, and `tx_fd', for how many milliseconds
%% there was none. `not_enabled' unless
%% `statistics.interval.ms' is set under `kafka'; `not_yet' before the first.
-spec statistics(crema_types:client()) ->
    {ok, crema_statistics:statistics()} | crema_error:error().
statistics(Client) -> crema_info:statistics(Client).

%% @doc Waits until a producer is connected, or a consumer has joined its group.
%% A producer that is idle or disconnected connects. `timeout' after so many
%% milliseconds, with the last trouble. Raises `badarg' for what is no timeout.
-spec await_ready(crema_types:client(), timeout()) -> ok | crema_error:error().
await_ready(Client, Timeout) ->
    crema_call:is_timeout(Timeout) orelse
        erlang:error(badarg, [Client, Timeout], crema_error:badarg(#{2 => <<"no timeout">>})),
    Deadline = crema_deadline:in(Timeout),
    crema_target:each(Client, fun(Each) ->
        crema_ready:await(Each, crema_deadline:left(Deadline))
    end).
