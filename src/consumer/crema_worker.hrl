%% Without a message for so long a partition's processes hibernate: the batches among
%% their garbage are counted by nobody, and hundreds of partitions may be quiet.
-define(QUIET_MS, 1000).

%% A partition's process: what crema_worker keeps and crema_verdict changes.
-record(worker, {
    slot :: pos_integer(),
    port :: crema_port:client(),
    group :: pid(),
    about :: crema_group_events:about(),
    %% what its handler is told of it
    info :: crema_consumer:info(),
    %% who has the transactions of a consumer that has any
    exactly_once = none :: none | pid(),
    place :: {Topic :: binary(), Partition :: non_neg_integer(), crema_record_batch:form()},
    %% the consumer's, as far as they concern its workers
    options :: map(),
    paused :: crema_paused:flag(),
    policies :: crema_failure:policies(),
    handler :: crema_handler:handler(),
    %% the handler's own, once it is started
    started = false :: boolean(),
    handler_state :: term(),
    %% where the handler wants to begin, or what tells when that is done
    start = none :: none | crema_control:where() | {asked, reference(), crema_control:where()},
    %% in a row, of the message that is the first to do
    failures = 0 :: non_neg_integer(),
    %% messages of the largest batch that the heap was made for
    room = 0 :: non_neg_integer(),
    %% what the handler is at: see crema_liveness
    cell :: crema_liveness:cell(),
    %% at which messages the handler failed, and processes before this one ended: by offset
    failed = #{} :: #{integer() => crema_remedy:failed()},
    %% a message that is sent on
    sending = none :: none | crema_remedy:sending(),
    from :: source | retry_topic,
    %% nothing is handled until this timer or monitor tells, or for ever
    wait = none :: none | reference() | for_ever,
    %% messages of the batch at hand, and what is not yet decoded
    todo = [] :: [crema_consumer:message()],
    gathered :: crema_gather:gathered(),
    %% one of several workers of the partition: who gives it its shares of batches,
    %% and what is told when the share at hand is done
    parallel = none :: none | pid(),
    share = none :: none | non_neg_integer(),
    %% what was declared failed and comes again, and what of it is at hand
    nacked :: crema_nacked:nacked(),
    found = #{} :: crema_nacked:found(),
    %% what waits for somebody's acknowledgement, and for how long
    expiry = none :: none | crema_expiry:expiry(),
    %% acknowledged and not yet told
    acked = crema_runs:new() :: crema_runs:runs(),
    %% it does nothing: another client takes the place of its own
    parked = false :: boolean(),
    %% why it ends, when it does in order
    ends = none :: none | crema_worker:ending()
}).
