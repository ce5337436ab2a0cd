%% @doc crema's own options: one table that checks, fills in and documents them.
%%
%% The table is all there is: a row added to it is checked by {@link parse/2},
%% shown by {@link doc/1} and tested. librdkafka's properties are not in it; they
%% go under the option `kafka' (see `crema_properties').
-module(crema_options).

-export([parse/2, table/0, doc/1]).

-export_type([scope/0, row/0, parsed/0, reason/0]).

-type scope() :: producer | topic | consumer | reader | cluster | variant | pool.

-type row() :: #{
    name := atom(),
    scope := [scope()],
    type := term(),
    %% Absent in a row whose option is required.
    default => term(),
    unit := none | ms | bytes | messages,
    doc := binary()
}.

-type parsed() :: #{warnings := [binary()], atom() => term()}.

-type reason() :: {bad_options, crema_error:details()}.

-define(MAX_TIME, 16#FFFFFFFF).
-define(MAX_COUNT, 2147483647).
%% Less would be a producer that connects for every message.
-define(MIN_IDLE, 30000).
-define(MAX_BYTES, 16#FFFFFFFFFFFF).
%% CR_BATCH_MOST of the core.
-define(MAX_BATCH_MESSAGES, 1000).
-define(MAX_BATCH_BYTES, 1073741824).
-define(MAX_BROKERS, 100).
-define(MAX_MEMBERS, 1000).
-define(MAX_ENCODERS, 1024).

%% @doc Every option crema knows, in the order in which it is documented.
-spec table() -> [row()].
table() ->
    client_rows() ++ crema_settings:rows() ++ producer_rows() ++ topic_rows() ++ consumer_rows() ++
        reader_rows() ++ cluster_rows() ++ variant_rows() ++ pool_rows().

-spec client_rows() -> [row()].
client_rows() ->
    Clients = [producer, consumer],
    Connected = [reader | Clients],
    [
        (optional(name, undefined, name, <<"name to register the process under">>))#{
            scope := [producer, consumer, cluster, pool]
        },
        (required(bootstrap_servers, servers,
            <<"brokers to ask first, at port 9092 where none is given, unless kafka has "
                "bootstrap.servers or env has them">>))#{
            scope := Connected
        },
        (optional(kafka, #{}, properties,
            <<"librdkafka properties, passed through verbatim; secrets may be functions without "
                "arguments">>))#{scope := Connected},
        (optional(statistics_deltas, metrics, deltas,
            <<"numbers of the statistics that are told with their change since the last; "
                "metrics: those that crema_statistics:metrics/1 needs">>))#{scope := Clients},
        (optional(null, undefined, {one_of, [undefined, nil]},
            <<"how a null key, value or header value is given">>))#{scope := [consumer, reader]},
        (optional(message, map, {one_of, [map, struct]},
            <<"what a message is; struct: one of Elixir's Crema.Message">>))#{
            scope := [consumer, reader]
        }
        | [Row#{scope := Connected} || Row <- crema_sasl_options:rows()]
    ].

-spec producer_rows() -> [row()].
producer_rows() ->
    scoped(producer, [
        optional(ordering, strict, {one_of, [strict, loose]},
            <<"strict: in order, acknowledged by all replicas in sync, and without duplicates as "
                "long as no message's time ends (message.timeout.ms), for then librdkafka sends "
                "others that were in flight anew; loose: a retry may reorder or duplicate, and "
                "kafka may lower acks">>),
        messages(max_queue_messages, 100000, ?MAX_COUNT,
            <<"accepted messages without a report yet, or with a callback that is to be run, at "
                "most">>),
        bytes(max_queue_bytes, 268435456, ?MAX_BYTES,
            <<"memory those messages keep alive, at most">>),
        optional(on_full, wait, {one_of, [wait, error]},
            <<"what a produce call does when the queue is full: wait for a place (up to "
                "full_timeout) or fail at once with queue_full">>),
        time(full_timeout, 10000, 0, <<"how long a produce call waits for a place">>),
        time(request_timeout, 180000, 1, <<"how long a synchronous produce waits for its report">>),
        time(flush_timeout, 10000, 0,
            <<"how long a stop sends what is outstanding; the rest is purged and reported">>),
        messages(max_unclaimed, 100000, ?MAX_COUNT,
            <<"reports kept for callers that have not awaited them; beyond, the oldest are "
                "forgotten">>)
    ]) ++ scoped(producer, message_rows() ++ event_rows() ++ life_rows() ++
        transaction_rows() ++ buffer_rows() ++ [crema_recorder:option()]).

%% What is done to messages before they are sent.
-spec message_rows() -> [row()].
message_rows() ->
    [
        bytes(max_payload_size, 1000012, ?MAX_COUNT,
            <<"a message's value, at most; message.max.bytes under kafka is librdkafka's limit">>),
        optional(partitioner, undefined, partitioner,
            <<"who chooses a message's partition; consistent_random unless kafka has partitioner">>),
        optional(topic_partitioners, #{}, topic_partitioners,
            <<"the same for single topics">>),
        optional(middleware, undefined, middleware,
            <<"what each message goes through first; with [] it may be given later">>)
    ].

-spec event_rows() -> [row()].
event_rows() ->
    [
        optional(events, [], {some_of, [calls, reports]},
            <<"events of the hot path to send: [crema, producer, produced] of each call, "
                "[crema, producer, reported] of the delivery reports">>),
        (optional(max_event_reports, 1000, {integer, 0, ?MAX_COUNT},
            <<"reports that one event lists, at most; the others are only counted">>))#{
            unit := messages
        }
    ].

%% Of producers with a transactional.id.
-spec transaction_rows() -> [row()].
transaction_rows() ->
    [
        time(transaction_wait, 60000, 0,
            <<"how long a transaction waits for its turn, and its end for an abort">>),
        optional(transaction_attempts, 5, {integer, 1, ?MAX_COUNT},
            <<"how often a step of a transaction is tried that may succeed later">>),
        time(transaction_backoff, 500, 0,
            <<"wait before the second try; before the third it is twice as long, and so on">>),
        time(abort_wait, 10000, 0,
            <<"how long an abort waits at most for the first report of the transaction, which "
                "spares librdkafka a fatal error; 0: not at all">>)
    ].

%% A producer's life.
-spec life_rows() -> [row()].
life_rows() ->
    [
        optional(connect, start, {one_of, [start, use]},
            <<"when to connect: at the start, or at the first use">>),
        (optional(idle_disconnect, 0, {zero_or, ?MIN_IDLE, ?MAX_TIME},
            <<"disconnect when nothing was produced for so long, or up to twice that; the next "
                "use connects again; 0: never">>))#{unit := ms},
        optional(on_fatal, stop, {one_of, [stop, reload]},
            <<"what follows a fatal error, after which librdkafka's client is of no more use: stop "
                "the process, for its supervisor to start it again, or make a new client in it">>),
        optional(reload_attempts, 10, {integer, 0, ?MAX_COUNT},
            <<"new clients in a row, none of which delivers a message; then the producer stops">>),
        (optional(reload_backoff, {1000, 30000}, backoff,
            <<"wait before a new client is made: the first, doubled up to the last">>))#{
            unit := ms
        },
        optional(never_reload, [], codes,
            <<"fatal errors after which the producer stops for good, beside those of being "
                "fenced">>),
        optional(on_reload, undefined, {function, 1},
            <<"called before a new client is made with a map of error, attempt and kafka; returns "
                "keep or {kafka, Properties}">>)
    ].

%% Its buffer.
-spec buffer_rows() -> [row()].
buffer_rows() ->
    [
        messages(buffer_messages, 10000, ?MAX_COUNT,
            <<"messages in the buffer at which it flushes itself; at most max_queue_messages">>),
        bytes(buffer_bytes, 16777216, ?MAX_BYTES,
            <<"memory they take at which it does; at most max_queue_bytes">>),
        time(buffer_age, 0, 0,
            <<"how long the first of them waits until it does; 0: for ever">>),
        optional(buffer_report, undefined, {function, 1},
            <<"called with the outcome when the buffer has flushed itself">>)
    ].

%% Of a topic handle.
-spec topic_rows() -> [row()].
topic_rows() ->
    scoped(topic, [
        optional(validator, undefined, {callback, [], {validate, 3}, 2},
            <<"judges metadata and data before they are serialized (see crema_validator)">>),
        optional(selector, undefined, {callback, [], {select, 4}, 3},
            <<"chooses the partition (see crema_selector); without one a requested partition is "
                "taken modulo their number, and the producer chooses others">>),
        optional(serializer, raw, {callback, [raw, term, json], {serialize, 2}, none},
            <<"makes bytes of metadata, or of a value (see crema_serializer)">>),
        optional(prepend, undefined, middleware,
            <<"middleware for the message as it is pushed, before the validator">>),
        optional(append, undefined, middleware,
            <<"middleware for the message as it will be sent, behind the serializer">>),
        optional(pipeline, 0, {integer, 0, ?MAX_ENCODERS},
            <<"processes that do all of this for pushed messages; 0: the process that pushes">>),
        optional(ordering, strict, {one_of, [strict, loose]},
            <<"strict: messages leave the pipeline in the order of pushes; loose: as they are "
                "ready">>),
        optional(batch, none, batch,
            <<"{fixed, N}: pushed messages are sent when there are N, or on flush, await or stop; "
                "adaptive: all that has come together, as soon as a batch may go; none: at once, "
                "or adaptive with a pipeline">>),
        optional(max_batches, 2, {integer, 1, ?MAX_COUNT},
            <<"batches without their reports, at most; then push waits (up to full_timeout)">>)
    ]).

-spec consumer_rows() -> [row()].
consumer_rows() ->
    scoped(consumer, [
        required(group, text, <<"name of the consumer group">>),
        required(topics, topics, <<"topics to subscribe to; one that begins with ^ is a pattern">>),
        required(handler, handler, <<"module that handles the messages, and its arguments">>),
        optional(start, earliest, start,
            <<"where to begin in a partition the group has no committed offset for">>),
        optional(out_of_range, earliest, {one_of, [earliest, latest, error]},
            <<"where to go on when the next offset is no longer in the log">>),
        time(drain_timeout, 5000, 0,
            <<"how long the handler of a revoked partition may finish; under half of "
                "max.poll.interval.ms">>),
        messages(batch_messages, 1000, ?MAX_BATCH_MESSAGES,
            <<"messages handed to a partition's process at a time, at most">>),
        bytes(batch_bytes, 262144, ?MAX_BATCH_BYTES,
            <<"their size, at most; a larger single message still comes">>),
        time(batch_age, 0, 0,
            <<"how long a handler with handle_messages/2 may wait for batch_messages or batch_bytes, "
                "from the oldest message on; 0: it gets what has come">>),
        messages(max_in_flight, 10000, ?MAX_COUNT,
            <<"messages of a partition that are delivered and not acknowledged, at most">>),
        time(ack_timeout, 0, 0,
            <<"how long after {noack, State} a message may wait for its acknowledgement until it has "
                "failed; 0: for ever">>),
        time(remote_ack_timeout, 60000, 1,
            <<"the same for a message handed to a process of another node by crema:delegate/2">>),
        (optional(backoff, {100, 10000}, backoff,
            <<"wait before a failed handler is tried again: the first, doubled up to the last">>))#{
            unit := ms
        },
        optional(concurrency, 1, concurrency,
            <<"how many messages of a partition are handled at a time: 1, in order; {key, N}, "
                "those of a key in order; {any, N}, in no order">>),
        optional(commit, auto, {one_of, [auto, transaction, exactly_once, external]},
            <<"auto: what is acknowledged is committed; transaction: only what "
                "crema:send_offsets/3 sends within a transaction; exactly_once: in transactions of "
                "the consumer's own, with what its handler has produced; external: nothing, the "
                "handler keeps its offsets and its init/2 says where to begin">>),
        time(stop_timeout, 10000, 0, <<"how long a stop may take to drain, commit and leave">>)
    ] ++ exactly_once_rows() ++ crema_failure_options:rows() ++ crema_prefetch:rows()).

%% Of one with commit => exactly_once.
-spec exactly_once_rows() -> [row()].
exactly_once_rows() ->
    [
        optional(transactional_id, undefined, {optional, text},
            <<"the transactional.id of its producer, for exactly_once: no other client may have it; "
                "else the group and group.instance.id">>),
        time(transaction_interval, 100, 0,
            <<"how long a transaction of exactly_once gathers what handlers produce, at most">>),
        bytes(transaction_bytes, 16777216, ?MAX_BYTES,
            <<"how much it gathers, at most, and what one handler returns beyond">>),
        optional(producer, #{}, producer,
            <<"options of that producer, over those that follow from the consumer's">>)
    ].

-spec reader_rows() -> [row()].
reader_rows() ->
    scoped(reader, [
        optional(topic, undefined, {optional, text},
            <<"topic to read: all of its partitions, unless partitions names some">>),
        optional(partitions, undefined, {reader, partitions}, <<"partitions to read">>),
        optional(from, earliest, {reader, from},
            <<"where to begin; a partition that a map leaves out is read from its beginning">>),
        optional(to, 'end', {reader, to},
            <<"where to end, which is not read itself; end: where the partition ended when the read "
                "began; infinity: go on with what comes">>),
        time(timeout, 30000, 1,
            <<"how long to wait for brokers at the start, and for a message before the end">>),
        messages(batch_messages, 1000, ?MAX_BATCH_MESSAGES, <<"messages read at a time, at most">>),
        bytes(batch_bytes, 262144, ?MAX_BATCH_BYTES,
            <<"their size, at most; a larger single message still comes">>)
    ] ++ [
        Row#{doc := <<"memory that fetched messages may take, of all partitions together">>}
     || Row <- crema_prefetch:rows()
    ]).

-spec cluster_rows() -> [row()].
cluster_rows() ->
    scoped(cluster, [
        optional(brokers, 1, {integer, 1, ?MAX_BROKERS}, <<"brokers of the embedded cluster">>),
        optional(topics, #{}, topic_sizes, <<"topics to create, each with its partitions">>)
    ]).

%% What is not given is as the producer has it.
-spec variant_rows() -> [row()].
variant_rows() ->
    scoped(variant, [
        (optional(timeout, undefined, {optional, timeout},
            <<"how long a synchronous call waits for its reports; else the producer's "
                "request_timeout">>))#{unit := ms},
        optional(on_full, undefined, {optional, {one_of, [wait, error]}},
            <<"what a call does when the queue is full; else as the producer has it">>),
        (optional(full_timeout, undefined, {optional, timeout},
            <<"how long a call waits for a place; else as the producer has it">>))#{unit := ms},
        optional(partitioner, undefined, partitioner,
            <<"who chooses a message's partition; else as topic_config or the producer has it">>),
        optional(topic_config, #{}, topic_config,
            <<"properties of the topics that are produced to by the variant">>),
        optional(client, undefined, {optional, {one_of, [shared, own]}},
            <<"shared (unless it is a variant of one with its own): the producer's client, which "
                "keeps the configuration that a topic is first used with; own: a second client, "
                "for variants of this topic_config">>)
    ]).

-spec pool_rows() -> [row()].
pool_rows() ->
    scoped(pool, [
        optional(size, 5, {integer, 1, ?MAX_MEMBERS}, <<"producers in the pool">>),
        time(checkout_timeout, 5000, 0,
            <<"how long to wait for a producer for oneself alone, unless the call says otherwise">>),
        optional(producer, undefined, {function, 1},
            <<"called with each producer's number, from 1 on; returns options that this one has "
                "over the others">>)
    ]).

-spec scoped(scope(), [row()]) -> [row()].
scoped(Scope, Rows) ->
    [Row#{scope := [Scope]} || Row <- Rows].

-spec required(atom(), crema_option_type:type(), binary()) -> row().
required(Name, Type, Doc) ->
    #{name => Name, scope => [], type => Type, unit => none, doc => Doc}.

-spec optional(atom(), term(), crema_option_type:type(), binary()) -> row().
optional(Name, Default, Type, Doc) ->
    (required(Name, Type, Doc))#{default => Default}.

-spec time(atom(), non_neg_integer(), 0..1, binary()) -> row().
time(Name, Default, Min, Doc) ->
    (optional(Name, Default, {integer, Min, ?MAX_TIME}, Doc))#{unit := ms}.

-spec messages(atom(), pos_integer(), pos_integer(), binary()) -> row().
messages(Name, Default, Max, Doc) ->
    (optional(Name, Default, {integer, 1, Max}, Doc))#{unit := messages}.

-spec bytes(atom(), pos_integer(), pos_integer(), binary()) -> row().
bytes(Name, Default, Max, Doc) ->
    (optional(Name, Default, {integer, 1, Max}, Doc))#{unit := bytes}.

%% @private Checks the options of a producer, a topic handle, a consumer, a reader, an
%% embedded cluster, a variant or a pool (its own, without those of its producers): a map,
%% property list or Elixir keyword list.
%%
%% On success the map holds every option of the scope, defaults filled in, in
%% the forms that the rest of crema reads, and `warnings': sentences about settings that are allowed but work
%% against each other (empty in general; log them). What it returns may be
%% parsed again and comes back the same, `warnings' aside.
%%
%% Otherwise `bad_options' with `faults': one for every wrong option, not for the
%% first only, each with `option', `reason' and, where it cannot be a secret,
%% `value'. An option that is missing, unknown or of another kind of client is a
%% fault; for an unknown one the nearest known name is suggested. Parsing never
%% raises, whatever it is given, but for an unknown scope.
-spec parse(scope(), Options :: map() | list()) -> {ok, parsed()} | {error, reason()}.
parse(Scope, Options) ->
    case crema_input:pairs(Options) of
        {ok, Pairs, Faults} ->
            parse_pairs(Scope, maps:from_list(Pairs), Faults);
        error ->
            Reason = <<"must be a map, property list or keyword list">>,
            crema_option_faults:error(Scope, [#{option => options, reason => Reason}])
    end.

-spec parse_pairs(scope(), map(), [crema_input:fault()]) -> {ok, parsed()} | {error, reason()}.
parse_pairs(Scope, Given, ElementFaults) ->
    Rows = rows(Scope),
    {Read, RowFaults} = lists:foldl(
        fun(Row, Acc) -> read(Scope, Row, Given, Acc) end, {#{}, []}, Rows
    ),
    {Values, ServerFaults} = servers(crema_recorder:defaults(Read), Given),
    Missing = missing(Rows, Given, Values),
    Unknown = crema_option_faults:unknown(Scope, table(), Given),
    {Broken, Warnings} = crema_option_rules:check(Scope, Values),
    Wrong = ElementFaults ++ lists:reverse(RowFaults) ++ ServerFaults,
    case Wrong ++ Missing ++ Unknown ++ Broken of
        [] -> {ok, Values#{warnings => Warnings}};
        Faults -> crema_option_faults:error(Scope, Faults)
    end.

-spec rows(scope()) -> [row(), ...].
rows(Scope) when
    Scope =:= producer;
    Scope =:= topic;
    Scope =:= consumer;
    Scope =:= reader;
    Scope =:= cluster;
    Scope =:= variant;
    Scope =:= pool
->
    [Row || #{scope := Scopes} = Row <- table(), lists:member(Scope, Scopes)].

-spec read(scope(), row(), map(), Acc) -> Acc when Acc :: {map(), [crema_input:fault()]}.
read(Scope, #{name := Name, type := Type} = Row, Given, {Values, Faults}) ->
    case Given of
        #{Name := Value} when Type =:= properties ->
            read_properties(Name, crema_properties:parse(Scope, Value), {Values, Faults});
        #{Name := Value} when Type =:= topic_config ->
            read_properties(Name, crema_topic_config:parse(Value), {Values, Faults});
        #{Name := Value} ->
            case crema_option_type:check(Type, Value) of
                {ok, Good} -> {Values#{Name => Good}, Faults};
                {error, Reason} -> {Values, [fault(Name, Type, Reason, Value) | Faults]}
            end;
        #{} ->
            {maps:merge(Values, default(Row)), Faults}
    end.

-spec read_properties(atom(), {map(), [crema_input:fault()]}, Acc) -> Acc when
    Acc :: {map(), [crema_input:fault()]}.
read_properties(Name, {Properties, Wrong}, {Values, Faults}) ->
    {Values#{Name => Properties}, lists:reverse(Wrong, Faults)}.

-spec fault(atom(), crema_option_type:type(), binary(), term()) -> crema_input:fault().
fault(Name, Type, Reason, Value) ->
    case crema_option_type:shown(Type) of
        true ->
            Shown = crema_input:show(Value),
            #{
                option => Name,
                reason => <<Reason/binary, ", not ", Shown/binary>>,
                value => crema_secret:redact(Value)
            };
        false ->
            #{option => Name, reason => Reason}
    end.

-spec default(row()) -> map().
default(#{name := Name, default := Default}) -> #{Name => Default};
default(#{}) -> #{}.

%% bootstrap.servers may stand under kafka, where every other client has it; from
%% here on it is in one place.
-spec servers(map(), map()) -> {map(), [crema_input:fault()]}.
servers(#{kafka := Kafka} = Values, Given) ->
    case crema_properties:find(<<"bootstrap.servers">>, Kafka) of
        none ->
            {Values, []};
        {ok, Used, Servers} ->
            Rest = Values#{kafka := maps:remove(Used, Kafka)},
            case is_map_key(bootstrap_servers, Given) of
                true ->
                    Reason = <<"is given as the option bootstrap_servers too">>,
                    {Rest, [#{option => {kafka, Used}, reason => Reason}]};
                false ->
                    servers_of(Used, crema_option_type:check(servers, Servers), Rest)
            end
    end;
servers(Values, _Given) ->
    {Values, []}.

-spec servers_of(binary(), {ok, term()} | {error, binary()}, map()) ->
    {map(), [crema_input:fault()]}.
servers_of(_Used, {ok, Servers}, Values) ->
    {Values#{bootstrap_servers => Servers}, []};
servers_of(Used, {error, Reason}, Values) ->
    %% The undefined value only keeps the option from being called missing too.
    {Values#{bootstrap_servers => undefined}, [#{option => {kafka, Used}, reason => Reason}]}.

-spec missing([row()], map(), map()) -> [crema_input:fault()].
missing(Rows, Given, Values) ->
    [
        #{option => Name, reason => <<"is required: ", Doc/binary>>}
     || #{name := Name, doc := Doc} = Row <- Rows,
        not is_map_key(default, Row),
        not is_map_key(Name, Given),
        not is_map_key(Name, Values)
    ].

%% @doc A markdown table of the options of a scope.
-spec doc(scope()) -> binary().
doc(Scope) ->
    Head = "| Option | Value | Default | Unit | Meaning |\n|---|---|---|---|---|\n",
    unicode:characters_to_binary([Head | [doc_row(Row) || Row <- rows(Scope)]]).

-spec doc_row(row()) -> iolist().
doc_row(#{name := Name, type := Type, unit := Unit, doc := Doc} = Row) ->
    Default =
        case Row of
            #{default := undefined} -> "none";
            #{default := Value} -> io_lib:format("`~tp`", [Value]);
            #{} -> "required"
        end,
    Shown =
        case Unit of
            none -> "";
            _ -> atom_to_list(Unit)
        end,
    io_lib:format("| `~s` | ~ts | ~ts | ~s | ~ts |~n", [
        Name, crema_option_type:describe(Type), Default, Shown, Doc
    ]).
