%% The history of a run of chaos: what the driver, its producers, its members of
%% groups and its watchers have done and seen. crema_chaos_checker judges it.
%%
%% Each process that has something to tell opens a file of its own in the run's
%% folder and writes entries as it goes. A write is done when it returns, so that a
%% process or VM that is killed loses at most the entry it was at. That is why the
%% kinds below say when to write: what is about to be done BEFORE it is done, and
%% what has come of it AFTER. Then nothing happens that the history does not allow.
%%
%% A message is {Process, Number}, which its value holds: Process is unique in the
%% run (a producing process that is started anew has a new one), Number counts from
%% 0 in the order in which the process produces. All messages of a process have
%% one key. A copy made by a consumer with `exactly_once' has its source's name.
-module(crema_chaos_history).

-export([open/1, write/2, close/1, fold/3]).
-export_type([entry/0, what/0, message/0, outcome/0, writer/0]).

%% Microseconds since the epoch: VMs on one machine agree about it.
-type time() :: integer().
-type message() :: {Process :: integer(), Number :: non_neg_integer()}.

%% offset -1 when a message was delivered, and its answer lost. The code is the error's.
-type outcome() ::
    {delivered, Partition :: non_neg_integer(), Offset :: integer()}
    | {failed, not_persisted | possibly_persisted, Code :: atom()}.

%% What an entry is about, and its fields beside `at' and `what'; * is optional.
%% Names (client, member, node, ...) are any terms that are unique in the run; topics
%% and groups are binaries. Times in fields are milliseconds.
-type what() ::
    %% ---- the parts of the run, each before it is started -----------------------
    %% seed, *bounds: what the checker tolerates, see crema_chaos_checker.
    run
    %% topic, partitions, role: `produced', or {copy, Source} of what a group that
    %% reads the topic Source with commit => exactly_once produces.
    | topic
    %% group, topics, isolation: committed | uncommitted, order: in which handlers
    %% get messages: `partition', `process' (the same key: concurrency {key, N}) or
    %% `any'; commit: `offsets', or `transactions' (exactly_once).
    %% A group begins at the earliest offset.
    | group
    %% A producer: client, node, ordering: strict | loose, timeout: message.timeout.ms,
    %% transactional: boolean(). One that is started anew has a new name.
    | client
    %% A producing process: process, node.
    | process
    %% A member of a group: member, node, group. One that is started anew has a new name.
    | member
    %% ---- producers ---------------------------------------------------------------
    %% Before a call: process, client, topic, numbers: [Number] in their order,
    %% transaction: name | none.
    | produce
    %% After the call: process, numbers. A call that waits for its reports may do
    %% without: `reported' implies it. A time-out that holds a reference is `accepted'.
    | accepted
    %% After the call, nothing of which was accepted: process, numbers, reason.
    | refused
    %% process, reports: [{Number, outcome()}].
    | reported
    %% ---- transactions: the name is unique in the run -----------------------------
    %% Before each is asked for: transaction, and for `begun' process, client.
    | begun
    | commit_asked
    | abort_asked
    %% After it: transaction, outcome: committed | aborted | unknown. None, when
    %% whoever made it was killed.
    | ended
    %% ---- members -----------------------------------------------------------------
    %% A partition is a slot of its member from assigned to unassigned; the slot's
    %% number is in a message's token and in what init/2 is given. The name of a
    %% slot is {member, slot}.
    %% member, slot, topic, partition. From the handler's init/2, or an event.
    | assigned
    %% member, slot, why: revoked | lost | stopped. It need not be there.
    | unassigned
    %% The event that a member has lost a partition: member, topic, partition. A handler
    %% that has ended, or begins anew, just then does not tell.
    | lost
    %% Before the handler does anything: member, slot, topic, partition, messages:
    %% [{Offset, message()}] in their order; a batch is one entry.
    | handling
    %% Before an answer that acknowledges, or crema:ack: member, slot, offsets. What is
    %% given up by a policy (skip, dead letter) counts: written by its event.
    | acknowledged
    %% After crema:ack was refused (stale_assignment): member, slot, offsets.
    | ack_refused
    %% Before an answer which says that they come again: member, slot, offsets.
    | failed
    %% Before a handler crashes by its own doing: member, slot.
    | crashed
    %% The event that a commit failed, an automatic or a last one: member, *topic and
    %% partition, reason.
    | commit_failed
    %% Before crema:seek: group, topic, partition, offset.
    | seek
    %% The event offset_reset: group, topic, partition, offset: where it goes on.
    | reset
    %% ---- what is done to them -------------------------------------------------------
    %% Before a kill: kind: node | client | member | slot | process, who: its name
    %% ({Member, Slot} of a handler's process). A client killed with its port or its
    %% process is `client'; a member with either is `member'.
    | killed
    %% Before any disturbance of the plan, of brokers, connections, membership or by a
    %% kill: fault: unique, kind: atom(), *target.
    | fault
    %% After it was undone: fault. None for a fault that is over at once.
    | fault_over
    %% The plan's end: from here on nothing is disturbed. No fields.
    | calm
    %% The end of waiting for lag 0: no fields.
    | drained
    %% ---- what was seen ----------------------------------------------------------------
    %% A commit of a group: group, topic, partition, offset, *time: when it was made, in
    %% microseconds (`at' otherwise). All of a partition are written in their order. Who
    %% polls writes one that differs from the last.
    | commit_seen
    %% At the end, the log as it is read: topic, partition, isolation, entries:
    %% [{Offset, message()}]; several entries for one partition follow each other.
    | log
    %% What a broker's own file of a partition has of transactions at the end: broker,
    %% topic, partition, batches: [crema_chaos_segments:batch()], all of them.
    | batches
    %% Before and after all: node, when: before | after, values: #{Name => integer()}
    %% of processes, ports, clients, reapers, atoms, memory, descriptors, ...
    | sample.

-type entry() :: #{what := what(), at => time(), atom() => term()}.
-type writer() :: file:io_device().

%% @doc Opens a file of the calling process in the folder.
-spec open(file:filename()) -> writer().
open(Folder) ->
    Name = io_lib:format("~s-~b.history", [os:getpid(), erlang:unique_integer([positive])]),
    {ok, Writer} = file:open(filename:join(Folder, Name), [append, raw, binary]),
    Writer.

%% @doc Writes entries as of now; they are in the file when it returns.
-spec write(writer(), entry() | [entry()]) -> ok.
write(Writer, Entries) when is_list(Entries) ->
    At = os:system_time(microsecond),
    ok = file:write(Writer, [frame(At, Entry) || Entry <- Entries]);
write(Writer, Entry) ->
    write(Writer, [Entry]).

frame(At, Entry) ->
    Bytes = term_to_binary(Entry),
    [<<(byte_size(Bytes)):32, At:64>>, Bytes].

-spec close(writer()) -> ok.
close(Writer) -> file:close(Writer).

%% @doc Folds over the entries of all files, in the order of their times; those of
%% one file in its order. What a kill cut off at the end of a file is left out.
-spec fold(fun((entry(), Acc) -> Acc), Acc, file:filename()) -> Acc.
fold(Fun, Acc, Folder) ->
    Files = filelib:wildcard(filename:join(Folder, "*.history")),
    lists:foldl(
        fun({At, _, Bytes}, Before) -> Fun((binary_to_term(Bytes))#{at => At}, Before) end,
        Acc,
        lists:merge([frames(File) || File <- Files])
    ).

%% An entry stays a part of its file's binary until it is looked at.
frames(File) ->
    {ok, Bytes} = file:read_file(File),
    frames(Bytes, 0, 0).

%% The clock may be set back; a file's order holds.
frames(<<Size:32, At:64, Bytes:Size/binary, Rest/binary>>, Number, Last) ->
    Time = max(At, Last),
    [{Time, Number, Bytes} | frames(Rest, Number + 1, Time)];
frames(_Tail, _Number, _Last) ->
    [].
