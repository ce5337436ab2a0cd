/*
 * The one table of commands. From it come the enum and the dispatch of the
 * core, the trace names, and (by gen/commands_hrl.c) the Erlang constants and
 * the hash by which a driver and an Erlang side of different versions refuse
 * each other.
 *
 * A row: name, number, kinds of client that know it, form of its argument.
 *
 * Arguments and answers of form TERM are external terms. A command that is
 * answered later carries a tag (an external term, as a binary); the answer is
 * then a packet {Tag, Bytes}. An answer at once is the return value: empty
 * for ok, else an external term, {ok, _} or {error, _}.
 *
 *   HELLO        Hash:64                              ok | {error, driver_version}
 *   OPEN         {Tag, Kind, [{Key, Value}], Options} later: ok | {error, _}
 *   CLOSE        Tag                                  later, when destroyed: ok; or how a member's
 *                                                     last commit failed: {ok, lost} | {error, _}
 *   INFO         (none)                               {ok, [{Name, Integer}]}
 *   RUNTIME      (none)                               {ok, [{Name, Value}]}
 *   ALLOCATED    (none)                               {ok, Bytes | none}: of malloc(), and not
 *                                                     freed; none where it does not tell
 *   PROPERTIES   (none)                               {ok, Text}: librdkafka's table of them
 *   ERROR_NAME   Code                                 {ok, {Name, Text}}
 *   METADATA     {Tag, Topic | <<>>, Millis}          later: {ok, {Brokers, [{Topic, Count}]}},
 *                                                     Count of partitions, or minus the code of
 *                                                     the topic's error
 *   WATERMARKS   {Tag, Topic, Partition, Millis}      later: {ok, {Low, High}}
 *   SET_TOKEN    {Token, ExpiresAt, Principal, [{Name, Value}]}
 *                                                     ok | {error, _}: of OAUTHBEARER, in
 *                                                     milliseconds since 1970, with extensions
 *   SET_CREDENTIALS {Username, Password}              ok | {error, _}: for connections to come
 *   PRODUCE      packed, below                        ok | {error, _} | wait
 *   INTAKE       (none)                               {ok, Key}: by it single messages come in
 *                                                     without a command, intake.h
 *   AWAIT        Call:64, Tag/binary                  {ok, Reports} at once, or later
 *   CANCEL       What:8, Call:64 or Tag               what is left to wait for is given up
 *   FLUSH        Tag                                  later: ok
 *   PURGE        (none)                               ok; each message is reported
 *   TOPIC_CONFIG [{Key, Value}]                       {ok, Variant} | {error, _}
 *   RETIRE       (none)                               ok: nothing is outstanding, and whatever
 *                                                     follows is answered `closed`; else busy
 *   DRAIN        (none)                               ok: from now on PRODUCE is answered `closed`,
 *                                                     as who waits for a place is; busy in a
 *                                                     transaction
 *   TRANSACT     What:8, Epoch:32, Tag/binary         later: ok | {error, _}
 *   SEND_OFFSETS {Tag, Metadata, [{Topic, Partition, Offset}], Millis}
 *                                                     later: ok | {error, _}
 *   TALLIED      (none)                               ok: the owner is ready for the next event
 *                                                     of reports (tally.h)
 *   REPORTER     (none)                               ok; the caller is the reporter now
 *   REPORTED     Count:32                             ok | {ok, idle}: the first so many reports
 *                                                     that were sent to it are done with
 *   LOOK         Call:64                              ok | wait: whether AWAIT would
 *   SUBSCRIBE    {Tag, [Topic], Start, OutOfRange, [EarlyTopic]}
 *                                                     later: ok | {error, _}
 *   TAKE         Slot:64                              the caller is the slot's worker now
 *   DEMAND       Slot:64, Messages:32                 batches follow, at most so many messages
 *   ACK          Slot:64, (From:64, To:64)+           ok | {error, stale_assignment}
 *   WAITING      Slot:64, From:64, To:64              {ok, [{From, To}]}: runs of messages that
 *                                                     are not acknowledged
 *   REDELIVER    Slot:64, From:64, To:64              the same; batches of these follow
 *   RELEASE      (none)                               event {released, _, _} follows
 *   SETTLE       Tag                                  later: ok; nothing is delivered any more, and
 *                                                     all that was is acknowledged
 *   COMMIT       {Tag, Partitions}                    later: {ok, [{Topic, Partition, Offset, ok |
 *                                                     {error, _}}]}, of what is acknowledged
 *   SEEK         {Tag, Partitions, Where, Number, Millis}
 *                                                     later: {ok, [{Topic, Partition, Offset}]}
 *   START_AT     {Tag, Slot, Where, Number}           later: {ok, Offset}, before TAKE
 *   COMMITTED    {Tag, Partitions, Millis}            later: {ok, [{Topic, Partition, Offset}]}
 *   LIST_OFFSETS {Tag, Partitions, Where, Number, Millis}
 *                                                     later: the same
 *   SLOTS        (none)                               {ok, [{Slot, Topic, Partition, ...}]}
 *   GROUP_METADATA Count:32, Slot:64*, Tag/binary     later: {ok, Metadata}; stale_assignment when
 *                                                     the member has no such slot any more
 *   ASSIGN       [{Topic, Partition, From, To | infinity}]
 *                                                     {ok, [Slot | {error, _}]}: offsets of what is
 *                                                     to be read, without To; one with an error is
 *                                                     not read
 *   PROBE        {Tag, Address, Port, Host, [{Property, Value}], [Request], Millis}
 *                                                     later: {ok, [{Fact, Value}]} (probe.c)
 *   DESCRIBE     {Tag, Topic | <<>>, 0, Millis}       later: {ok, {[{Id, Host, Port}],
 *                                                     [{Topic, ok | {error, _}, [{Partition,
 *                                                     Leader | -1, Replicas, InSync}]}]}};
 *                                                     with 1 for 0, of all topics
 *   READABLE     {Tag, Topic, Partition, Millis}      later: {ok, true} | {error, _}, of a fetch at
 *                                                     its end; for clients that read nothing else
 *   OPERATIONS   {Tag, Topic, 0, Millis}              later: {ok, [Operation]}, that the user may
 *                                                     carry out; with 1 for 0, of a group
 *   GROUPS       {Tag, <<>>, 0, Millis}               later: {ok, {[{Group, State}],
 *                                                     [{error, _}]}}, and why not more
 *   GROUP        {Tag, Group, 0, Millis}              later: {ok, {State, Assignor, none | {Id,
 *                                                     Host, Port}, [{ClientId, InstanceId, Host,
 *                                                     [{Topic, Partition}]}]}}, of its members
 *   GROUP_OFFSETS {Tag, Group, 0, Millis}             later: {ok, [{Topic, Partition, Offset}]},
 *                                                     committed by it, to whoever asks
 *   MOCK_TOPIC   {Tag, Topic, Partitions}             later: ok | {error, _}
 *   MOCK_ERRORS  {Api, [{Name, Millis}]}              ok | {error, _}
 *   MOCK_BROKER  {Tag, Id | -1, rtt | down | up, Millis}
 *                                                     later: ok | {error, _}; -1: of all brokers
 *
 * PRODUCE, packed, all numbers big-endian (src/port/crema_packet.erl packs it,
 * produce_decode.c unpacks it):
 *
 *   Mode:8 (0 no report, 1 kept until awaited, 2 waiting, 3 sent)
 *   Policy:8 (0 refuse when full, 1 wait when full; + 2: via follows)
 *   Call:64 (the caller's number for it; sent reports: the first tag)
 *   [To:64 (who hears of it; 0 the caller, 1 the reporter), Epoch:32 (the transaction; 0 none),
 *    Variant:32 (the topics' configuration, of TOPIC_CONFIG; 0 the client's)]  via, else all 0
 *   TagSize:16, Tag/binary (waiting: of the reports; else of the admission)
 *   Count:32, then per message
 *     Flags:8 (1 key, 2 value, 4 headers, 8 timestamp, 16 topic follows,
 *              32 the value is not here but in the vector behind the command,
 *              64 the partition comes of a hash, 128 it follows; not both)
 *     [TopicSize:16, Topic]  else the topic of the message before
 *     [Partition:32/signed]  else librdkafka's partitioner, or the hash, chooses, as for -1
 *                            -2: nothing is sent, nothing follows, and the
 *                            report's error is REPORT_SKIPPED
 *     [Hash:8, Partitions:32, KeySize:32, Key]  one of librdkafka's, of that key
 *     [Timestamp:64]
 *     [KeySize:32, Key]
 *     [ValueSize:32, Value]
 *     [Headers:16, (NameSize:16, Name, ValueSize:32/signed (-1 null), Value)*]
 *
 * Partitions is [{Topic, Partition}]; [] are all that are assigned. Where is offset, beginning,
 * end or timestamp, Number the offset or the milliseconds. COMMIT and SEEK answer
 * {ok, {not_assigned, Topic, Partition}} for one that is not.
 *
 * TRANSACT: What is 0 initialise, 1 begin, 2 commit, 3 abort, 4 wait until a message of the
 * transaction is reported, or answer at once if it has none. Epoch is that of the transaction to
 * begin, else 0. From 2 and 3 on no PRODUCE with the transaction's epoch is accepted.
 *
 * A delivery report: Error:16/signed, Status:8, Partition:32/signed,
 * Offset:64/signed, Timestamp:64/signed. Sent ones have Tag:64 before each; an
 * empty packet of them tells the reporter that nothing follows.
 *
 * A batch: Count:32, then the messages. A consumed message: Flags:8 (1 key, 2 value, 4 headers,
 * bits 4-5 type of the timestamp), Offset:64, Timestamp:64/signed, KeySize:32, ValueSize:32, Key,
 * Value, [Headers as above].
 */
#ifndef CREMA_COMMANDS_H
#define CREMA_COMMANDS_H

#define CR_PROTOCOL_REVISION 1

#define CR_COMMANDS(ROW)                                                                           \
        ROW(HELLO, 1, ANY, PACKED)                                                                 \
        ROW(OPEN, 2, NEW, TERM)                                                                    \
        ROW(CLOSE, 3, ANY, PACKED)                                                                 \
        ROW(INFO, 4, OPENED, NONE)                                                                 \
        ROW(RUNTIME, 5, ANY, NONE)                                                                 \
        ROW(ERROR_NAME, 6, ANY, TERM)                                                              \
        ROW(PROPERTIES, 9, ANY, NONE)                                                              \
        ROW(ALLOCATED, 10, ANY, NONE)                                                              \
        ROW(METADATA, 7, CLIENT, TERM)                                                             \
        ROW(WATERMARKS, 8, CLIENT, TERM)                                                           \
        ROW(SET_TOKEN, 64, CLIENT, TERM)                                                           \
        ROW(SET_CREDENTIALS, 65, CLIENT, TERM)                                                     \
        ROW(PRODUCE, 16, PRODUCER, PACKED)                                                         \
        ROW(AWAIT, 17, PRODUCER, PACKED)                                                           \
        ROW(CANCEL, 18, PRODUCER, PACKED)                                                          \
        ROW(FLUSH, 19, PRODUCER, PACKED)                                                           \
        ROW(PURGE, 20, PRODUCER, NONE)                                                             \
        ROW(TALLIED, 28, PRODUCER, NONE)                                                           \
        ROW(REPORTER, 24, PRODUCER, NONE)                                                          \
        ROW(REPORTED, 25, PRODUCER, PACKED)                                                        \
        ROW(LOOK, 26, PRODUCER, PACKED)                                                            \
        ROW(TOPIC_CONFIG, 30, PRODUCER, TERM)                                                      \
        ROW(RETIRE, 31, PRODUCER, NONE)                                                            \
        ROW(DRAIN, 80, PRODUCER, NONE)                                                             \
        ROW(INTAKE, 82, PRODUCER, NONE)                                                            \
        ROW(TRANSACT, 21, PRODUCER, PACKED)                                                        \
        ROW(SEND_OFFSETS, 22, PRODUCER, TERM)                                                      \
        ROW(SUBSCRIBE, 32, CONSUMER, TERM)                                                         \
        ROW(TAKE, 33, SLOTTED, PACKED)                                                             \
        ROW(DEMAND, 34, SLOTTED, PACKED)                                                           \
        ROW(ACK, 35, SLOTTED, PACKED)                                                              \
        ROW(REDELIVER, 56, CONSUMER, PACKED)                                                       \
        ROW(WAITING, 57, CONSUMER, PACKED)                                                         \
        ROW(RELEASE, 36, CONSUMER, NONE)                                                           \
        ROW(SETTLE, 81, CONSUMER, PACKED)                                                          \
        ROW(COMMIT, 37, CONSUMER, TERM)                                                            \
        ROW(SLOTS, 38, SLOTTED, NONE)                                                              \
        ROW(GROUP_METADATA, 39, CONSUMER, PACKED)                                                  \
        ROW(ASSIGN, 40, READER, TERM)                                                              \
        ROW(SEEK, 42, CONSUMER, TERM)                                                              \
        ROW(START_AT, 43, CONSUMER, TERM)                                                          \
        ROW(COMMITTED, 52, CONSUMER, TERM)                                                         \
        ROW(LIST_OFFSETS, 53, SLOTTED, TERM)                                                       \
        ROW(PROBE, 72, NEW, TERM)                                                                  \
        ROW(DESCRIBE, 73, CLIENT, TERM)                                                            \
        ROW(READABLE, 74, SLOTTED, TERM)                                                           \
        ROW(OPERATIONS, 75, CLIENT, TERM)                                                          \
        ROW(GROUPS, 76, CLIENT, TERM)                                                              \
        ROW(GROUP, 77, CLIENT, TERM)                                                               \
        ROW(GROUP_OFFSETS, 78, CLIENT, TERM)                                                       \
        ROW(MOCK_TOPIC, 48, CLUSTER, TERM)                                                         \
        ROW(MOCK_ERRORS, 49, CLUSTER, TERM)                                                        \
        ROW(MOCK_BROKER, 50, CLUSTER, TERM)

/* Fixed numbers of the packed formats, for both sides. */
#define CR_CONSTANTS(ROW)                                                                          \
        ROW(MODE_NONE, 0)                                                                          \
        ROW(MODE_KEEP, 1)                                                                          \
        ROW(MODE_WAIT, 2)                                                                          \
        ROW(MODE_SEND, 3)                                                                          \
        ROW(POLICY_REFUSE, 0)                                                                      \
        ROW(POLICY_WAIT, 1)                                                                        \
        ROW(POLICY_VIA, 2)                                                                         \
        ROW(TO_CALLER, 0)                                                                          \
        ROW(TO_REPORTER, 1)                                                                        \
        ROW(INTAKE_LARGEST, 1024)                                                                  \
        ROW(MESSAGE_KEY, 1)                                                                        \
        ROW(MESSAGE_VALUE, 2)                                                                      \
        ROW(MESSAGE_HEADERS, 4)                                                                    \
        ROW(MESSAGE_TIMESTAMP, 8)                                                                  \
        ROW(MESSAGE_TOPIC, 16)                                                                     \
        ROW(MESSAGE_VALUE_BEHIND, 32)                                                              \
        ROW(MESSAGE_HASH, 64)                                                                      \
        ROW(MESSAGE_PARTITION, 128)                                                                \
        ROW(PARTITION_SKIP, -2)                                                                    \
        ROW(HASH_CONSISTENT, 0)                                                                    \
        ROW(HASH_MURMUR2, 1)                                                                       \
        ROW(HASH_FNV1A, 2)                                                                         \
        ROW(CANCEL_REPORTS, 0)                                                                     \
        ROW(CANCEL_ADMISSION, 1)                                                                   \
        ROW(CANCEL_FLUSH, 2)                                                                       \
        ROW(TRANSACT_INIT, 0)                                                                      \
        ROW(TRANSACT_BEGIN, 1)                                                                     \
        ROW(TRANSACT_COMMIT, 2)                                                                    \
        ROW(TRANSACT_ABORT, 3)                                                                     \
        ROW(TRANSACT_FIRST_REPORT, 4)                                                              \
        ROW(REPORT_SIZE, 23)                                                                       \
        ROW(REPORT_SKIPPED, 32767)                                                                 \
        ROW(REPORT_UNCONFIRMED, 32766)                                                             \
        ROW(STATUS_NOT_PERSISTED, 0)                                                               \
        ROW(STATUS_POSSIBLY_PERSISTED, 1)                                                          \
        ROW(STATUS_PERSISTED, 2)                                                                   \
        ROW(STATUS_NOT_SENT, 3)

#define CR_COMMAND_ENUM(name, number, kinds, form) CR_CMD_##name = number,
typedef enum cr_command { CR_COMMANDS(CR_COMMAND_ENUM) CR_CMD_MAX } cr_command_t;
#undef CR_COMMAND_ENUM

#define CR_CONSTANT_ENUM(name, number) CR_##name = number,
enum cr_constant { CR_CONSTANTS(CR_CONSTANT_ENUM) CR_CONSTANT_END };
#undef CR_CONSTANT_ENUM

#endif
